"""Make lots: wafers of dies, tested, some retested."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._lot import Dies, Lot, LotFacts, mark_attempts

from ._model import Float64, ProcessModel
from ._population import LotEffects, draw_factors, draw_lot_effects, measure
from ._streams import stream
from ._tester import Tested, break_dies, draw_fails, run_test
from ._wafer import WaferMap, die_positions


@dataclass(frozen=True)
class _Recipe:
    """How a lot is tested; see :func:`make_lot`."""

    lot: str
    seed: int
    sites: int
    missing: float
    fail_rate: float
    retest_rate: float
    stop_on_fail: bool


@dataclass(frozen=True, eq=False)
class _Wafer:
    """Attempts of one wafer in file order; ``die`` ``(n,)`` indexes the wafer's map."""

    die: NDArray[np.int64]
    site: NDArray[np.int32]
    tested: Tested


def make_lot(
    process: ProcessModel,
    *,
    n_wafers: int = 4,
    dies_per_wafer: int = 500,
    lot: str = "LOT001",
    seed: int = 0,
    sites: int = 4,
    missing: float = 0.002,
    fail_rate: float = 0.03,
    retest_rate: float = 0.5,
    stop_on_fail: bool = True,
) -> Lot:
    """Make one lot of a process, as a wafer-sort file would hold it.

    The same arguments give the same lot, whatever was made before; another ``lot`` or ``seed``
    gives other dies with another lot shift. A wafer does not depend on the number of wafers.

    Args:
        process: made by :func:`process`.
        n_wafers: 1 or more.
        dies_per_wafer: 1 or more; they form a disc.
        lot: lot id.
        seed: 0 or more.
        sites: 1 to 255; consecutive dies are probed together, at sites 1, 2 and so on.
        missing: share of results that are missing at random.
        fail_rate: share of dies broken on purpose; heavy tails add next to nothing.
        retest_rate: share of the fails probed again, after the rest of their wafer; fails by
            contact (three in ten) are cured by it.
        stop_on_fail: results after a die's first failing test are missing.

    Returns:
        one row per attempt, in file order.

    Raises:
        UsageError: an argument is out of range.
    """
    recipe = _Recipe(lot, seed, sites, missing, fail_rate, retest_rate, stop_on_fail)
    _require_valid(recipe, n_wafers, dies_per_wafer)
    effects = draw_lot_effects(process, stream(seed, "lot", lot, process.seed))
    wafer_map = die_positions(dies_per_wafer)
    wafers = [_probe_wafer(process, effects, wafer_map, recipe, wafer) for wafer in range(n_wafers)]
    dies = Dies.concatenate(
        [_describe(wafer_map, w, lot, f"{i + 1:02d}") for i, w in enumerate(wafers)]
    )
    values = np.concatenate([w.tested.values for w in wafers])
    facts = LotFacts(source=lot, kind="synthetic", tester="knowngood synthetic")
    return Lot(values, process.schema, _number(dies), facts)


def _require_valid(recipe: _Recipe, n_wafers: int, dies_per_wafer: int) -> None:
    for name, count in (("n_wafers", n_wafers), ("dies_per_wafer", dies_per_wafer)):
        if count < 1:
            raise UsageError(f"{name} must be 1 or more, found {count}")
    if not 1 <= recipe.sites <= 255:
        raise UsageError(f"sites must be from 1 to 255, found {recipe.sites}")
    if recipe.seed < 0:
        raise UsageError(f"seed must be 0 or more, found {recipe.seed}")
    for name in ("missing", "fail_rate", "retest_rate"):
        rate = getattr(recipe, name)
        if not 0 <= rate <= 1:
            raise UsageError(f"{name} must be from 0 to 1, found {rate}")


def _probe_wafer(
    process: ProcessModel,
    effects: LotEffects,
    wafer_map: WaferMap,
    recipe: _Recipe,
    wafer: int,
) -> _Wafer:
    rng = stream(recipe.seed, "wafer", recipe.lot, process.seed, wafer)
    factors = draw_factors(process, effects, wafer_map.position, rng)
    is_broken, is_contact = draw_fails(wafer_map.position, recipe.fail_rate, rng)
    sites = (np.arange(len(factors)) % recipe.sites + 1).astype(np.int32)

    def probe(dies: NDArray[np.int64], broken: NDArray[np.bool_]) -> Tested:
        values: Float64 = measure(process, effects, factors[dies], sites[dies], rng)
        rows = np.flatnonzero(broken)
        break_dies(process, values, rows, is_contact[dies][rows], rng)
        return run_test(
            process, values, missing=recipe.missing, stop_on_fail=recipe.stop_on_fail, rng=rng
        )

    every = np.arange(len(factors))
    first = probe(every, is_broken)
    is_repeated = ~first.passed & (rng.random(len(factors)) < recipe.retest_rate)
    again = np.flatnonzero(is_repeated)
    if len(again) == 0:
        return _Wafer(every, sites, first)
    second = probe(again, (is_broken & ~is_contact)[again])
    order = np.concatenate([every, again])
    return _Wafer(order, sites[order], _joined(first, second))


def _joined(first: Tested, second: Tested) -> Tested:
    names = [f.name for f in fields(Tested)]
    return Tested(**{n: np.concatenate([getattr(first, n), getattr(second, n)]) for n in names})


def _describe(wafer_map: WaferMap, wafer: _Wafer, lot: str, number: str) -> Dies:
    """Rows of one wafer; part ids and attempts are numbered over the whole lot later."""
    n = len(wafer.die)
    plain = Dies.anonymous(n, lot=lot)
    return Dies(
        lot=plain.lot,
        wafer=np.full(n, number, dtype=object),
        part_id=plain.part_id,
        x=wafer_map.x[wafer.die],
        y=wafer_map.y[wafer.die],
        head=plain.head,
        site=wafer.site,
        hard_bin=wafer.tested.hard_bin,
        soft_bin=wafer.tested.soft_bin,
        tester_pass=wafer.tested.passed.astype(np.int8),
        attempt=plain.attempt,
        is_final=plain.is_final,
        is_abnormal=wafer.tested.is_abnormal,
    )


def _number(dies: Dies) -> Dies:
    """Serial part ids over the lot, and attempts by coordinates."""
    part_id = np.array([str(i + 1) for i in range(len(dies))], dtype=object)
    attempt, is_final = mark_attempts(dies.lot, dies.wafer, dies.x, dies.y, part_id)
    columns = {f.name: getattr(dies, f.name) for f in fields(Dies)}
    return Dies(**{**columns, "part_id": part_id, "attempt": attempt, "is_final": is_final})
