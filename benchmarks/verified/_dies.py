"""Fresh dies, a lot at a time: good ones, defective ones, and good ones disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._lot import Lot
from knowngood_export import synthetic

from ._cases import VerifiedCase

Float32 = NDArray[np.float32]
Group = NDArray[np.int32]
Values = NDArray[np.float64] | Float32

N_WAFERS = 5
SPREAD = 1.5
SHIFTED_SHARE, SHIFT_SIGMA = 0.1, 0.5
WILD_SIGMA = 1000.0
FAR_SIGMA = (8.0, 1000.0)
MISSING_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class FreshSet:
    """Dies of one lot, all of a kind: values ``(n, n_tests)`` and group ``(n,)``."""

    kind: str
    values: Float32
    group: Group


def fresh_lots(case: VerifiedCase) -> Iterator[list[FreshSet]]:
    """The sets of each fresh lot; no lot has the name of one that was trained on."""
    process = synthetic.process(case.n_tests, case.process, seed=case.seed)
    for number in range(case.n_lots):
        lot = synthetic.make_lot(
            process, n_wafers=N_WAFERS, dies_per_wafer=-(-case.dies_per_lot // N_WAFERS),
            lot=f"FRESH{number:03d}", seed=case.seed + 1, fail_rate=0.0,
        )  # fmt: skip
        lot = lot.select(lot.dies.tester_pass == 1)
        good = FreshSet("good", lot.values, lot.group)
        defective = _defective(process, lot, case, number)
        yield [good, *defective, *_disturbed(process, lot, case, number)]


def _defective(
    process: synthetic.ProcessModel, lot: Lot, case: VerifiedCase, number: int
) -> Iterator[FreshSet]:
    for index, defect in enumerate(synthetic.DefectClass):
        first = index * case.defective_per_lot
        some = lot.select(np.arange(first, min(first + case.defective_per_lot, len(lot.values))))
        made = synthetic.inject_defects(process, some, defect, seed=case.seed + number)
        yield FreshSet("defective", made.values, some.group[made.source_rows])


_Disturbance = Callable[[synthetic.ProcessModel, Float32, np.random.Generator], Values]


def _disturbed(
    process: synthetic.ProcessModel, lot: Lot, case: VerifiedCase, number: int
) -> Iterator[FreshSet]:
    rng = np.random.default_rng([case.seed, number])
    for kind, disturb in _DISTURBANCES.items():
        rows = np.sort(rng.permutation(len(lot.values))[: case.disturbed_per_lot])
        values = disturb(process, lot.values[rows], rng).astype(np.float32)
        yield FreshSet(kind, values, lot.group[rows])


def _spread(process: synthetic.ProcessModel, values: Float32, _: np.random.Generator) -> Values:
    spread: Values = process.centre + SPREAD * (values - process.centre)
    return spread


def _shifted(process: synthetic.ProcessModel, values: Float32, rng: np.random.Generator) -> Values:
    """The same tests, the same way, on all dies."""
    is_shifted = rng.random(process.n_tests) < SHIFTED_SHARE
    direction = rng.choice([-1.0, 1.0], process.n_tests)
    shifted: Values = values + is_shifted * direction * SHIFT_SIGMA * process.sigma
    return shifted


def _wild(process: synthetic.ProcessModel, values: Float32, rng: np.random.Generator) -> Values:
    return _with_reading(process, values, np.full(len(values), WILD_SIGMA), rng)


def _far(process: synthetic.ProcessModel, values: Float32, rng: np.random.Generator) -> Values:
    low, high = np.log(FAR_SIGMA)
    sigmas: NDArray[np.float64] = np.exp(rng.uniform(float(low), float(high), len(values)))
    return _with_reading(process, values, sigmas, rng)


def _with_reading(
    process: synthetic.ProcessModel,
    values: Float32,
    sigmas: NDArray[np.float64],
    rng: np.random.Generator,
) -> Values:
    """One test of each die so many sigma from its centre, up or down."""
    rows, tests = np.arange(len(values)), rng.integers(process.n_tests, size=len(values))
    away = sigmas * rng.choice([-1.0, 1.0], len(values)) * process.sigma[tests]
    changed = values.copy()
    changed[rows, tests] = process.centre[tests] + away
    return changed


def _missing(_: synthetic.ProcessModel, values: Float32, rng: np.random.Generator) -> Values:
    return np.where(rng.random(values.shape) < MISSING_SHARE, np.float32(np.nan), values)


_DISTURBANCES: dict[str, _Disturbance] = {
    "spread × 1.5": _spread,
    "a tenth shifted by 0.5 sigma": _shifted,
    "a reading at 1,000 sigma": _wild,
    "a reading at 8 to 1,000 sigma": _far,
    "5 % missing": _missing,
}
