"""Which tests made a die's score: signed, in engineering units, largest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arithmetic import standardise, weighted_residual
from ._network import Head, Screen
from ._schema import Test


@dataclass(frozen=True)
class Contribution:
    """What one test adds to a die's score.

    Attributes:
        test: number, name, units and limits.
        value: as measured, in the test's units.
        expected: what the model expects given the die's other tests, in the test's units.
        z: signed weighted residual (u − y) · residual_weight, positive where value > expected;
            under ``mahalanobis`` what is left of it without the directions that tests share.
        share: of the part of the score that residuals make, 0 … 1 (topk adds an offset for the
            number of missing tests, which is no test's doing). Under ``topk`` |z| over the sum of
            the k largest, and 0 for tests beyond the k; under the other heads z² over its sum.
    """

    test: Test
    value: float
    expected: float
    z: float
    share: float


@dataclass(frozen=True, eq=False)
class Residuals:
    """Dies with their reconstruction, ready to be explained.

    Attributes:
        values: float32 ``(n_dies, n_tests)`` in raw units.
        rows: int32 ``(n_dies,)``, each die's row of the scaler.
        reconstruction: float32 ``(n_dies, n_tests)``, standardised.
        z: float32 ``(n_dies, n_tests)``, to the bit the one that an exact engine scores; +0 where
            the test is missing, and throughout dies that are not evaluable.
        present: bool ``(n_dies, n_tests)``, False throughout dies that are not evaluable.
    """

    values: NDArray[np.float32]
    rows: NDArray[np.int32]
    reconstruction: NDArray[np.float32]
    z: NDArray[np.float32]
    present: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        screen: Screen,
        values: NDArray[np.float32],
        rows: NDArray[np.int32],
        reconstruction: NDArray[np.float32],
    ) -> Residuals:
        """Weighted residuals of ``values`` against what the engine reconstructed."""
        dies = standardise(screen.scaler, values, rows)
        z = weighted_residual(screen.head, dies.u, reconstruction, dies.present)
        return cls(values, rows, reconstruction, z, dies.present)

    def largest(self, die: int, k: int) -> NDArray[np.intp]:
        """Columns of the tests present with the ``k`` largest |z|; ties go to the lower index.

        None of a die with a residual that is not finite.
        """
        if not np.isfinite(self.z[die]).all():
            return np.empty(0, dtype=np.intp)
        size = np.where(self.present[die], np.abs(self.z[die]), -1.0)
        order = np.argsort(-size, kind="stable")
        return order[: min(k, int(self.present[die].sum()))]

    def ranking(self, screen: Screen, die: int, k: int) -> Ranking:
        """The same with what is said of them."""
        columns, z, row = self.largest(die, k), self.z[die], self.rows[die]
        step = self.reconstruction[die, columns].astype(np.float64)
        step /= screen.scaler.inv_scale[row, columns]
        return Ranking(columns, z[columns], screen.scaler.centre[row, columns] + step)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The tests of one die that made its score, those present with the largest |z|, largest first.

    Attributes:
        columns: int ``(n,)``; ties go to the lower one. Empty for a die that is not evaluable.
        z: float32 ``(n,)``, signed weighted residuals.
        expected: float64 ``(n,)``, what the model expects, in each test's units.
    """

    columns: NDArray[np.integer[Any]]
    z: NDArray[np.float32]
    expected: NDArray[np.float64]


def n_ranked(head: Head, k: int, n_tests: int) -> int:
    """How many tests must be ranked to tell the share of ``k``."""
    return min(max(k, head.k), n_tests) if head.kind == "topk" else n_tests


def explain(
    screen: Screen, values: NDArray[np.float32], ranking: Ranking, k: int
) -> tuple[Contribution, ...]:
    """The ``k`` largest contributions to the score of a die ``(n_tests,)``, largest first.

    Those of a die with too few tests for a score are told too; a die that is not evaluable, or
    whose residuals are not all finite, has none. ``ranking`` has ``n_ranked`` tests of it.
    """
    columns, tests = ranking.columns[:k].tolist(), screen.schema.tests
    told = (ranking.expected[:k], ranking.z[:k], _shares(screen.head, ranking.z)[:k])
    return tuple(
        Contribution(tests[column], value, expected, z, share)
        for column, value, expected, z, share in zip(
            columns, values[columns].tolist(), *(numbers.tolist() for numbers in told), strict=True
        )
    )


def _shares(head: Head, ranked_z: NDArray[np.float32]) -> NDArray[np.float64]:
    z = ranked_z.astype(np.float64)
    if head.kind == "topk":
        part = np.abs(z)
        part[head.k :] = 0
    else:
        part = z * z
    shares: NDArray[np.float64] = part / max(part.sum(), np.finfo(np.float64).tiny)
    return shares


def describe_top(screen: Screen, ranking: Ranking) -> str:
    """The largest contributions as one line: ``1020 VDD_IDDQ=+6.1; 1030 VOL=-4.0``."""
    tests = screen.schema.tests
    return "; ".join(
        f"{tests[c].label}={z:+.1f}"
        for c, z in zip(ranking.columns.tolist(), ranking.z.tolist(), strict=True)
    )
