"""Defects in passing dies of a synthetic lot, every test still within its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._lot import Lot
from knowngood_quantize.injection import InjectedSet, inject

from ._lots import make_lot
from ._model import ProcessModel
from ._streams import stream

SHIFT_SIGMA = (1.5, 3.0)
GAIN_SPREAD = 0.2
"""Log-sigma of how much of the shift a test takes: a droop does not reach all paths alike."""
SMALLEST_PART = 0.25
ATTEMPTS = 20
SLOWED = {"timing": 1.0, "frequency": -1.0}


class DefectClass(str, Enum):
    """What is wrong with a die that passes.

    ``SPIKE``: one test 4 to 8 robust sigma from its centre. ``DROOP``: a run of tests of a voltage
    block sags by 1.5 to 3 sigma. ``TIMING``: a run of timing or frequency tests is that much
    slower. ``BROKEN_CORRELATION``: part of a block of tests is another good die's.
    """

    SPIKE = "spike"
    DROOP = "droop"
    TIMING = "timing"
    BROKEN_CORRELATION = "broken_correlation"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, eq=False)
class DefectiveDies:
    """Passing dies with a defect, and what they were before.

    Attributes:
        defect: the class.
        values: float32 ``(n, n_tests)`` in the tests' units, NaN where missing.
        counterparts: float32 ``(n, n_tests)``, the same dies without the defect.
    """

    defect: DefectClass
    values: NDArray[np.float32]
    counterparts: NDArray[np.float32]

    @property
    def touched(self) -> NDArray[np.bool_]:
        """bool ``(n, n_tests)``: the results that the defect changed."""
        return np.not_equal(self.values, self.counterparts) & ~np.isnan(self.values)


def inject_defects(
    process: ProcessModel, lot: Lot, defect: DefectClass | str, *, seed: int = 0
) -> InjectedSet:
    """Give every die of a lot that passed (last attempt) a defect of one class.

    Args:
        process: the process the lot was made from.
        lot: made by :func:`make_lot`, all columns in order.
        defect: the class.
        seed: of the defects.

    Returns:
        the defective dies; ``source_rows`` are rows of the lot. Dies in which the defect does not
        fit within the limits are counted and left out.

    Raises:
        UsageError: the class is unknown, or the lot is of another process.
    """
    defect = _defect_class(defect)
    if lot.schema != process.schema:
        raise UsageError(
            "the lot is not of this process: their tests, units or limits differ. "
            "Give the process that the lot was made from"
        )
    rows = np.flatnonzero((lot.dies.tester_pass == 1) & lot.dies.is_final)
    rng = stream(seed, "defect", str(defect))
    if defect in (DefectClass.DROOP, DefectClass.TIMING):
        made = _inject_runs(process, lot.values[rows], defect, rng)
    else:
        name = "single_test" if defect is DefectClass.SPIKE else "broken_correlation"
        made = inject(
            lot.values[rows], name, centre=process.centre, sigma=process.sigma,
            limits=process.limits, blocks=process.correlated_blocks(), rng=rng,
            groups=lot.group[rows],
        )  # fmt: skip
    return InjectedSet(
        str(defect), made.values, rows[made.source_rows], made.n_impossible, made.note
    )


def make_defective(
    process: ProcessModel,
    n: int,
    *,
    defect: DefectClass | str,
    lot: str = "LOT900",
    seed: int = 0,
    missing: float = 0.002,
) -> DefectiveDies:
    """Make ``n`` dies of a lot of their own, each passing and each with a defect of one class.

    Raises:
        UsageError: the class is unknown, or ``n`` is below 1.
        NotEnoughDataError: the defect does not fit within the limits of enough dies.
    """
    if n < 1:
        raise UsageError(f"n must be 1 or more, found {n}")
    spare = n + n // 5 + 20
    good = make_lot(
        process, n_wafers=1, dies_per_wafer=spare, lot=lot, seed=seed, missing=missing,
        fail_rate=0.0,
    )  # fmt: skip
    made = inject_defects(process, good, defect, seed=seed)
    if len(made) < n:
        reason = made.note or f"it fits within the limits of {len(made)} dies in {spare}"
        raise NotEnoughDataError(
            f"no {n} dies with {made.name} could be made: {reason}. Choose another class or seed"
        )
    return DefectiveDies(DefectClass(made.name), made.values[:n], good.values[made.source_rows[:n]])


def _defect_class(defect: DefectClass | str) -> DefectClass:
    try:
        return DefectClass(defect)
    except ValueError as error:
        known = ", ".join(DefectClass)
        raise UsageError(f"defect must be one of {known}, found {defect!r}") from error


@dataclass(frozen=True, eq=False)
class _Run:
    """A run of tests that a defect may move: columns ``(n,)`` and which way each goes."""

    columns: NDArray[np.int64]
    direction: float


def _runs(process: ProcessModel, defect: DefectClass) -> list[_Run]:
    families = {"voltage": -1.0} if defect is DefectClass.DROOP else SLOWED
    return [
        _Run(b.columns, families[b.family])
        for b in process.blocks
        if b.family in families and len(b.columns) >= 2
    ]


def _inject_runs(
    process: ProcessModel,
    values: NDArray[np.float32],
    defect: DefectClass,
    rng: np.random.Generator,
) -> InjectedSet:
    runs = _runs(process, defect)
    shift = _RunShift(process, tuple(runs))
    changed = [shift(row, rng) for row in values] if runs else []
    rows = np.array([i for i, row in enumerate(changed) if row is not None], dtype=np.int64)
    made = np.array([row for row in changed if row is not None], dtype=np.float32)
    note = "" if runs else "the process has no block of such tests"
    return InjectedSet(
        str(defect), made.reshape(-1, process.n_tests), rows, len(values) - len(rows), note
    )


_Shift = Callable[[NDArray[np.float32], np.random.Generator], "NDArray[np.float32] | None"]


@dataclass(frozen=True, eq=False)
class _RunShift:
    """Moves part of one run of a die, within limits."""

    process: ProcessModel
    runs: tuple[_Run, ...]

    def __call__(
        self, row: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32] | None:
        for _ in range(ATTEMPTS):
            run = self.runs[rng.integers(len(self.runs))]
            columns = _part_of(run.columns, rng)
            gain = np.exp(GAIN_SPREAD * rng.standard_normal(len(columns)))
            size = run.direction * rng.uniform(*SHIFT_SIGMA) * gain
            moved = row.copy()
            moved[columns] = self._moved(row[columns], columns, size)
            if self._fits(moved, columns):
                return moved
        return None

    def _moved(
        self, values: NDArray[np.float32], columns: NDArray[np.int64], size: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        shifted: NDArray[np.float32] = (values + size * self.process.sigma[columns]).astype(
            np.float32
        )
        return shifted

    def _fits(self, row: NDArray[np.float32], columns: NDArray[np.int64]) -> bool:
        """Whether some of the columns are present, and all of those within limits."""
        present = columns[~np.isnan(row[columns])]
        low, high = self.process.limits[present].T
        inside = (row[present] >= low) & (row[present] <= high)
        return len(present) > 0 and bool(inside.all())


def _part_of(columns: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A stretch of a quarter to the whole of a run."""
    n = max(1, round(float(rng.uniform(SMALLEST_PART, 1.0)) * len(columns)))
    first = int(rng.integers(len(columns) - n + 1))
    return columns[first : first + n]
