"""Latency of the whole job, raw values in → verdict out, on the device that runs this.

Contestants are called in turn, round by round, so that whatever else the machine does falls on all
of them alike. Medians and tails are reported: a tester waits for the slowest touchdown.
"""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._network import Screen
from ._text_table import text_table

BATCHES = (1, 8, 64, 256, 1000)
ROUNDS = 20
MIN_CALLS = 200
PATIENCE_S = 10.0
"""Fewer calls are made where they would take longer than this, and than the seconds asked for."""
FEWEST_CALLS = 3


@dataclass(frozen=True)
class Latency:
    """Time per call in µs over ``n_calls`` calls with ``batch`` dies each."""

    contestant: str
    batch: int
    n_calls: int
    median_us: float
    p99_us: float
    p999_us: float
    worst_us: float

    @property
    def us_per_die(self) -> float:
        """Median time per die."""
        return self.median_us / self.batch


def made_up_dies(screen: Screen, n_dies: int, seed: int = 0) -> NDArray[np.float32]:
    """Dies to time with, float32 ``(n_dies, n_tests)``: each test normal around its centre."""
    z = np.random.default_rng(seed).standard_normal((n_dies, screen.schema.n_tests))
    values = screen.scaler.centre[0] + z / screen.scaler.inv_scale[0]
    dies: NDArray[np.float32] = values.astype(np.float32)
    return dies


def time_contestants(
    contestants: Mapping[str, Callable[[NDArray[np.float32]], object]],
    values: NDArray[np.float32],
    batches: Sequence[int] = BATCHES,
    *,
    seconds: float = 1.0,
) -> list[Latency]:
    """Time each contestant at each batch size, in turn, about ``seconds`` each.

    Args:
        contestants: by name, a function of values float32 ``(batch, n_tests)``.
        values: at least as many dies as the largest batch.
    """
    latencies = []
    for batch in batches:
        dies = np.ascontiguousarray(values[:batch])
        timers = {name: timer_of(score, dies) for name, score in contestants.items()}
        latencies += time_in_turn(timers, batch, seconds=seconds)
    return latencies


Timer = Callable[[int], NDArray[np.int64]]
"""Makes so many calls and gives the nanoseconds of each, int64 ``(n_calls,)``."""


def timer_of(score: Callable[[NDArray[np.float32]], object], dies: NDArray[np.float32]) -> Timer:
    """The timer of a function of this process."""
    return lambda n_calls: _time_calls(lambda: score(dies), n_calls)


def time_in_turn(timers: Mapping[str, Timer], batch: int, *, seconds: float = 1.0) -> list[Latency]:
    """Latencies of timers, each of which may run in a process of its own; one runs at a time."""
    timings = _interleave(timers, seconds)
    return [_summarise(name, batch, ns) for name, ns in timings.items()]


def _interleave(timers: Mapping[str, Timer], seconds: float) -> dict[str, NDArray[np.int64]]:
    counts = {name: _count_calls(timer, seconds) for name, timer in timers.items()}
    timings: dict[str, list[NDArray[np.int64]]] = {name: [] for name in timers}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for number in range(ROUNDS):
            for name, timer in timers.items():
                n_calls = _share_of_round(counts[name], number)
                if n_calls:
                    timings[name].append(timer(n_calls))
    finally:
        if enabled:
            gc.enable()
    return {name: np.concatenate(parts) for name, parts in timings.items()}


def _count_calls(timer: Timer, seconds: float) -> int:
    once = float(timer(1)[0]) * 1e-9
    if once < PATIENCE_S / MIN_CALLS:  # the first call finds everything cold
        once = max(float(np.median(timer(5))) * 1e-9, 1e-7)
    wanted = max(MIN_CALLS, int(seconds / once))
    return max(FEWEST_CALLS, min(wanted, int(max(PATIENCE_S, seconds) / once)))


def _share_of_round(n_calls: int, number: int) -> int:
    """Calls spread evenly over the rounds, so that a slow contestant sits some of them out."""
    return (number + 1) * n_calls // ROUNDS - number * n_calls // ROUNDS


def _time_calls(call: Callable[[], object], n_calls: int) -> NDArray[np.int64]:
    clock = time.perf_counter_ns
    ns = np.empty(n_calls, dtype=np.int64)
    call()  # the round's first call finds the caches full of another contestant
    for i in range(n_calls):
        start = clock()
        call()
        ns[i] = clock() - start
    return ns


def _summarise(name: str, batch: int, ns: NDArray[np.int64]) -> Latency:
    median, p99, p999 = np.percentile(ns, (50, 99, 99.9)) / 1e3
    return Latency(name, batch, len(ns), median, p99, p999, ns.max() / 1e3)


def processor() -> str:
    """The CPU's own name for itself, or what Python knows of it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def latency_table(latencies: Sequence[Latency]) -> str:
    """The latencies as lines of text, a row per contestant and batch."""
    header = ("", "dies", "median µs", "p99", "p99.9", "worst", "µs/die", "calls")
    rows = [
        [
            m.contestant,
            str(m.batch),
            *(f"{t:.1f}" for t in (m.median_us, m.p99_us, m.p999_us, m.worst_us)),
            f"{m.us_per_die:.2f}",
            str(m.n_calls),
        ]
        for m in latencies
    ]
    return text_table(header, rows)
