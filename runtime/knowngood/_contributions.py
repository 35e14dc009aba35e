"""Which tests made a die's score: signed, in engineering units, largest first."""

from __future__ import annotations

from dataclasses import dataclass

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


def explain(screen: Screen, residuals: Residuals, die: int, k: int) -> tuple[Contribution, ...]:
    """The ``k`` largest contributions to the score of row ``die``, largest first.

    Those of a die with too few tests for a score are told too; a die that is not evaluable, or
    whose residuals are not all finite, has none.
    """
    columns = residuals.largest(die, k)
    if not len(columns):
        return ()
    shares = _shares(screen.head, residuals, die)
    scaler, row = screen.scaler, residuals.rows[die]
    step = residuals.reconstruction[die].astype(np.float64) / scaler.inv_scale[row]
    expected = scaler.centre[row] + step
    return tuple(
        Contribution(
            test=screen.schema.tests[column],
            value=float(residuals.values[die, column]),
            expected=float(expected[column]),
            z=float(residuals.z[die, column]),
            share=float(shares[column]),
        )
        for column in columns
    )


def _shares(head: Head, residuals: Residuals, die: int) -> NDArray[np.float64]:
    z = residuals.z[die].astype(np.float64)
    if head.kind == "topk":
        part = np.zeros_like(z)
        columns = residuals.largest(die, head.k)
        part[columns] = np.abs(z[columns])
    else:
        part = z * z
    shares: NDArray[np.float64] = part / max(part.sum(), np.finfo(np.float64).tiny)
    return shares


def describe_top(screen: Screen, residuals: Residuals, die: int, k: int) -> str:
    """The largest contributions as one line: ``1020 VDD_IDDQ=+6.1; 1030 VOL=-4.0``."""
    tests, z = screen.schema.tests, residuals.z[die]
    return "; ".join(f"{tests[c].label}={z[c]:+.1f}" for c in residuals.largest(die, k))
