"""Which good dies a model never learns from, so that they can judge it.

Neighbours on a wafer and dies of one lot are alike, so dies picked at random would know the
held-out ones. Whole lots are held out where there are enough of them, else whole wafers, else
dies that were tested one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._lot import Dies

FEWEST_GOOD_DIES = 30
_FEWEST_IN_PART = 4
_CALIBRATION_SHARE = 0.6
"""Of the held-out dies: thresholds lie in the tail and need more dies than early stopping."""

_FEWEST_UNITS = 3
_LARGEST_FOLD = 0.6
_SHOWS = {
    "lot": "This shows how the model does on lots it has not seen",
    "wafer": "This shows how the model does on wafers it has not seen, but not on unseen lots: "
    "expect another yield loss there until three lots or more are given",
    "block": "This shows how the model does on later dies of a lot it knows, but neither on unseen "
    "wafers nor on unseen lots: expect another yield loss there until several are given",
}


@dataclass(frozen=True)
class HoldOut:
    """Three parts of the good dies, without overlap; together they are all good dies.

    Attributes:
        train: bool ``(n_dies,)``, dies that weights, scaler and baselines are fitted on.
        validation: bool ``(n_dies,)``, for early stopping and the score head.
        calibration: bool ``(n_dies,)``, for thresholds, drift and the yardstick.
        how: in plain words, what was held out and what that can and cannot show.
    """

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    calibration: NDArray[np.bool_]
    how: str


@dataclass(frozen=True)
class _Units:
    """Good dies in groups that stay together; ``of_row`` is −1 for dies that are not good."""

    kind: str
    names: tuple[str, ...]
    of_row: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.bincount(self.of_row[self.of_row >= 0], minlength=len(self.names))

    def rows(self, units: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(self.of_row, units)


def split_hold_out(
    dies: Dies, good_rows: NDArray[np.bool_], *, share: float = 0.3, seed: int = 0
) -> HoldOut:
    """Split the good dies into training, validation and calibration.

    With three lots or more whole lots are held out, one of three, at least two of more; else
    whole wafers by the same rule; else the last dies of each lot in file order. Lots or wafers so
    unequal that no choice comes near ``share`` are passed over. A single lot held out is itself
    split by wafer, a single wafer by file order.

    Args:
        dies: all rows.
        good_rows: bool ``(n_dies,)``, as ``select_good_dies`` gives it.
        share: of the good dies to hold out, between 0 and 1.
        seed: chooses which lots or wafers; never which dies.

    Raises:
        NotEnoughDataError: fewer than 30 good dies, or too few for each part.
        UsageError: ``share`` or ``good_rows`` make no sense.
    """
    if not 0.0 < share < 1.0:
        raise UsageError(f"the held-out share must lie between 0 and 1, found {share}")
    _check(dies, good_rows)
    passed_over = []
    for units in _whole_units(dies, good_rows):
        held = _choose_units(units.sizes, share, np.random.default_rng(seed))
        validation, calibration = _halves(dies, units, held)
        if min(validation.sum(), calibration.sum()) >= _FEWEST_IN_PART:
            what = _in_words(units, held)
            return _hold_out(good_rows, validation, calibration, what, _SHOWS[units.kind])
        passed_over.append(f"the {units.kind}s are too unequal in size to hold out whole ones")
    validation, calibration = _last_blocks(dies, good_rows, share)
    if min(validation.sum(), calibration.sum()) < _FEWEST_IN_PART:
        raise NotEnoughDataError(
            f"{good_rows.sum()} good dies with a held-out share of {share:g} leave "
            f"{validation.sum()} for validation and {calibration.sum()} for calibration; "
            f"each needs {_FEWEST_IN_PART}, so hold out more or give more dies"
        )
    what = "; ".join(["the last dies of each lot in the order of the file", *passed_over])
    return _hold_out(good_rows, validation, calibration, what, _SHOWS["block"])


def clusters(dies: Dies, rows: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Which dies of ``rows`` are alike for coming from one lot.

    Lots where there are three or more of them, else wafers where there are and every die names its
    own, else lots.

    Args:
        dies: all rows.
        rows: bool ``(n_dies,)``.

    Returns:
        int32 ``(n_dies,)``, numbered in the order of the file; −1 outside ``rows``.
    """
    labels = list(zip(dies.lot, strict=True))
    units = next(_whole_units(dies, rows), None) or _units("lot", labels, rows)
    return units.of_row.astype(np.int32)


def folds(
    dies: Dies, good_rows: NDArray[np.bool_], n: int = 5
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Split the good dies several times, so that each is held out once.

    Whole lots, whole wafers or blocks in file order, by the rule of ``split_hold_out``; there are
    fewer folds than ``n`` where there are fewer lots or wafers.

    Yields:
        train and held-out, bool ``(n_dies,)`` each; together they are the good dies.

    Raises:
        NotEnoughDataError: fewer than 30 good dies, or fewer than two per fold.
        UsageError: ``n`` is less than 2, or ``good_rows`` does not fit.
    """
    if n < 2:
        raise UsageError(f"cross-validation needs at least 2 folds, found {n}")
    _check(dies, good_rows)
    if good_rows.sum() < 2 * n:
        raise NotEnoughDataError(f"{good_rows.sum()} good dies are too few for {n} folds")
    fold_of_row = _fold_of_row(dies, good_rows, n)
    return (
        (good_rows & (fold_of_row != fold), fold_of_row == fold)
        for fold in range(int(fold_of_row.max()) + 1)
    )


def _check(dies: Dies, good_rows: NDArray[np.bool_]) -> None:
    if good_rows.shape != (len(dies),) or good_rows.dtype != np.bool_:
        raise UsageError(
            f"good_rows must be bool ({len(dies)},), one per die, "
            f"found {good_rows.dtype} {good_rows.shape}"
        )
    n_good = int(good_rows.sum())
    if n_good < FEWEST_GOOD_DIES:
        raise NotEnoughDataError(
            f"{n_good} good dies of {len(dies)} are too few to learn from and to judge on; "
            f"at least {FEWEST_GOOD_DIES} are needed, and thousands give thresholds worth having"
        )


def _whole_units(dies: Dies, good_rows: NDArray[np.bool_]) -> Iterator[_Units]:
    """Lots, then wafers, where there are three or more and every good die names its own."""
    labels: dict[str, list[tuple[str, ...]]] = {
        "lot": list(zip(dies.lot, strict=True)),
        "wafer": list(zip(dies.lot, dies.wafer, strict=True)),
    }
    for kind, of_die in labels.items():
        units = _units(kind, of_die, good_rows)
        named = kind == "lot" or all(dies.wafer[good_rows])
        if named and len(units.names) >= _FEWEST_UNITS:
            yield units


def _units(kind: str, of_die: Sequence[tuple[str, ...]], good_rows: NDArray[np.bool_]) -> _Units:
    rows = np.flatnonzero(good_rows).tolist()
    position = {label: i for i, label in enumerate(dict.fromkeys(of_die[r] for r in rows))}
    of_row = np.full(len(of_die), -1, dtype=np.int64)
    of_row[rows] = [position[of_die[r]] for r in rows]
    return _Units(kind, tuple(" ".join(filter(None, label)) for label in position), of_row)


def _choose_units(
    sizes: NDArray[np.int64], share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Units to hold out, largest first; none if no choice comes near the share.

    At least two of four units and more, so that validation and calibration see different ones;
    at least two stay for training.
    """
    wanted = share * sizes.sum()
    fewest = 1 if len(sizes) == _FEWEST_UNITS else 2
    order = rng.permutation(len(sizes))
    held: list[int] = []
    for unit in order:
        if len(held) < len(sizes) - 2 and sizes[[*held, unit]].sum() <= 1.1 * wanted:
            held.append(int(unit))
    by_size = iter(sorted((u for u in order.tolist() if u not in held), key=lambda u: sizes[u]))
    while len(held) < fewest or (sizes[held].sum() < wanted / 2 and len(held) < len(sizes) - 2):
        held.append(next(by_size))
    near = wanted / 2 <= sizes[held].sum() <= (1.0 + share) / 2 * sizes.sum()
    return np.array(sorted(held, key=lambda u: -sizes[u]) if near else [], dtype=np.int64)


def _halves(
    dies: Dies, units: _Units, held: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Held-out dies for validation and for calibration."""
    if len(held) == 1:
        return _halves_of_one(dies, np.flatnonzero(units.rows(held)))
    validation, calibration = list[int](), list[int]()
    sizes = units.sizes
    for unit in held.tolist():  # the largest first, and to calibration
        full = sizes[calibration].sum() * (1 - _CALIBRATION_SHARE)
        wants_more = full <= sizes[validation].sum() * _CALIBRATION_SHARE
        (calibration if wants_more else validation).append(unit)
    return units.rows(np.array(validation)), units.rows(np.array(calibration))


def _halves_of_one(
    dies: Dies, rows: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """One lot split by wafer, or one wafer by file order; validation gets the first."""
    wafers = dies.wafer[rows]
    numbers = {wafer: i for i, wafer in enumerate(dict.fromkeys(wafers))}
    wafer_of_row = np.array([numbers[w] for w in wafers], dtype=np.int64)
    by_wafer = rows[np.argsort(wafer_of_row, kind="stable")]
    cuts = np.cumsum(np.bincount(wafer_of_row))[:-1] if len(numbers) > 1 else np.arange(len(rows))
    wanted = (1 - _CALIBRATION_SHARE) * len(rows)
    cut = int(cuts[np.argmin(np.abs(cuts - wanted))]) if len(cuts) else 0
    return _mask(dies, by_wafer[:cut]), _mask(dies, by_wafer[cut:])


def _last_blocks(
    dies: Dies, good_rows: NDArray[np.bool_], share: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The last dies of each lot: validation first, then calibration."""
    validation, calibration = np.zeros((2, len(dies)), dtype=np.bool_)
    for lot in dict.fromkeys(dies.lot[good_rows]):
        rows = np.flatnonzero(good_rows & (dies.lot == lot))
        n_held = round(share * len(rows))
        n_validation = round((1 - _CALIBRATION_SHARE) * n_held)
        held = rows[len(rows) - n_held :]
        validation[held[:n_validation]] = True
        calibration[held[n_validation:]] = True
    return validation, calibration


def _fold_of_row(dies: Dies, good_rows: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
    """Which fold holds each good die out; −1 for the others."""
    for units in _whole_units(dies, good_rows):
        sizes = units.sizes
        totals = np.zeros(min(n, len(sizes)), dtype=np.int64)
        fold_of_unit = np.zeros(len(sizes), dtype=np.int64)
        for unit in np.argsort(-sizes, kind="stable"):
            fold_of_unit[unit] = np.argmin(totals)
            totals[fold_of_unit[unit]] += sizes[unit]
        if totals.max() <= _LARGEST_FOLD * totals.sum():
            return np.where(units.of_row >= 0, fold_of_unit[units.of_row], -1)
    fold_of_row = np.full(len(dies), -1, dtype=np.int64)
    for fold, rows in enumerate(np.array_split(np.flatnonzero(good_rows), n)):
        fold_of_row[rows] = fold
    return fold_of_row


def _mask(dies: Dies, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(len(dies), dtype=np.bool_)
    mask[rows] = True
    return mask


def _in_words(units: _Units, held: NDArray[np.int64]) -> str:
    names = ", ".join(units.names[unit] or "without a name" for unit in sorted(held)[:8])
    more = " …" if len(held) > 8 else ""
    whole = f"{len(held)} of {len(units.names)} whole {units.kind}s"
    return f"{whole} ({names}{more})"


def _hold_out(
    good_rows: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    calibration: NDArray[np.bool_],
    what: str,
    shows: str,
) -> HoldOut:
    held = validation | calibration
    how = (
        f"Held out: {what}; {held.sum()} of {good_rows.sum()} good dies, {validation.sum()} for "
        f"early stopping and the score head, {calibration.sum()} for thresholds and the yardstick. "
        f"{shows}."
    )
    return HoldOut(good_rows & ~held, validation, calibration, how)
