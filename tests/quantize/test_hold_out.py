"""Splitting good dies by lot, wafer and block."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._lot import Dies
from knowngood_quantize.hold_out import HoldOut, clusters, folds, split_hold_out


def make(*units: tuple[str, str, int]) -> Dies:
    """Dies of (lot, wafer, how many) in file order."""
    lots = [lot for lot, _, n in units for _ in range(n)]
    wafers = [wafer for _, wafer, n in units for _ in range(n)]
    dies = Dies.anonymous(len(lots), tester_pass=1)
    return replace(dies, lot=np.array(lots, dtype=object), wafer=np.array(wafers, dtype=object))


def every(dies: Dies) -> np.ndarray:
    return np.ones(len(dies), dtype=np.bool_)


def names(dies: Dies, rows: np.ndarray) -> set[str]:
    return {f"{lot}{wafer}" for lot, wafer in zip(dies.lot[rows], dies.wafer[rows], strict=True)}


def share(split: HoldOut) -> float:
    held = split.validation.sum() + split.calibration.sum()
    return float(held / (held + split.train.sum()))


@pytest.mark.parametrize("n_lots", [4, 5, 7, 10, 30])
def test_whole_lots_are_held_out(n_lots: int) -> None:
    dies = make(*((f"L{i}", w, 20) for i in range(n_lots) for w in ("1", "2")))
    split = split_hold_out(dies, every(dies))
    lots = [set(dies.lot[rows]) for rows in (split.train, split.validation, split.calibration)]
    assert all(lots)
    assert len(set.union(*lots)) == sum(map(len, lots)) == n_lots
    assert share(split) == (0.5 if n_lots == 4 else pytest.approx(0.3, abs=0.11))
    assert split.calibration.sum() >= split.validation.sum()
    assert f"of {n_lots} whole lots" in split.how
    assert "lots it has not seen" in split.how


def test_of_three_lots_one_is_held_out_and_split_by_wafer() -> None:
    dies = make(*((lot, w, 50) for lot in "ABC" for w in "12345"))
    split = split_hold_out(dies, every(dies))
    held = set(dies.lot[split.validation | split.calibration])
    assert len(held) == 1
    assert not names(dies, split.validation) & names(dies, split.calibration)
    assert (split.validation.sum(), split.calibration.sum()) == (100, 150)


def test_with_fewer_lots_whole_wafers_are_held_out() -> None:
    dies = make(*((lot, w, 25) for lot in "AB" for w in "12345"))
    split = split_hold_out(dies, every(dies))
    parts = [names(dies, rows) for rows in (split.train, split.validation, split.calibration)]
    assert sum(map(len, parts)) == 10
    assert share(split) == pytest.approx(0.3)
    assert "3 of 10 whole wafers" in split.how
    assert "not on unseen lots" in split.how


def test_of_three_wafers_one_is_held_out_and_cut_in_file_order() -> None:
    dies = make(("A", "1", 100), ("A", "2", 100), ("A", "3", 100))
    split = split_hold_out(dies, every(dies))
    assert len(names(dies, split.validation | split.calibration)) == 1
    assert np.flatnonzero(split.validation).max() < np.flatnonzero(split.calibration).min()
    assert (split.validation.sum(), split.calibration.sum()) == (40, 60)


@pytest.mark.parametrize("wafers", ["", "1"])
def test_one_lot_without_wafers_gives_its_last_dies(wafers: str) -> None:
    dies = make(("A", wafers, 200))
    split = split_hold_out(dies, every(dies))
    assert np.flatnonzero(split.train).tolist() == list(range(140))
    assert np.flatnonzero(split.validation).tolist() == list(range(140, 164))
    assert np.flatnonzero(split.calibration).tolist() == list(range(164, 200))
    assert "neither on unseen wafers nor on unseen lots" in split.how


def test_two_lots_without_wafers_give_the_last_dies_of_each() -> None:
    dies = make(("A", "", 100), ("B", "", 300))
    split = split_hold_out(dies, every(dies))
    held = split.validation | split.calibration
    assert (held[:100].sum(), held[100:].sum()) == (30, 90)
    assert not held[:70].any()


def test_wafers_that_some_dies_do_not_name_are_not_used() -> None:
    dies = make(("A", "1", 50), ("A", "2", 50), ("A", "", 50))
    assert "last dies" in split_hold_out(dies, every(dies)).how


def test_lots_too_unequal_are_passed_over() -> None:
    dies = make(("A", "", 10_000), ("B", "", 50), ("C", "", 60))
    split = split_hold_out(dies, every(dies))
    assert "the lots are too unequal" in split.how
    assert share(split) == pytest.approx(0.3, abs=0.01)


def test_the_seed_chooses_lots_and_repeats() -> None:
    dies = make(*((f"L{i}", "", 20) for i in range(10)))
    splits = [split_hold_out(dies, every(dies), seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert np.array_equal(splits[0].calibration, splits[1].calibration)
    assert len({s.calibration.tobytes() for s in splits}) > 1


_UNITS = st.lists(
    st.tuples(st.sampled_from("ABCDE"), st.sampled_from(["", "1", "2", "3"]), st.integers(1, 60)),
    min_size=1,
    max_size=15,
)


@given(_UNITS, st.floats(0.2, 0.6), st.integers(0, 5), st.integers(0, 2**32))
def test_parts_are_disjoint_whole_and_good(
    units: list[tuple[str, str, int]], wanted: float, seed: int, mask_seed: int
) -> None:
    dies = make(*units)
    good = np.random.default_rng(mask_seed).random(len(dies)) < 0.9
    try:
        split = split_hold_out(dies, good, share=wanted, seed=seed)
    except NotEnoughDataError:
        assert good.sum() < 30 or wanted * good.sum() < 16
        return
    stack = np.stack([split.train, split.validation, split.calibration])
    assert np.array_equal(stack.sum(axis=0), good.astype(int))
    assert stack.sum(axis=1).min() >= 4
    assert wanted / 2 - 0.03 <= share(split) <= (1 + wanted) / 2
    held = split.validation | split.calibration
    if "whole lots" in split.how:
        assert not set(dies.lot[split.train]) & set(dies.lot[held])
    if "whole wafers" in split.how:
        assert not names(dies, split.train) & names(dies, held)


@given(_UNITS, st.integers(2, 8))
def test_folds_hold_each_good_die_out_once(units: list[tuple[str, str, int]], n: int) -> None:
    dies = make(*units)
    if len(dies) < 30:
        with pytest.raises(NotEnoughDataError):
            folds(dies, every(dies), n)
        return
    pairs = list(folds(dies, every(dies), n))
    assert 2 <= len(pairs) <= n
    assert np.array_equal(np.sum([held for _, held in pairs], axis=0), np.ones(len(dies)))
    for train, held in pairs:
        assert held.any()
        assert np.array_equal(train, ~held)


def test_folds_are_lots_else_wafers_else_blocks() -> None:
    lots = make(*((lot, w, 20) for lot in "ABC" for w in "12"))
    assert [set(lots.lot[held]) for _, held in folds(lots, every(lots))] == [{"A"}, {"B"}, {"C"}]
    wafers = make(*(("A", w, 20) for w in "1234567"))
    assert sum(len(names(wafers, held)) for _, held in folds(wafers, every(wafers))) == 7
    single = make(("A", "1", 103))
    starts = [np.flatnonzero(held)[[0, -1]].tolist() for _, held in folds(single, every(single))]
    assert starts == [[0, 20], [21, 41], [42, 62], [63, 82], [83, 102]]


def test_too_few_dies_are_refused_with_the_numbers() -> None:
    dies = make(("A", "", 40))
    good = every(dies)
    good[:11] = False
    with pytest.raises(NotEnoughDataError, match=r"29 good dies of 40 .* at least 30"):
        split_hold_out(dies, good)
    with pytest.raises(NotEnoughDataError, match=r"0\.1 leave 2 for validation and 2"):
        split_hold_out(dies, every(dies), share=0.1)
    with pytest.raises(NotEnoughDataError, match="40 good dies are too few for 30 folds"):
        folds(dies, every(dies), 30)


def test_wrong_use_is_refused() -> None:
    dies = make(("A", "", 40))
    with pytest.raises(UsageError, match=r"good_rows must be bool \(40,\)"):
        split_hold_out(dies, every(dies)[:5])
    with pytest.raises(UsageError, match=r"between 0 and 1, found 1\.5"):
        split_hold_out(dies, every(dies), share=1.5)
    with pytest.raises(UsageError, match="at least 2 folds, found 1"):
        folds(dies, every(dies), 1)


def test_clusters_are_lots_or_where_few_are_known_wafers() -> None:
    dies = Dies.anonymous(12)
    dies.lot[:] = ["A"] * 4 + ["B"] * 4 + ["C"] * 4
    dies.wafer[:] = ["1", "1", "2", "2"] * 3
    every = np.ones(12, dtype=np.bool_)
    assert clusters(dies, every).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    two_lots = np.arange(12) >= 4
    assert clusters(dies, two_lots).tolist() == [-1] * 4 + [0, 0, 1, 1, 2, 2, 3, 3]
    dies.wafer[7] = ""
    assert clusters(dies, two_lots).tolist() == [-1] * 4 + [0] * 4 + [1] * 4
