"""The gap detector, with a clock that is made up."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, chain, repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood.latency._gaps import GapDetector


def clock_of(steps: list[int], turn_ns: int = 70) -> Callable[[], int]:
    """A clock that starts anywhere and advances by ``steps``, then by ``turn_ns`` for ever."""
    readings = accumulate(chain([10**15], steps, repeat(turn_ns)))
    return lambda: next(readings)


def test_only_steps_over_a_microsecond_are_gaps() -> None:
    detector = GapDetector(clock_of([70, 1000, 1001, 70, 213_000, 5_000, 70]))
    detector.spin(300_000)
    gaps = detector.gaps()
    assert gaps.sorted_ns.tolist() == [1001, 5000, 213_000]
    assert gaps.worst_ns == 213_000
    assert gaps.own_ns == gaps.spun_ns - 219_001
    assert 300_000 <= gaps.spun_ns < 300_070


def test_gaps_of_several_spells_are_put_together() -> None:
    detector = GapDetector(clock_of([2000, 98_000, 50, 3000, 7_000]))
    detector.spin(100_000)  # ends at the second step
    detector.spin(10_000)
    gaps = detector.gaps()
    assert gaps.sorted_ns.tolist() == [2000, 3000, 7000, 98_000]
    assert gaps.spun_ns == 110_000


def test_a_turn_is_timed_without_its_gaps() -> None:
    between = [5_000_000]
    second = [300] * 5 + [50_000] + [300] * 5
    detector = GapDetector(clock_of([100] * 10 + between + second))
    detector.spin(1000)
    detector.spin(53_000)
    assert detector.gaps().turn_ns == (100, 300)


def test_counts_and_rates() -> None:
    detector = GapDetector(clock_of([1500, 10_000, 99_999, 100_000]))
    detector.spin(1_000_000)
    gaps = detector.gaps()
    assert [int(gaps.n_from(ns)) for ns in (1000, 1500, 1501, 10_000, 1e5, 1e6)] == [
        4,
        4,
        3,
        3,
        1,
        0,
    ]
    assert gaps.per_second(10_000) == pytest.approx(3e9 / gaps.spun_ns)
    counted = gaps.to_json()
    assert counted["n_gaps"] == {
        "from_1_us": 4,
        "from_10_us": 3,
        "from_100_us": 1,
        "from_1000_us": 0,
    }
    assert counted["share_of_time"] == pytest.approx(211_499 / gaps.spun_ns)


def test_a_computer_without_gaps() -> None:
    detector = GapDetector(clock_of([]))
    detector.spin(7_000)
    gaps = detector.gaps()
    assert (gaps.worst_ns, int(gaps.n_from(0)), gaps.spun_ns) == (0, 0, 7_000)
    assert gaps.turn_ns == (70, 70)


@given(st.lists(st.integers(1, 10**7), max_size=50))
def test_every_gap_is_found_wherever_it_lies(steps: list[int]) -> None:
    detector = GapDetector(clock_of(steps))
    detector.spin(sum(steps) + 1)
    found = detector.gaps()
    np.testing.assert_array_equal(found.sorted_ns, sorted(s for s in steps if s > 1000))
    assert sum(steps) < found.spun_ns <= sum(steps) + 70


def test_the_real_clock_is_read_for_as_long_as_asked() -> None:
    detector = GapDetector()
    detector.spin(100_000)
    assert detector.gaps().spun_ns >= 100_000
