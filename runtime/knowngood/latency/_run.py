"""``bench``: everything in order, on the core and with the priority asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from .._scorer import Scorer
from ._activity import ActivityMeter, ThreadEvents
from ._contestants import contestants_of
from ._gaps import GapDetector
from ._host import Host, allowed_cpus, read_host
from ._percentiles import CallTimes, summarise
from ._placement import placed
from ._plan import BenchPlan
from ._result import BenchResult
from ._tail import Tail, host_share
from ._timing import REST, Clock, Condition, Eviction, TimedCall, time_in_turn

Say = Callable[[str], object]
HOT, RESCORED = "hot", "rescored"
HOT_CALLS = 200


def bench(
    scorers: Sequence[Scorer], plan: BenchPlan | None = None, *, say: Say = lambda _: None
) -> BenchResult:
    """Time ``Scorer.score_into`` on this computer.

    Models are called in turn, on dies that each takes for good ones, and those in precision
    "verified" also on dies so near the threshold that each is scored twice. The answers of the
    timed calls are compared with the first. Garbage collection is off while calls are timed, and
    affinity and scheduling policy of the calling thread are what they were when this returns or
    raises.

    Args:
        scorers: what to time, each once; those of one schema get the same dies.
        plan: how; ``BenchPlan()`` if None.
        say: is told what is timed next.

    Raises:
        UsageError: no scorers, or one twice; or the system does not let the thread have its core or
            priority.
        GateError: a scorer gave another answer to the same dies.
    """
    plan = plan or BenchPlan()
    with placed(plan.core, realtime=plan.realtime):
        return run_plan(scorers, plan, say)


def run_plan(scorers: Sequence[Scorer], plan: BenchPlan, say: Say) -> BenchResult:
    """``bench`` for a thread that was placed already."""
    run = _Run(scorers, plan, say)
    for batch in plan.batches:
        run.time_batch(batch)
    return run.result()


class _Run:
    """What is kept from one batch to the next."""

    def __init__(self, scorers: Sequence[Scorer], plan: BenchPlan, say: Say) -> None:
        self._plan, self._say = plan, say
        self._contestants = contestants_of(scorers, max(plan.batches))
        self._host = read_host(allowed_cpus())
        self._conditions = conditions_of(plan, self._host)
        self._clock = Clock.measured()
        self._detector = GapDetector()
        self._meter = ActivityMeter(self._host.cpus)
        self._calls: list[CallTimes] = []
        self._events: list[ThreadEvents | None] = []
        self._tails: list[Tail] = []

    def time_batch(self, batch: int) -> None:
        likely = [contestant.call(batch) for contestant in self._contestants]
        near = [call for c in self._contestants if (call := c.near_call(batch)) is not None]
        for condition in self._conditions:
            calls = near if condition.name == RESCORED else likely
            if calls:
                self._say(f"{batch} dies in a call, {condition.name}")
                self._time(batch, condition, calls)

    def _time(self, batch: int, condition: Condition, calls: Sequence[TimedCall]) -> None:
        is_hot = condition.name == HOT
        timings = time_in_turn(
            calls,
            condition,
            self._plan.seconds,
            after_round=self._spin if is_hot else None,
            rest=self._plan.realtime,
        )
        for call, timing in zip(calls, timings, strict=True):
            self._calls.append(summarise(call.name, batch, condition.name, timing.ns))
            self._events.append(timing.events)
            if is_hot:
                self._tails.append(Tail.of(call.name, batch, timing.ns))

    def _spin(self, seconds: float) -> None:
        self._detector.spin(int(seconds * 1e9))
        if self._plan.realtime:
            time.sleep(REST * seconds)

    def result(self) -> BenchResult:
        gaps = self._detector.gaps()
        activity = self._meter.activity()
        return BenchResult(
            plan=self._plan,
            models=tuple(contestant.timed_model() for contestant in self._contestants),
            dies=tuple(d for c in self._contestants for d in c.timed_dies(self._plan.batches)),
            calls=tuple(self._calls),
            events=tuple(self._events),
            clock=self._clock,
            gaps=gaps,
            shares=tuple(host_share(tail, gaps) for tail in self._tails),
            host=self._host,
            activity=activity,
        )


def conditions_of(plan: BenchPlan, host: Host) -> list[Condition]:
    """The conditions that a plan asks for, hot first."""
    conditions = [Condition(name, min_calls=HOT_CALLS) for name in (HOT, RESCORED)]
    if plan.cold:
        conditions.append(Condition("cold", Eviction(host.last_level_cache_bytes)))
    if plan.idle_ms is not None:
        conditions.append(Condition("idle", partial(time.sleep, plan.idle_ms / 1e3)))
    return conditions
