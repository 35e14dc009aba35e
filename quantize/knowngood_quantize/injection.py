"""Defects injected into good dies: the yardstick by which every screen here is measured.

Tester fails are no yardstick, for a limit check finds them all. What a screen is for is *passing*
dies that are odd. So held-out passing dies are given defects that keep every test within its
limits, of three classes:

* ``single_test``: one test 4 to 8 robust sigma from its centre;
* ``block_shift``: part of a block of correlated tests moved by 1.5 to 3 robust sigma;
* ``broken_correlation``: part of such a block taken from another good die, which lies at least one
  robust sigma away, so that every value is one that a good die had.

Of a block, a third to two thirds is touched, three tests at least where it has five: the rest bears
witness, for a block that moves as a whole and is tied to nothing else is only another good die.
Blocks are found in the good dies themselves, and are hit as often as they have tests. Missing
results stay missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._schema import Schema

from ._correlated_blocks import (
    SMALLEST_BLOCK,
    CorrelatedBlock,
    correlated_blocks,
    robust_centre_and_sigma,
)
from .sampling import evenly_spaced

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

__all__ = [
    "DEFECTS",
    "CorrelatedBlock",
    "InjectedSet",
    "correlated_blocks",
    "inject",
    "limits_of",
    "robust_centre_and_sigma",
    "standard_defects",
]

DEFECTS = ("single_test", "block_shift", "broken_correlation")

SINGLE_TEST_SIGMA = (4.0, 8.0)
BLOCK_SHIFT_SIGMA = (1.5, 3.0)
SMALLEST_EXCHANGE_SIGMA = 1.0
SMALLEST_PART = 3
ATTEMPTS = 24


@dataclass(frozen=True, eq=False)
class InjectedSet:
    """Good dies with one class of defect.

    Attributes:
        name: the class, one of ``DEFECTS`` or the caller's own.
        values: float32 ``(n, n_tests)``, n ≤ number of dies given.
        source_rows: int64 ``(n,)``, which of the dies given each one was.
        n_impossible: dies in which no such defect fits within the limits; they are left out.
        note: why a class could not be made at all; empty otherwise.
    """

    name: str
    values: Float32
    source_rows: Int64
    n_impossible: int
    note: str = ""

    def __len__(self) -> int:
        return len(self.values)


def limits_of(schema: Schema) -> Float64:
    """Test limits as float64 ``(n_tests, 2)``: low and high, −∞ and +∞ where there is none."""
    rows = [
        (-np.inf if t.low is None else t.low, np.inf if t.high is None else t.high)
        for t in schema.tests
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class _GoodDies:
    """What an injector needs to know of the dies it works on."""

    values: Float32
    centre: Float64
    sigma: Float64
    limits: Float64
    blocks: tuple[CorrelatedBlock, ...]
    groups: NDArray[np.int32]

    def fits(self, row: Float32, columns: Int64) -> bool:
        """Whether the tests of ``row`` (n_tests,) in ``columns`` are finite and within limits."""
        values, limits = row[columns].astype(np.float64), self.limits[columns]
        inside = (values >= limits[:, 0]) & (values <= limits[:, 1]) & np.isfinite(values)
        return bool(inside.all())

    def draw_block(self, rng: np.random.Generator) -> CorrelatedBlock:
        """A block, as likely as it has tests."""
        ends = np.cumsum([len(b.columns) for b in self.blocks])
        return self.blocks[int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))]

    def present(self, die: int, columns: Int64) -> NDArray[np.bool_]:
        """Which of ``columns`` the die has, and vary in good dies."""
        usable: NDArray[np.bool_] = np.isfinite(self.values[die, columns])
        return usable & (self.sigma[columns] > 0)


_Injector = Callable[[_GoodDies, int, np.random.Generator], "Float32 | None"]


def inject(
    values: Float32,
    defect: str,
    *,
    centre: Float64,
    sigma: Float64,
    limits: Float64,
    blocks: Sequence[CorrelatedBlock],
    rng: np.random.Generator,
    groups: NDArray[np.int32] | None = None,
) -> InjectedSet:
    """Give each die one defect of a class, within limits.

    Args:
        values: float32 ``(n_dies, n_tests)`` of passing dies, NaN where missing; not changed.
        defect: one of ``DEFECTS``.
        centre, sigma: float64 ``(n_tests,)``, robust, of good dies; tests of sigma 0 stay.
        limits: float64 ``(n_tests, 2)``, ∓∞ where there is none (``limits_of``).
        blocks: correlated tests (``correlated_blocks``); ``single_test`` needs none.
        rng: the stream that decides.
        groups: int32 ``(n_dies,)``, site of each die: blocks are exchanged within a site.

    Returns:
        the dies with defects; those in which none fits are counted.

    Raises:
        UsageError: the class is unknown, or a shape does not fit.
    """
    if defect not in _INJECTORS:
        raise UsageError(f"defect must be one of {', '.join(DEFECTS)}, found {defect!r}")
    _require_shapes(values, centre, sigma, limits, groups)
    if defect != "single_test" and not blocks:
        return _nothing(defect, values, "no correlated block of three tests or more in these dies")
    groups = np.zeros(len(values), dtype=np.int32) if groups is None else groups
    good = _GoodDies(values, centre, sigma, limits, tuple(blocks), groups)
    changed = [_INJECTORS[defect](good, die, rng) for die in range(len(values))]
    rows = np.array([i for i, row in enumerate(changed) if row is not None], dtype=np.int64)
    made = [row for row in changed if row is not None]
    stacked = np.array(made, dtype=np.float32).reshape(-1, values.shape[1])
    return InjectedSet(defect, stacked, rows, len(values) - len(rows))


def standard_defects(
    values: Float32,
    *,
    limits: Float64 | None = None,
    groups: NDArray[np.int32] | None = None,
    reference: Float32 | None = None,
    blocks: Sequence[CorrelatedBlock] | None = None,
    n_dies: int = 2000,
    seed: int = 0,
) -> tuple[InjectedSet, ...]:
    """The three classes, each injected into (the same) held-out passing dies.

    Args:
        values: float32 ``(n, n_tests)`` of held-out passing dies, NaN where missing.
        limits: float64 ``(n_tests, 2)``; None if the tests have none.
        groups: int32 ``(n,)``, site of each die.
        reference: good dies from which centre, sigma and blocks are learnt; ``values`` if None.
        blocks: correlated tests, where they are known already.
        n_dies: at most so many dies are used, spread evenly over the rows.
        seed: of the defects; each class has its own stream.

    Returns:
        one set per class, in the order of ``DEFECTS``. A class that these dies do not allow is
        there with no dies and a ``note`` that says why.
    """
    learnt_from = values if reference is None else reference
    centre, sigma = robust_centre_and_sigma(learnt_from)
    blocks = correlated_blocks(learnt_from) if blocks is None else blocks
    if limits is None:
        limits = np.tile([-np.inf, np.inf], (values.shape[1], 1))
    rows = evenly_spaced(len(values), n_dies)
    chosen = None if groups is None else groups[rows]
    sets = []
    for index, defect in enumerate(DEFECTS):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        made = inject(
            values[rows], defect, centre=centre, sigma=sigma, limits=limits, blocks=blocks,
            rng=rng, groups=chosen,
        )  # fmt: skip
        sets.append(
            InjectedSet(defect, made.values, rows[made.source_rows], made.n_impossible, made.note)
        )
    return tuple(sets)


def _nothing(defect: str, values: Float32, note: str) -> InjectedSet:
    none = np.empty((0, values.shape[1]), dtype=np.float32)
    return InjectedSet(defect, none, np.empty(0, dtype=np.int64), len(values), note)


def _require_shapes(
    values: Float32,
    centre: Float64,
    sigma: Float64,
    limits: Float64,
    groups: NDArray[np.int32] | None,
) -> None:
    if values.ndim != 2 or values.dtype != np.float32:
        raise UsageError(
            f"values must be float32 (n_dies, n_tests), found {values.dtype} {values.shape}"
        )
    n_dies, n_tests = values.shape
    expected = {"centre": (n_tests,), "sigma": (n_tests,), "limits": (n_tests, 2)}
    found = {"centre": centre.shape, "sigma": sigma.shape, "limits": limits.shape}
    if groups is not None:
        expected["groups"], found["groups"] = (n_dies,), groups.shape
    for name, shape in expected.items():
        if found[name] != shape:
            raise UsageError(f"{name} must have shape {shape}, found {found[name]}")


def _inject_single_test(good: _GoodDies, die: int, rng: np.random.Generator) -> Float32 | None:
    """Any test of the die, either way, where it fits."""
    size = rng.uniform(*SINGLE_TEST_SIGMA)
    targets = good.centre[:, None] + size * good.sigma[:, None] * np.array([-1.0, 1.0])
    stored = targets.astype(np.float32)
    fits = (stored >= good.limits[:, :1]) & (stored <= good.limits[:, 1:]) & np.isfinite(stored)
    fits &= good.present(die, np.arange(len(good.sigma)))[:, None]
    choices = np.argwhere(fits)
    if not len(choices):
        return None
    column, side = choices[rng.integers(len(choices))]
    row: Float32 = good.values[die].copy()
    row[column] = stored[column, side]
    return row


def _inject_block_shift(good: _GoodDies, die: int, rng: np.random.Generator) -> Float32 | None:
    """Part of a block up or down, each test by as many of its sigma, as the block goes."""
    for _ in range(ATTEMPTS):
        block = good.draw_block(rng)
        size = rng.uniform(*BLOCK_SHIFT_SIGMA) * rng.choice([-1.0, 1.0])
        part = _draw_part(good.present(die, block.columns), rng)
        columns = block.columns[part]
        row: Float32 = good.values[die].copy()
        shift = size * block.signs[part] * good.sigma[columns]
        row[columns] = (row[columns] + shift).astype(np.float32)
        if len(columns) and good.fits(row, columns):
            return row
    return None


def _inject_broken_correlation(
    good: _GoodDies, die: int, rng: np.random.Generator
) -> Float32 | None:
    """Part of a block from another die of the same site whose block stands elsewhere."""
    partners = np.flatnonzero(good.groups == good.groups[die])
    for _ in range(ATTEMPTS):
        block = good.draw_block(rng)
        partner = int(partners[rng.integers(len(partners))])
        both = good.present(die, block.columns) & good.present(partner, block.columns)
        part = _draw_part(both, rng)
        columns = block.columns[part]
        if len(columns) == 0:
            continue
        away = good.values[partner, columns].astype(np.float64) - good.values[die, columns]
        distance = abs(float(np.mean(block.signs[part] * away / good.sigma[columns])))
        row: Float32 = good.values[die].copy()
        row[columns] = good.values[partner, columns]
        if distance >= SMALLEST_EXCHANGE_SIGMA and good.fits(row, columns):
            return row
    return None


def _draw_part(usable: NDArray[np.bool_], rng: np.random.Generator) -> Int64:
    """A third to two thirds of the usable tests of a block; none where fewer than three are.

    At least three, if that leaves two to bear witness.
    """
    candidates = np.flatnonzero(usable)
    if len(candidates) < SMALLEST_BLOCK:
        return candidates[:0]
    n = round(float(rng.uniform(1 / 3, 2 / 3)) * len(candidates))
    n = max(n, min(SMALLEST_PART, len(candidates) - 2))
    return np.sort(rng.permutation(candidates)[:n])


_INJECTORS: dict[str, _Injector] = {
    "single_test": _inject_single_test,
    "block_shift": _inject_block_shift,
    "broken_correlation": _inject_broken_correlation,
}
