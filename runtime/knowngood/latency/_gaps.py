"""Gaps: times when the computer did something else than run us.

A loop that only reads the clock takes well under a microsecond a turn. Where two readings lie
further apart, something else had the core: an interrupt, another thread, the hypervisor, the
firmware. Turns that take longer without a gap tell of a lower clock frequency, or of another thread
on the same core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GAP_NS = 1_000
"""Shorter ones cannot be told from a turn of the loop."""
LEVELS_US = (1, 10, 100, 1000)


@dataclass(frozen=True)
class Gaps:
    """What the loop saw.

    Attributes:
        sorted_ns: length of each gap, ascending, int64 ``(n_gaps,)``.
        spun_ns: how long the loop ran, gaps included.
        turn_ns: what a turn took, gaps left out, in the fastest and in the slowest spell.
    """

    sorted_ns: NDArray[np.int64]
    spun_ns: int
    turn_ns: tuple[float, float]

    @property
    def worst_ns(self) -> int:
        """The longest gap, 0 if there was none."""
        return int(self.sorted_ns[-1]) if len(self.sorted_ns) else 0

    @property
    def own_ns(self) -> int:
        """Of the time that the loop ran, what was its own."""
        return self.spun_ns - int(self.sorted_ns.sum())

    def n_from(self, ns: float | NDArray[np.float64]) -> NDArray[np.int64]:
        """How many gaps are ``ns`` long or longer."""
        below: NDArray[np.int64] = np.searchsorted(self.sorted_ns, ns, side="left")
        return len(self.sorted_ns) - below

    def per_second(self, ns: float) -> float:
        """How many gaps of ``ns`` or longer a second has."""
        return float(self.n_from(ns)) * 1e9 / self.spun_ns

    def to_json(self) -> dict[str, Any]:
        return {
            "spun_s": self.spun_ns / 1e9,
            "n_gaps": {f"from_{us}_us": int(self.n_from(us * 1e3)) for us in LEVELS_US},
            "worst_us": self.worst_ns / 1e3,
            "share_of_time": float(self.sorted_ns.sum()) / self.spun_ns,
            "turn_ns": list(self.turn_ns),
        }


class GapDetector:
    """Spins now and then, and keeps the gaps it saw."""

    def __init__(self, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock_ns = clock_ns
        self._gaps_ns: list[int] = []
        self._turns_ns: list[float] = []
        self._spun_ns = 0

    def spin(self, duration_ns: int) -> None:
        """Read the clock until ``duration_ns`` have gone by: one spell."""
        clock_ns, gaps_ns = self._clock_ns, self._gaps_ns
        n_before, n_turns = len(gaps_ns), 0
        start = previous = clock_ns()
        end = start + duration_ns
        while previous < end:
            now = clock_ns()
            n_turns += 1
            if now - previous > GAP_NS:
                gaps_ns.append(now - previous)
            previous = now
        self._spun_ns += previous - start
        gaps = gaps_ns[n_before:]
        if n_turns > len(gaps):
            self._turns_ns.append((previous - start - sum(gaps)) / (n_turns - len(gaps)))

    def gaps(self) -> Gaps:
        """All that was seen so far, in one spell or more."""
        turns = self._turns_ns or [0.0]
        sorted_ns = np.sort(np.array(self._gaps_ns, dtype=np.int64))
        return Gaps(sorted_ns, max(self._spun_ns, 1), (min(turns), max(turns)))
