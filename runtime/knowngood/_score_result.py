"""What a batch of dies got: scores, verdicts and reasons, with the tests behind them on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._contributions import Contribution
from ._inputs import as_rows
from ._verdicts import Verdict

if TYPE_CHECKING:
    from ._scorer import Scorer


class ScoreResult:
    """What a batch of dies got.

    Attributes:
        scores: float32 ``(n_dies,)``; the quiet NaN of an unscored die.
        verdicts: int8 ``(n_dies,)``, values of ``Verdict``.
        reasons: int8 ``(n_dies,)``, values of ``Reason``.
    """

    __slots__ = ("_group", "_scorer", "_values", "reasons", "scores", "verdicts")

    scores: NDArray[np.float32]
    verdicts: NDArray[np.int8]
    reasons: NDArray[np.int8]
    _scorer: Scorer
    _values: bytes  # of float32 (n_dies, n_tests)
    _group: NDArray[np.integer[Any]] | None

    @classmethod
    def _empty(
        cls,
        scorer: Scorer,
        values: NDArray[np.float32],
        group: NDArray[np.integer[Any]] | None,
    ) -> ScoreResult:
        """One to be filled. ``Scorer.score`` makes most by itself: a call less per touchdown."""
        result = cls()
        result.scores = np.empty(len(values), np.float32)
        result.verdicts, result.reasons = np.zeros((2, len(values)), np.int8)
        result._scorer = scorer
        result._values = values.tobytes()
        result._group = None if group is None else group.copy()
        return result

    @property
    def n_unknown_groups(self) -> int:
        """Dies that the pooled scaler scaled because the model does not know their group.

        Those given without one are among them; none is where the model has a single scaler.
        """
        scaler = self._scorer.screen.scaler
        return as_rows(self._group, scaler, len(self))[1] if len(scaler.groups) > 1 else 0

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

        Raises:
            IndexError: there is no such die.
        """
        n_tests = self._scorer.schema.n_tests
        values = np.frombuffer(self._values, np.float32).reshape(len(self), n_tests)
        one = np.array([die])
        group = None if self._group is None else self._group[one]
        return self._scorer.explain(values[one], group, k)
