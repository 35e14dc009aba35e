"""Calls, timed one by one and in turn, so that what else the computer does falls on all alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .._errors import GateError
from .._scorer import Scorer
from ._activity import ThreadEvents

FEWEST_ROUNDS = 20
LONGEST_TURN_S = 0.25
PATIENCE_S = 10.0
"""Fewer calls than ``min_calls`` are made where these took longer than this and than asked for."""
FEWEST_CALLS = 3
MOST_CALLS = 20_000_000
"""Of a row, whose times are kept: 160 MB."""
N_WARM_UP = 3
"""Calls before each turn of hot ones: the caches are full of another contestant."""
REST = 0.1
"""Real-time threads sleep for so much of each turn: the kernel stops those that never do."""


@dataclass(frozen=True)
class Condition:
    """What happens between calls.

    Attributes:
        name: "hot", "rescored", "cold" or "idle".
        between: called before each call, outside its time; None for nothing.
        min_calls: made even where they take longer than the seconds asked for.
    """

    name: str
    between: Callable[[], object] | None = None
    min_calls: int = 20


@dataclass(frozen=True)
class Timing:
    """Nanoseconds of each call, int64 ``(n_calls,)``, and what befell the thread during them."""

    ns: NDArray[np.int64]
    events: ThreadEvents | None


class TimedCall:
    """``score_into`` of a scorer on the same dies over and over, into the same buffers."""

    def __init__(self, name: str, scorer: Scorer, values: NDArray[np.float32]) -> None:
        self.name = name
        self.n_dies = len(values)
        self._answer = bytearray(6 * self.n_dies)
        scores = np.frombuffer(self._answer, np.float32, self.n_dies)
        codes = np.frombuffer(self._answer, np.int8, offset=4 * self.n_dies)
        verdicts, reasons = codes[: self.n_dies], codes[self.n_dies :]
        self._call = partial(scorer.score_into, values, scores, verdicts, reasons)
        self._blank = b"\xff" * len(self._answer)
        self._call()
        self._expected = bytes(self._answer)

    def fill(self, ns: NDArray[np.int64], between: Callable[[], object] | None = None) -> None:
        """Make a call for each element of ``ns`` and put its nanoseconds there.

        Raises:
            GateError: a call gave another answer than the first.
        """
        clock_ns, call = time.perf_counter_ns, self._call
        answer, blank, expected = self._answer, self._blank, self._expected
        for i in range(len(ns)):
            answer[:] = blank
            if between is not None:
                between()
            start = clock_ns()
            call()
            ns[i] = clock_ns() - start
            if answer != expected:
                raise GateError(
                    f"{self.name}: the same {self.n_dies} dies got other scores, verdicts or "
                    "reasons in a later call than in the first: do not score with it here"
                )


def time_in_turn(
    calls: Sequence[TimedCall],
    condition: Condition,
    seconds: float,
    *,
    after_round: Callable[[float], object] | None = None,
    rest: bool = False,
) -> list[Timing]:
    """Time ``calls`` under a condition, each for about ``seconds``.

    Args:
        after_round: called after each round with the seconds that a contestant had in it.
        rest: sleep for a while after each turn.
    """
    n_rounds = max(FEWEST_ROUNDS, math.ceil(seconds / LONGEST_TURN_S))
    times = [np.full(count_calls(call, condition, seconds), -1, np.int64) for call in calls]
    events: list[list[ThreadEvents]] = [[] for _ in calls]
    with _without_gc():
        for number in range(n_rounds):
            for call, ns, met in zip(calls, times, events, strict=True):
                turn = ns[number * len(ns) // n_rounds : (number + 1) * len(ns) // n_rounds]
                _take_turn(call, condition, turn, met, rest=rest)
            if after_round is not None:
                after_round(seconds / n_rounds)
    return [Timing(ns, ThreadEvents.total(met)) for ns, met in zip(times, events, strict=True)]


def _take_turn(
    call: TimedCall,
    condition: Condition,
    turn: NDArray[np.int64],
    events: list[ThreadEvents],
    *,
    rest: bool,
) -> None:
    if not len(turn):
        return
    start = time.perf_counter()
    if condition.between is None:
        call.fill(np.empty(N_WARM_UP, np.int64))
    before = ThreadEvents.now()
    call.fill(turn, condition.between)
    after = ThreadEvents.now()
    if before is not None and after is not None:
        events.append(after - before)
    if rest:
        time.sleep(REST * (time.perf_counter() - start))


@contextmanager
def _without_gc() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def count_calls(call: TimedCall, condition: Condition, seconds: float) -> int:
    """How many calls fit into ``seconds``, with what lies between them."""
    once = _seconds_each(call, condition, 1)
    if once < PATIENCE_S / condition.min_calls:  # the first call finds everything cold
        once = min(_seconds_each(call, condition, 5) for _ in range(3))
    wanted = min(max(condition.min_calls, int(seconds / once)), MOST_CALLS)
    return max(FEWEST_CALLS, min(wanted, int(max(PATIENCE_S, seconds) / once)))


def _seconds_each(call: TimedCall, condition: Condition, n_calls: int) -> float:
    start = time.perf_counter()
    call.fill(np.empty(n_calls, np.int64), condition.between)
    return max(time.perf_counter() - start, 1e-7) / n_calls


class Eviction:
    """Fills the caches with something else: writes to each line of a buffer that exceeds them."""

    FEWEST_BYTES = 96 * 2**20
    LINE_BYTES = 64

    def __init__(self, last_level_cache_bytes: int | None) -> None:
        self.n_bytes = max(self.FEWEST_BYTES, 2 * (last_level_cache_bytes or 0))
        words = np.zeros(self.n_bytes // 8, np.int64)
        self._lines = words[:: self.LINE_BYTES // 8]

    def __call__(self) -> None:
        self._lines += 1


@dataclass(frozen=True)
class Clock:
    """What the clock can tell.

    Attributes:
        resolution_ns: as the system states it.
        overhead_ns: what two readings with nothing in between lie apart, the median; it is part of
            every call's time, and not subtracted.
    """

    resolution_ns: float
    overhead_ns: float

    @classmethod
    def measured(cls, n_readings: int = 2001) -> Clock:
        """The clock of this computer."""
        clock_ns = time.perf_counter_ns
        apart = [-clock_ns() + clock_ns() for _ in range(n_readings)]
        return cls(time.get_clock_info("perf_counter").resolution * 1e9, float(np.median(apart)))
