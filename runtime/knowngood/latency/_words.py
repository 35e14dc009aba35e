"""The figures of a run, for people: a table, notes, and what the computer does to the tail."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterable, Iterator

from .._text_table import text_table
from ._advice import advice
from ._percentiles import PERCENTILES, CallTimes, calls_needed
from ._result import BenchResult, TimedDies
from ._tail import HostShare

WIDTH = 100
MUCH_SLOWER = 1.2


def describe(result: BenchResult) -> str:
    """Table, notes, what the computer does to the tail, and what would help."""
    parts = ["\n".join(_heading(result)), _table(result), "\n".join(_notes(result))]
    parts.append(_bullets("What the host does to the tail:", host_lines(result)))
    advised = advice(result)
    if advised:
        parts.append(_bullets("To shorten the tail:", advised))
    return "\n\n".join(parts)


def _bullets(title: str, lines: Iterable[str]) -> str:
    items = [textwrap.fill(f"* {line}", WIDTH, subsequent_indent="  ") for line in lines]
    return "\n".join([title, *items])


def _heading(result: BenchResult) -> Iterator[str]:
    yield f"{result.host.processor}, {result.host.system}"
    yield "score_into: raw values in, verdicts out, from Python; one thread; µs per call"
    names = _short_names(result)
    for number, model in enumerate(result.models, start=1):
        yield f"model {number}: {names[model.name]}, {model.n_tests} tests"
        yield from textwrap.wrap(
            f"made-up dies: {_verdicts(result, model.name)}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )


def _short_names(result: BenchResult) -> dict[str, str]:
    """Without the folder that all files lie in."""
    paths = {model.path: os.path.abspath(model.path) for model in result.models}
    folder = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
    return {
        model.name: os.path.relpath(paths[model.path], folder) + model.name.removeprefix(model.path)
        for model in result.models
    }


def _verdicts(result: BenchResult, name: str) -> str:
    return "; ".join(_of_batch(dies) for dies in result.dies if dies.contestant == name)


def _of_batch(dies: TimedDies) -> str:
    counts = {"pass": dies.n_pass, "reject": dies.n_reject, "unscored": dies.n_unscored}
    said = [f"{n:,} {verdict}" for verdict, n in counts.items() if n]
    if dies.n_rescored is not None:
        said.append(f"{dies.n_rescored:,} rescored")
    return f"of {dies.batch:,}: {', '.join(said)}"


def _table(result: BenchResult) -> str:
    """A row for each batch, condition and model; a dash where there is nothing to say."""
    shares = {(share.contestant, share.batch, "hot"): share for share in result.shares}
    header = ("model", "dies", "", *PERCENTILES, "worst", "worst*", "µs/die", "calls")
    numbers = _numbers(result)
    rows = [
        [
            str(numbers[row.contestant]),
            f"{row.batch:,}",
            row.condition,
            *map(_time, row.percentiles_us),
            _time(row.worst_us),
            _without(shares.get((row.contestant, row.batch, row.condition))),
            _time(row.us_per_die),
            f"{row.n_calls:,}",
        ]
        for row in result.calls
    ]
    return text_table(header, rows)


def _numbers(result: BenchResult) -> dict[str, int]:
    return {model.name: number for number, model in enumerate(result.models, start=1)}


def _without(share: HostShare | None) -> str:
    return "" if share is None else _time(share.worst_without_us)


def _time(us: float | None) -> str:
    if us is None:
        return "–"
    return f"{us:.2f}" if us < 9.995 else f"{us:,.1f}" if us < 999.95 else f"{us:,.0f}"


def _notes(result: BenchResult) -> Iterator[str]:
    clock, plan = result.clock, result.plan
    yield (
        f"clock: resolution {clock.resolution_ns:g} ns; {clock.overhead_ns:.0f} ns of every time "
        "are its own, not subtracted"
    )
    yield "worst*: the slowest hot call that gaps do not explain; a dash where they slow most calls"
    missing = _missing(result.calls)
    if missing:
        yield f"–: too few calls; {', '.join(missing)} (--seconds, now {plan.seconds:g})"
    if any(dies.n_rescored is not None for dies in result.dies):
        yield "a rescored die costs int8 and fp32 together"
    if any(row.condition == "rescored" for row in result.calls):
        yield "rescored: hot, with dies so near the threshold that each is rescored"
    if plan.cold:
        yield "cold: the caches were filled with something else before each call"
    if plan.idle_ms is not None:
        yield f"idle: after {plan.idle_ms:g} ms of sleep, as between touchdowns"


def _missing(calls: tuple[CallTimes, ...]) -> list[str]:
    columns = zip(
        PERCENTILES.items(), zip(*(c.percentiles_us for c in calls), strict=True), strict=True
    )
    return [
        f"{name} needs {calls_needed(share):,} calls"
        for (name, share), times in columns
        if None in times
    ]


def host_lines(result: BenchResult) -> list[str]:
    """What the computer does to the tail, in plain sentences, a few to a line."""
    parts: tuple[Callable[[BenchResult], Iterator[str]], ...]
    parts = (_gaps_seen, _tails_explained, _calls_struck, _events_met, _activity_counted, _setup)
    return [line for part in parts for line in part(result)]


def _gaps_seen(result: BenchResult) -> Iterator[str]:
    gaps = result.gaps
    rates = [f"{_rate(gaps.per_second(us * 1e3))} over {us} µs" for us in (10, 1)]
    yield (
        f"Host interrupts: {rates[0]} a second, {rates[1]}, the worst {_time(gaps.worst_ns / 1e3)} "
        f"µs; seen as gaps by a loop that only reads the clock, in turn with the hot calls for "
        f"{gaps.spun_ns / 1e9:.2g} s."
    )
    fast, slow = gaps.turn_ns
    if slow > MUCH_SLOWER * fast:
        yield (
            f"A turn of that loop took {slow / fast:.2g} times as long at its slowest as at its "
            "fastest, gaps left out: the clock frequency varies, or another thread shares the core."
        )


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 9.5 else f"{per_second:.2g}"


def _tails_explained(result: BenchResult) -> Iterator[str]:
    """Of the smallest batch: its tail is the least the scorer's own."""
    numbers, smallest = _numbers(result), min(share.batch for share in result.shares)
    for share in result.shares:
        if share.batch == smallest and not share.most_are_struck:
            yield f"model {numbers[share.contestant]}, {_calls_of(share)}: {_explain(share)}"


def _calls_of(share: HostShare) -> str:
    return f"{share.batch:,} die{'s' if share.batch > 1 else ''}, hot"


def _explain(share: HostShare) -> str:
    without = share.worst_without_us
    if share.share is None or without is None:
        return "no call took 1 µs more than the median."
    said = (
        f"{share.n_tail:,} calls took {_time(share.tail_us)} µs or more over the median, and such "
        f"gaps explain {share.share:.0%} of them;"
    )
    if without < share.worst_us:
        return f"{said} without them the worst call would be about {_time(without)} µs."
    return f"{said} they do not explain the worst call, {_time(share.worst_us)} µs."


def _calls_struck(result: BenchResult) -> Iterator[str]:
    for name, number in _numbers(result).items():
        struck = [s for s in result.shares if s.contestant == name and s.most_are_struck]
        if struck:
            sizes = ", ".join(f"{share.batch:,}" for share in struck)
            dies = "die" if sizes == "1" else "dies"
            losses = ", ".join(f"{share.lost:.0%}" for share in struck)
            yield (
                f"model {number}, {sizes} {dies}, hot: gaps take {losses} of a usual call, so "
                "these times, the p50 too, are the host's as well as the scorer's."
            )


def _events_met(result: BenchResult) -> Iterator[str]:
    met = [events for events in result.events if events is not None]
    if not met:
        return
    n_preemptions = sum(events.preemptions for events in met)
    minor, major = (sum(e.minor_faults for e in met), sum(e.major_faults for e in met))
    waits = sum(
        events.waits
        for events, row in zip(result.events, result.calls, strict=True)
        if events is not None and row.condition != "idle"
    )
    yield (
        f"During all calls the thread was preempted {_times(n_preemptions)}, waited "
        f"{_times(waits)}, and met {minor:,} page faults, {major:,} with a read from disk."
    )


def _times(n: int) -> str:
    return {0: "never", 1: "once"}.get(n, f"{n:,} times")


def _activity_counted(result: BenchResult) -> Iterator[str]:
    activity = result.activity
    if activity.steal_share is not None and result.host.is_virtual is not False:
        yield f"The hypervisor took {activity.steal_share:.2%} of the processors' time."
    if activity.interrupts_per_second is not None:
        sources = ", ".join(f"{name} {_rate(n)}" for name, n in activity.sources)
        yield f"They had {_rate(activity.interrupts_per_second)} interrupts a second ({sources})."


def _setup(result: BenchResult) -> Iterator[str]:
    host = result.host
    load = f"; load average {host.load_average[0]:.1f}" if host.load_average else ""
    where = f"core {host.cpus[0]} alone" if host.is_pinned else f"any of {len(host.cpus)} cores"
    how = "SCHED_FIFO" if result.plan.realtime else "ordinary priority"
    facts = [f"Ran on {where}, {how}", *_frequency(result), *_cores(result)]
    yield ", ".join(facts) + load + "."


def _frequency(result: BenchResult) -> Iterator[str]:
    host = result.host
    yield f"governor {'/'.join(host.governors) or 'not visible'}"
    if host.mhz is not None:
        low, high = (f"{mhz / 1000:.2f}" for mhz in host.mhz)
        most = f" of at most {host.max_mhz / 1000:.2f}" if host.max_mhz else ""
        yield f"{low if low == high else f'{low} to {high}'} GHz{most}"
    if host.idle_states:
        name, latency = max(host.idle_states, key=lambda state: state[1])
        yield f"deepest idle state {name} ({latency} µs to wake)"


def _cores(result: BenchResult) -> Iterator[str]:
    host = result.host
    yield f"isolated: {_cpus(host.isolated)}"
    yield f"without timer tick: {_cpus(host.tickless)}"
    if host.siblings:
        yield f"sharing a core with: {_cpus(host.siblings)}"


def _cpus(cpus: tuple[int, ...]) -> str:
    return " ".join(map(str, cpus)) or "none"
