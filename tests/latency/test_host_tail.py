"""What gaps explain of a tail, on calls whose gaps were put there by the test."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from knowngood.latency._gaps import Gaps
from knowngood.latency._tail import HostShare, Tail, host_share

CALL_NS = 2_000
N_CALLS = 500_000
SECOND_NS = CALL_NS * N_CALLS


def made_gaps(rng: np.random.Generator, n_gaps: int, spun_ns: int = SECOND_NS) -> Gaps:
    return Gaps(np.sort(draw(rng, n_gaps)), spun_ns, (70.0, 70.0))


def draw(rng: np.random.Generator, n_gaps: int) -> NDArray[np.int64]:
    """Lengths between 10 and 200 µs."""
    return rng.integers(10_000, 200_000, n_gaps)


def made_calls(rng: np.random.Generator, n_struck: int) -> NDArray[np.int64]:
    """A second of calls of 2 µs, give or take 0.05 µs, some struck by such gaps."""
    ns = CALL_NS + rng.integers(-50, 51, N_CALLS)
    ns[rng.choice(N_CALLS, n_struck, replace=False)] += draw(rng, n_struck)
    return ns


def share_of(ns: NDArray[np.int64], gaps: Gaps) -> HostShare:
    return host_share(Tail.of("a", 1, ns), gaps)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_explain_the_calls_that_they_struck(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ns = made_calls(rng, n_struck=300)
    found = share_of(ns, made_gaps(rng, 300))
    assert (found.n_tail, found.tail_us) == (300, 1.0)
    assert found.share is not None
    assert found.share > 0.9
    assert found.worst_us == ns.max() / 1e3
    assert found.worst_without_us == 2.05


@pytest.mark.parametrize("seed", range(5))
def test_gaps_that_are_too_rare_explain_their_part(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ns = made_calls(rng, n_struck=400)
    found = share_of(ns, made_gaps(rng, 100))
    assert found.share == pytest.approx(0.25, abs=0.03)
    assert found.worst_without_us is not None
    assert found.worst_without_us > 50


@pytest.mark.parametrize("seed", range(5))
def test_a_loop_that_ran_longer_counts_for_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ns = made_calls(rng, n_struck=300)
    found = share_of(ns, made_gaps(rng, 3000, spun_ns=10 * SECOND_NS))
    assert found.share == pytest.approx(1.0, abs=0.1)
    assert found.worst_without_us is not None
    assert found.worst_without_us < 2.1


@pytest.mark.parametrize("seed", range(5))
def test_on_a_crowded_computer_the_loop_gets_less_done(seed: int) -> None:
    """Of each second on the clock half goes to others: as many gaps, for half the loop."""
    rng = np.random.default_rng(seed)
    lost_ns = 4_000_000
    ns = CALL_NS + rng.integers(-50, 51, N_CALLS)
    ns[rng.choice(N_CALLS, 250, replace=False)] += lost_ns
    gaps = Gaps(np.full(250, lost_ns), 2 * SECOND_NS, (70.0, 70.0))
    found = share_of(ns, gaps)
    assert (found.share, found.worst_without_us) == (1.0, 2.05)


@pytest.mark.parametrize("gap_ns", [4_000_000, 300_000])
@pytest.mark.parametrize("call_ns", [20_000_000, 2_000_000_000])
def test_calls_longer_than_a_slice_have_no_tail_to_explain(gap_ns: int, call_ns: int) -> None:
    """Of 2 s, 500 gaps take 2 s or 0.15 s, and a call meets five of them or five hundred."""
    ns = np.full(200, call_ns) + np.arange(200) * 1_000
    found = share_of(ns, Gaps(np.full(500, gap_ns), 4 * 10**9, (70.0, 70.0)))
    is_struck = gap_ns == 4_000_000
    assert found.most_are_struck == is_struck
    assert found.lost == pytest.approx(0.5 if is_struck else 0.0375)
    assert (found.share is None, found.worst_without_us is None) == (is_struck, is_struck)
    assert found.worst_us == ns.max() / 1e3


def test_long_gaps_beside_many_short_ones_do_not_strike_the_usual_call() -> None:
    """A call of 2 ms meets a tick of 2 µs each time, and a slice of 4 ms every tenth time."""
    gaps = Gaps(np.sort(np.repeat([2_000, 4_000_000], [500, 50])), 10**9, (70.0, 70.0))
    found = share_of(np.full(500, 2_000_000), gaps)
    assert found.lost == pytest.approx(550 * 2_000 / 1e9)
    assert not found.most_are_struck


def test_half_of_the_calls_meet_a_gap_at_the_border() -> None:
    """Gaps at random moments of 100 s, and calls of 10 ms end to end: counted one by one."""
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 100, 6_930)
    struck = np.unique((starts / 0.01).astype(int))
    assert len(struck) / 10_000 == pytest.approx(0.5, abs=0.02)
    ns = np.full(10_000, 10_000_000)
    few, many = (Gaps(np.full(n, 2_000_000), 100 * 10**9, (70.0, 70.0)) for n in (6_700, 7_200))
    assert not share_of(ns, few).most_are_struck
    assert share_of(ns, many).most_are_struck


def test_a_call_slower_than_any_gap_is_the_scorers_own() -> None:
    rng = np.random.default_rng(0)
    ns = made_calls(rng, n_struck=300)
    ns[7] = 1_000_000
    found = share_of(ns, made_gaps(rng, 300))
    assert (found.worst_us, found.worst_without_us) == (1000, 1000)


def test_without_gaps_nothing_is_explained() -> None:
    ns = made_calls(np.random.default_rng(0), n_struck=300)
    found = share_of(ns, Gaps(np.empty(0, np.int64), SECOND_NS, (70.0, 70.0)))
    assert found.share == 0
    assert found.worst_without_us == found.worst_us == ns.max() / 1e3


def test_calls_without_a_tail() -> None:
    rng = np.random.default_rng(0)
    found = share_of(made_calls(rng, n_struck=0), made_gaps(rng, 300))
    assert (found.n_tail, found.share) == (0, None)
    assert found.worst_without_us == found.worst_us


def test_the_tail_of_calls_that_vary_by_themselves_is_the_slowest_hundredth() -> None:
    ns = np.arange(1, 10_001, dtype=np.int64) * 1000
    tail = Tail.of("a", 64, ns)
    assert (tail.median_ns, tail.tail_ns, tail.n_tail) == (5_000_000, 4_900_000, 101)
    assert tail.excess_ns[0] == 5_000_000
    assert np.all(np.diff(tail.excess_ns) < 0)
