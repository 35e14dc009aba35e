"""Which dies of a lot are good enough to learn from, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._lot import Dies, Lot, die_keys

_IQR_OF_NORMAL = 1.349
_WIDE_RANGE_OF_NORMAL = 4.653
_FAR = 10.0
"""A reading is far away if nothing lies between it and a tenth of its distance."""
_FEW = 0.005
"""Share of the dies that may lie far away; more of them are a population of their own."""
_NEAREST_READING = 5.0
_NEAREST_DIE = 1.0
_FARTHEST = 1e30  # within float32
_MOST_PATTERNS = 1000


@dataclass(frozen=True)
class GoodDies:
    """The good dies of a lot.

    Attributes:
        rows: bool ``(n_dies,)``, True for a good die.
        dropped: how many attempts were left out, by reason; each under the first that holds, so
            that these and the good ones add up to all. Reasons that never occur are absent.
        notes: what the user has to know about the choice.
    """

    rows: NDArray[np.bool_]
    dropped: dict[str, int]
    notes: tuple[str, ...] = ()


def select_good_dies(lot: Lot, *, trim: bool = True) -> GoodDies:
    """Choose the dies that show what good looks like.

    A good die is the final attempt of its die, the tester passed it, its test ended normally, it
    did not fail on an earlier attempt, and it has results, all of them finite. Where the tester
    says nothing of any die of a lot, all of that lot's dies are taken for passed, with a note.

    Of these, gross outliers are trimmed: dies with a reading so far from the others that it is
    no tail of a distribution. Distances are |x − median| / robust sigma, per test. A reading is
    trimmed if, in the order of distance, nothing lies between a tenth of its distance and itself,
    it is more than 50 robust sigma out, and at most 0.5 % of the dies lie as far; so heavy tails
    and second modes stay. The same rule applies to the median distance of a die's readings (more
    than 10), which finds dies that are off as a whole.

    Args:
        lot: any lot, or several merged.
        trim: whether to trim gross outliers.
    """
    dies, notes = lot.dies, list[str]()
    word = _tester_word(dies, notes)
    present = ~np.isnan(lot.values)
    reasons = {
        "retested later": ~dies.is_final,
        "tester fail": word == 0,
        "tester did not say": word < 0,
        "abnormal end of test": dies.is_abnormal,
        "passed only on retest": _failed_before(dies),
        "no data": ~present.any(axis=1),
        "infinite reading": np.isinf(lot.values).any(axis=1),
    }
    rows = np.ones(len(dies), dtype=np.bool_)
    dropped: dict[str, int] = {}
    for reason, applies in reasons.items():
        dropped[reason] = int(np.count_nonzero(rows & applies))
        rows &= ~applies
    if trim:
        gross = np.zeros(len(dies), dtype=np.bool_)
        gross[rows] = gross_outliers(lot.values[rows])
        dropped["gross outlier"] = int(np.count_nonzero(gross))
        rows &= ~gross
    return GoodDies(rows, {reason: n for reason, n in dropped.items() if n}, tuple(notes))


def missing_patterns(lot: Lot, *, most: int = _MOST_PATTERNS) -> NDArray[np.bool_]:
    """Which tests are missing together, on any die that has results, good or not.

    Returns:
        bool ``(n_patterns, n_tests)``, True where a test is missing: each pattern once, the most
        frequent first and at most ``most``; the pattern in which nothing is missing is left out.
    """
    missing = np.isnan(lot.values)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    packed, first, counts = np.unique(
        np.packbits(missing[partly], axis=1), axis=0, return_index=True, return_counts=True
    )
    order = np.lexsort((first, -counts))[:most]
    return np.unpackbits(packed[order], axis=1, count=lot.schema.n_tests).astype(np.bool_)


def gross_outliers(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark the dies that ``select_good_dies`` trims.

    Args:
        values: ``(n_dies, n_tests)``, finite or NaN.

    Returns:
        bool ``(n_dies,)``.
    """
    distance = np.full(values.shape, np.nan, dtype=np.float32)
    for test in range(values.shape[1]):
        distance[:, test] = _robust_distance(values[:, test])
    gross = np.zeros(len(values), dtype=np.bool_)
    for test in range(values.shape[1]):
        gross |= _far_away(distance[:, test], _NEAREST_READING)
    return gross | _far_away(_median_of_rows(distance), _NEAREST_DIE)


def _robust_distance(readings: NDArray[np.float32]) -> NDArray[np.float64]:
    """|x − median| / robust sigma; NaN where missing, or if the test has no spread to speak of.

    Coarse tests, with more than half of their readings alike, take the range of 1 to 99 %.
    """
    exact = readings.astype(np.float64)
    known = exact[~np.isnan(exact)]
    if not len(known):
        return np.full(len(readings), np.nan)
    low, q1, median, q3, high = np.quantile(known, (0.01, 0.25, 0.5, 0.75, 0.99))
    sigma = (q3 - q1) / _IQR_OF_NORMAL or (high - low) / _WIDE_RANGE_OF_NORMAL
    if not sigma > 0:
        return np.full(len(readings), np.nan)
    distance: NDArray[np.float64] = np.abs(exact - median) / sigma
    return np.minimum(distance, _FARTHEST)


def _far_away(distance: NDArray[np.floating[Any]], nearest: float) -> NDArray[np.bool_]:
    """The few elements beyond a gap: no other lies between them and a tenth of their distance.

    Distances below ``nearest`` count as ``nearest``, so what is trimmed is beyond ten times that.
    """
    known = np.sort(distance[~np.isnan(distance)])
    if not len(known) or known[-1] <= _FAR * nearest:
        return np.zeros(len(distance), dtype=np.bool_)
    floored = np.maximum(known, nearest)
    gaps = np.flatnonzero(floored[1:] > _FAR * floored[:-1])
    n_far = len(known) - 1 - gaps
    few = gaps[n_far <= max(1, _FEW * len(known))]
    if not len(few):
        return np.zeros(len(distance), dtype=np.bool_)
    return np.asarray(distance > known[few[0]], dtype=np.bool_)


def _median_of_rows(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median of what is known in each row; NaN where nothing is."""
    medians = np.full(len(distance), np.nan, dtype=np.float32)
    known = ~np.isnan(distance)
    ordered = np.sort(distance, axis=1)  # NaN last
    counts = known.sum(axis=1)
    rows = np.flatnonzero(counts)
    medians[rows] = ordered[rows, (counts[rows] - 1) // 2]
    return medians


def _tester_word(dies: Dies, notes: list[str]) -> NDArray[np.int8]:
    """1 pass, 0 fail, −1 unknown; passes throughout a lot of which the tester says nothing."""
    word = dies.tester_pass.copy()
    for name in dict.fromkeys(dies.lot):
        rows = dies.lot == name
        if (word[rows] < 0).all():
            word[rows] = 1
            notes.append(
                f"lot {name!r}: the data do not say which dies passed, so all "
                f"{np.count_nonzero(rows)} count as passed; say it with --good-if"
            )
    return word


def _failed_before(dies: Dies) -> NDArray[np.bool_]:
    """Whether an earlier attempt of the same die failed."""
    failed = np.zeros(len(dies), dtype=np.bool_)
    failed_so_far: dict[tuple[object, ...], bool] = {}
    keys = die_keys(dies.lot, dies.wafer, dies.x, dies.y, dies.part_id)
    for row, (key, attempt, word) in enumerate(
        zip(keys, dies.attempt.tolist(), dies.tester_pass.tolist(), strict=True)
    ):
        if key is None:
            continue
        # a first attempt starts anew: files that number their parts alike may be merged
        failed[row] = attempt > 1 and failed_so_far.get(key, False)
        failed_so_far[key] = failed[row] or word == 0
    return failed
