"""Percentiles of call times: against NumPy, by exact fractions, and only where supported."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood.latency import CallTimes
from knowngood.latency._percentiles import PERCENTILES, calls_needed, percentile_ns, summarise

TIMES = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)


@given(TIMES, st.sampled_from(sorted(PERCENTILES.values())))
def test_the_smallest_time_that_so_many_calls_do_not_exceed(times: list[int], share: int) -> None:
    wanted = Fraction(share, 10_000)
    expected = min(t for t in times if Fraction(sum(x <= t for x in times), len(times)) >= wanted)
    assert percentile_ns(np.array(times, np.int64), share) == expected


@pytest.mark.parametrize("n_calls", [1, 7, 997, 1003, 123_457])  # no percentile falls on a rank
@pytest.mark.parametrize("share", PERCENTILES.values())
def test_numpys_inverted_distribution(n_calls: int, share: int) -> None:
    ns = np.random.default_rng(n_calls).permutation(n_calls).astype(np.int64)
    assert percentile_ns(ns, share) == np.percentile(ns, share / 100, method="inverted_cdf")


def test_ranks_are_not_rounded_up() -> None:
    """In floats 99.9 % of 1,000 is a hair above 999."""
    assert percentile_ns(np.arange(1, 1001, dtype=np.int64), 9990) == 999


def test_calls_that_a_percentile_needs() -> None:
    needed = {name: calls_needed(share) for name, share in PERCENTILES.items()}
    assert needed == {"p50": 20, "p90": 100, "p99": 1000, "p99.9": 10_000, "p99.99": 100_000}


@pytest.mark.parametrize(
    ("n_calls", "n_supported"),
    [
        (1, 0),
        (19, 0),
        (20, 1),
        (99, 1),
        (100, 2),
        (1000, 3),
        (10_000, 4),
        (99_999, 4),
        (100_000, 5),
    ],
)
def test_what_too_few_calls_cannot_tell_is_none(n_calls: int, n_supported: int) -> None:
    row = summarise("a", 4, "hot", np.arange(1, n_calls + 1, dtype=np.int64) * 1000)
    given_us = row.percentiles_us
    assert [us is not None for us in given_us] == [i < n_supported for i in range(5)]
    assert row.worst_us == n_calls
    assert row.us_per_die == (None if n_supported == 0 else given_us[0] and given_us[0] / 4)


def test_a_row_of_100_000_calls() -> None:
    ns = np.random.default_rng(0).permutation(np.arange(1, 100_001)) * 1000
    row = summarise("a", 1, "cold", ns)
    expected = CallTimes("a", 1, "cold", 100_000, 50_000, 90_000, 99_000, 99_900, 99_990, 100_000)
    assert dataclasses.astuple(row) == dataclasses.astuple(expected)
