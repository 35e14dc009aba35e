"""What a batch of dies got: scores, verdicts and reasons, with the tests behind them on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._contributions import Contribution
from ._verdicts import Verdict

if TYPE_CHECKING:
    from ._scorer import Scorer


class ScoreResult:
    """What a batch of dies got.

    Attributes:
        scores: float32 ``(n_dies,)``; the quiet NaN of an unscored die.
        verdicts: int8 ``(n_dies,)``, values of ``Verdict``.
        reasons: int8 ``(n_dies,)``, values of ``Reason``.
        n_unknown_groups: dies scaled by the pooled scaler because the model does not know their
            group, or none was given.
    """

    __slots__ = ("_rows", "_scorer", "_values", "n_unknown_groups", "reasons", "scores", "verdicts")

    def __init__(
        self,
        scorer: Scorer,
        values: NDArray[np.float32],
        rows: NDArray[np.int32] | None,
        n_unknown_groups: int,
    ) -> None:
        n_dies = len(values)
        self.scores: NDArray[np.float32] = np.empty(n_dies, dtype=np.float32)
        self.verdicts: NDArray[np.int8] = np.empty(n_dies, dtype=np.int8)
        self.reasons: NDArray[np.int8] = np.empty(n_dies, dtype=np.int8)
        self.n_unknown_groups: int = n_unknown_groups
        self._scorer = scorer
        self._values = values
        self._rows = rows

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        counts = np.bincount(self.verdicts, minlength=3)
        named = ", ".join(f"{counts[v]} {v.name}" for v in (Verdict.PASS, Verdict.REJECT))
        return f"<ScoreResult of {len(self)} dies: {named}, {counts[0]} UNSCORED>"

    def _repr_html_(self) -> str:
        from ._notebook import score_result_html

        return score_result_html(self)

    def top_tests(self, die: int, k: int = 5) -> tuple[Contribution, ...]:
        """The ``k`` tests that made the score of row ``die``, largest first.

        A die with too few tests for a score has contributions too; without data, out of range or
        not finite it has none.
        """
        one = np.array([die])
        groups = self._scorer.screen.scaler.groups
        group = None if self._rows is None else groups[self._rows[one]]
        return self._scorer.explain(self._values[one], group, k)
