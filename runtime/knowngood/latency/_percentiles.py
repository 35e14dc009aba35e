"""Percentiles of call times, as far as the number of calls supports them.

The p-th percentile is the time that at least p % of the calls do not exceed: a time that was
measured (``method="inverted_cdf"`` of ``numpy.percentile``), never one between two. Ranks are
computed in integers, so that 99.9 % of 1,000 calls is the 999th and not, by rounding, the 1,000th.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHOLE = 10_000
PERCENTILES = {"p50": 5000, "p90": 9000, "p99": 9900, "p99.9": 9990, "p99.99": 9999}
"""In ten-thousandths."""
MIN_BEYOND = 10
"""A percentile with fewer calls beyond it moves by more than a third from run to run."""


@dataclass(frozen=True)
class CallTimes:
    """Time per call in µs over ``n_calls`` calls with ``batch`` dies each.

    Attributes:
        contestant: model, precision and engine.
        batch: dies per call.
        condition: "hot", "rescored" (hot, and every die scored in int8 and in fp32), "cold" or
            "idle".
        n_calls: how many were timed.
        p50_us, p90_us, p99_us, p99_9_us, p99_99_us: None where fewer than 10 calls lie beyond it.
        worst_us: the slowest call of all.
    """

    contestant: str
    batch: int
    condition: str
    n_calls: int
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None
    p99_9_us: float | None
    p99_99_us: float | None
    worst_us: float

    @property
    def us_per_die(self) -> float | None:
        """Median time per die."""
        return None if self.p50_us is None else self.p50_us / self.batch

    @property
    def percentiles_us(self) -> tuple[float | None, ...]:
        """In the order of ``PERCENTILES``."""
        return (self.p50_us, self.p90_us, self.p99_us, self.p99_9_us, self.p99_99_us)


def summarise(contestant: str, batch: int, condition: str, ns: NDArray[np.int64]) -> CallTimes:
    """Percentiles of the nanoseconds of each call, int64 ``(n_calls,)``."""
    p50, p90, p99, p99_9, p99_99 = (
        percentile_ns(ns, share) / 1e3 if len(ns) >= calls_needed(share) else None
        for share in PERCENTILES.values()
    )
    worst = int(ns.max()) / 1e3
    return CallTimes(contestant, batch, condition, len(ns), p50, p90, p99, p99_9, p99_99, worst)


def percentile_ns(ns: NDArray[np.int64], share: int) -> int:
    """The time that at least ``share`` ten-thousandths of the calls do not exceed."""
    rank = -(-len(ns) * share // WHOLE)
    return int(np.partition(ns, rank - 1)[rank - 1])


def calls_needed(share: int) -> int:
    """Calls from which ``MIN_BEYOND`` are expected beyond a percentile in ten-thousandths."""
    return MIN_BEYOND * WHOLE // (WHOLE - share)
