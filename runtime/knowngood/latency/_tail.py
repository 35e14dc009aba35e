"""How much of a tail the computer explains: slow calls held against gaps seen in between.

A call cannot say why it was slow. But gaps strike calls and the loop that only reads the clock at
the same rate: ``T`` seconds of calls ``T / S`` times as often as ``S`` seconds of the loop, gaps
left out of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._gaps import GAP_NS, Gaps
from ._percentiles import calls_needed, percentile_ns

TAIL = 9900
"""The slowest hundredth, in ten-thousandths."""
STRETCH = 1.5
"""A gap may cost a call so many times its length: what it left in the caches was displaced."""
MAX_KEPT = 100_000
"""Slow calls kept for comparison with the gaps."""
MUCH_LOST = 0.1
"""Of a call's time: when gaps take so much of most calls, even the median is the computer's."""
MOST_CALLS_MEET_ONE = math.log(2)
"""Gaps per call from which half of the calls meet one, as gaps fall at random."""
BEYOND_CHANCE = 2.6
"""Standard deviations: what chance exceeds once in a hundred."""


@dataclass(frozen=True)
class Tail:
    """The slow calls among hot ones.

    Attributes:
        contestant, batch: of which calls.
        n_calls: all of them.
        median_ns: of all of them.
        tail_ns: those in the tail take so much longer than the median.
        n_tail: how many are in it.
        excess_ns: by how much the slowest exceed the median, 1 µs or more, descending, float64.
        next_ns: the same of the slowest call that is not among these.
    """

    contestant: str
    batch: int
    n_calls: int
    median_ns: int
    tail_ns: int
    n_tail: int
    excess_ns: NDArray[np.float64]
    next_ns: int

    @property
    def slowest_ns(self) -> float:
        """By how much the slowest call of all exceeds the median."""
        return float(self.excess_ns[0]) if len(self.excess_ns) else self.next_ns

    @classmethod
    def of(cls, contestant: str, batch: int, ns: NDArray[np.int64]) -> Tail:
        """The tail of calls that took these nanoseconds, int64 ``(n_calls,)``."""
        median = percentile_ns(ns, 5000)
        has_percentile = len(ns) >= calls_needed(TAIL)
        tail_ns = max(GAP_NS, percentile_ns(ns, TAIL) - median if has_percentile else 0)
        is_slow = ns >= median + GAP_NS
        excess = np.sort(ns[is_slow] - median)[::-1]
        n_tail = int(np.count_nonzero(excess >= tail_ns))
        kept = excess[:MAX_KEPT].astype(np.float64)
        others = np.append(excess[MAX_KEPT:], ns[~is_slow] - median)
        return cls(
            contestant, batch, len(ns), median, tail_ns, n_tail, kept, next_ns=int(others.max())
        )


@dataclass(frozen=True)
class HostShare:
    """What gaps explain of the tail of hot calls.

    Attributes:
        contestant, batch: of which calls.
        tail_us: calls are in the tail that take so much longer than the median.
        n_tail: how many do.
        share: of these, what gaps as frequent as those seen would make so slow; at most 1, None
            where no call is in the tail, or most calls are struck.
        worst_us: the slowest call.
        worst_without_us: the slowest one that gaps do not explain; None where most are struck.
        lost: the part of its time that gaps take from a usual call.
    """

    contestant: str
    batch: int
    tail_us: float
    n_tail: int
    share: float | None
    worst_us: float
    worst_without_us: float | None
    lost: float

    @property
    def most_are_struck(self) -> bool:
        """Whether most calls lose so much to gaps that even their median is the computer's too."""
        return self.lost >= MUCH_LOST


def host_share(tail: Tail, gaps: Gaps) -> HostShare:
    """Hold slow calls against the gaps seen in turn with them.

    Where most calls are struck there are no others to compare with, and nothing is explained.
    """
    lost = usual_loss(tail.median_ns, gaps)
    if lost >= MUCH_LOST:
        worst_us = (tail.median_ns + tail.slowest_ns) / 1e3
        return HostShare(
            tail.contestant, tail.batch, tail.tail_ns / 1e3, tail.n_tail, None, worst_us, None, lost
        )
    calls_per_gap = tail.median_ns * tail.n_calls / max(gaps.own_ns, 1)
    expected = float(gaps.n_from(tail.tail_ns / STRETCH)) * calls_per_gap
    excess = np.append(tail.excess_ns, tail.next_ns)
    without = excess[n_explained(tail.excess_ns, gaps, calls_per_gap)]
    return HostShare(
        tail.contestant,
        tail.batch,
        tail_us=tail.tail_ns / 1e3,
        n_tail=tail.n_tail,
        share=min(1.0, expected / tail.n_tail) if tail.n_tail else None,
        worst_us=(tail.median_ns + tail.slowest_ns) / 1e3,
        worst_without_us=(tail.median_ns + float(without)) / 1e3,
        lost=lost,
    )


def usual_loss(call_ns: int, gaps: Gaps) -> float:
    """The part of its time that gaps take from a usual call of ``call_ns``.

    Gaps longer than those that half of the calls meet are counted as no longer than these, since
    they make few calls slow, and not the usual one.
    """
    n_longer = math.ceil(MOST_CALLS_MEET_ONE * gaps.spun_ns / max(call_ns, 1))
    if n_longer > len(gaps.sorted_ns):
        return 0.0
    usual_ns = gaps.sorted_ns[-n_longer]
    return float(np.minimum(gaps.sorted_ns, usual_ns).sum()) / gaps.spun_ns


def n_explained(excess_ns: NDArray[np.float64], gaps: Gaps, calls_per_gap: float) -> int:
    """How many of the slowest calls gaps explain.

    A call is explained as long as calls that slow are not more frequent than gaps that long, beyond
    chance (both counts being Poisson's), and at least one gap that long was seen.

    Args:
        excess_ns: over the median, descending, float64 ``(n_slow,)``.
        calls_per_gap: how many calls a gap seen by the loop stands for.
    """
    n_calls = np.arange(1, len(excess_ns) + 1)
    n_gaps = gaps.n_from(excess_ns / STRETCH)
    surplus = n_calls - calls_per_gap * n_gaps
    spread = np.sqrt(n_calls + calls_per_gap**2 * n_gaps)
    is_explained = (surplus <= BEYOND_CHANCE * spread) & (n_gaps > 0)
    return int(np.argmin(np.append(is_explained, False)))
