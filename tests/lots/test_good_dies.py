"""Which dies a model learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._good_dies import gross_outliers, missing_patterns, select_good_dies
from knowngood._lot import Dies, Lot, mark_attempts
from knowngood._read_lot import read_lot
from knowngood._schema import Schema


def make(values: np.ndarray, **columns: object) -> Lot:
    dies = Dies.anonymous(len(values), lot="L", tester_pass=1)
    arrays = {
        name: np.array(column, dtype=getattr(dies, name).dtype) for name, column in columns.items()
    }
    dies = replace(dies, **arrays)
    attempt, final = mark_attempts(dies.lot, dies.wafer, dies.x, dies.y, dies.part_id)
    dies = replace(dies, attempt=attempt, is_final=final)
    return Lot(values.astype(np.float32), Schema.anonymous(values.shape[1]), dies)


def test_each_die_is_dropped_under_the_first_reason() -> None:
    values = np.random.default_rng(0).normal(size=(9, 3))
    values[6] = np.nan
    values[7, 1] = np.inf
    lot = make(
        values,
        #        good  fail  unknown abnormal  retested and passed  no data inf  good
        part_id=["a", "b", "c", "d", "e", "e", "f", "g", "h"],
        tester_pass=[1, 0, -1, 1, 0, 1, 1, 1, 1],
        is_abnormal=[False, False, False, True, False, False, False, False, False],
    )
    good = select_good_dies(lot)
    assert np.flatnonzero(good.rows).tolist() == [0, 8]
    assert good.dropped == {
        "retested later": 1,
        "tester fail": 1,
        "tester did not say": 1,
        "abnormal end of test": 1,
        "passed only on retest": 1,
        "no data": 1,
        "infinite reading": 1,
    }
    assert good.notes == ()


def test_a_die_that_passed_and_was_retested_as_passing_is_good() -> None:
    lot = make(np.zeros((3, 1)), part_id=["a", "a", "a"], tester_pass=[1, 1, 1])
    assert select_good_dies(lot).rows.tolist() == [False, False, True]


def test_one_fail_among_several_attempts_is_enough() -> None:
    lot = make(np.zeros((4, 1)), x=[5] * 4, y=[6] * 4, tester_pass=[1, 0, 1, 1])
    good = select_good_dies(lot)
    assert not good.rows.any()
    assert good.dropped == {"retested later": 3, "passed only on retest": 1}


def test_a_lot_of_which_nothing_is_said_counts_as_passed_with_a_note() -> None:
    lot = make(np.zeros((4, 1)), lot=["A", "A", "B", "B"], tester_pass=[-1, -1, 1, -1])
    good = select_good_dies(lot)
    assert good.rows.tolist() == [True, True, True, False]
    assert good.dropped == {"tester did not say": 1}
    assert len(good.notes) == 1
    assert "lot 'A'" in good.notes[0]
    assert "all 2 count as passed" in good.notes[0]


_ROWS = st.lists(
    st.tuples(
        st.sampled_from("ABC"),  # lot
        st.integers(0, 4),  # part
        st.sampled_from([-1, 0, 1]),  # tester pass
        st.booleans(),  # abnormal
        st.sampled_from([1.0, 2.0, np.nan, np.inf]),
    ),
    min_size=1,
    max_size=40,
)


@given(_ROWS, st.booleans())
def test_counts_add_up_and_good_dies_are_what_they_are_called(
    rows: list[tuple[str, int, int, bool, float]], trim: bool
) -> None:
    lots, parts, words, abnormal, values = zip(*rows, strict=True)
    lot = make(
        np.array(values)[:, np.newaxis],
        lot=lots,
        part_id=[f"P{p}" for p in parts],
        tester_pass=words,
        is_abnormal=abnormal,
    )
    good = select_good_dies(lot, trim=trim)
    assert good.rows.sum() + sum(good.dropped.values()) == len(rows)
    assert 0 not in good.dropped.values()
    silent = set(lots) - {name for name, _, word, _, _ in rows if word >= 0}
    last = {die: i for i, die in enumerate(zip(lots, parts, strict=True))}
    failed = {(name, part) for name, part, word, _, _ in rows if word == 0}
    for i, (name, part, word, is_abnormal, value) in enumerate(rows):
        passes = word == 1 or name in silent
        is_good = (
            passes
            and not is_abnormal
            and np.isfinite(value)
            and last[name, part] == i
            and (name, part) not in failed
        )
        assert good.rows[i] == is_good


def _distributions(rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    second_mode = 1000 * (rng.random((shape[0], 1)) < 0.02)
    return {
        "normal": rng.normal(size=shape),
        "exponential": rng.exponential(size=shape),
        "student 3": rng.standard_t(3, size=shape),
        "lognormal 2": np.exp(2 * rng.normal(size=shape)),
        "cauchy": rng.standard_cauchy(shape),
        "coarse": np.round(0.3 * rng.normal(size=shape)),
        "second mode": rng.normal(size=shape) + second_mode,
        "constant": np.full(shape, 3.3),
        "lot shifts": rng.normal(size=shape) + 20 * rng.integers(0, 4, (shape[0], 1)),
    }


def test_heavy_tails_and_second_modes_are_not_trimmed() -> None:
    shape = (4000, 100)
    for name, values in _distributions(np.random.default_rng(1), shape).items():
        share = gross_outliers(values.astype(np.float32)).mean()
        assert share <= 0.005, name
        if name not in ("cauchy", "lognormal 2"):
            assert share == 0, name


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_gross_outliers_are_trimmed(scale: float) -> None:
    values = 5.0 + np.random.default_rng(2).normal(size=(1000, 50))
    values[:, 7] = np.round(values[:, 7] - 5.0, 0) * 0.1  # coarse
    values[rng_missing := np.random.default_rng(3).random(values.shape) < 0.05] = np.nan
    assert rng_missing.any()
    values[100, 3] = 1e6  # one reading of an open contact
    values[200, :] = 5.0 + 40.0  # a die off as a whole, each test within 50 sigma
    values[300, 7] = -1e3
    values[400, 4] = 5.0 + 45.0  # extreme, but not gross
    gross = gross_outliers((values * scale).astype(np.float32))
    assert np.flatnonzero(gross).tolist() == [100, 200, 300]
    lot = make(values * scale)
    assert select_good_dies(lot).dropped == {"gross outlier": 3}
    assert select_good_dies(lot, trim=False).rows.all()


def test_readings_at_the_end_of_float32_do_no_harm() -> None:
    values = np.tile(np.arange(40.0)[:, np.newaxis] * 1e-40, (1, 3)).astype(np.float32)
    values[5, 0] = np.finfo(np.float32).max
    assert np.flatnonzero(gross_outliers(values)).tolist() == [5]


def test_missing_patterns_are_distinct_and_the_most_frequent_first() -> None:
    nan = np.nan
    values = np.array(
        [[1, nan, 1], [1, nan, nan], [nan, nan, nan], [1, 1, 1], [1, nan, nan], [nan, 1, 1]]
    )
    lot = make(values, tester_pass=[1, 0, 0, 1, 0, 1])
    expected = [[False, True, True], [False, True, False], [True, False, False]]
    assert missing_patterns(lot).tolist() == expected
    assert missing_patterns(lot, most=1).tolist() == expected[:1]
    assert missing_patterns(make(np.ones((3, 2)))).shape == (0, 2)


def test_real_lot_with_retests_and_datalog_sampling(shared_data: Path) -> None:
    lot = read_lot(shared_data / "stdf" / "galaxy_lot2.stdf.gz")
    good = select_good_dies(lot)
    # published of this file: 113 repeated XY, 46 of which pass and fail on different attempts
    assert good.dropped["retested later"] == 113
    assert good.dropped["passed only on retest"] <= 46
    assert good.rows.sum() + sum(good.dropped.values()) == 1569
    assert not np.isnan(lot.values[good.rows]).all(axis=1).any()


def test_real_lot_of_three_wafers(shared_data: Path) -> None:
    good = select_good_dies(read_lot(shared_data / "stdf" / "radar_a595.stdf.gz"))
    assert good.rows.sum() + sum(good.dropped.values()) == 336
    assert good.dropped.get("gross outlier", 0) <= 2
