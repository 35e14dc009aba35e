"""What is printed and advised, for hosts and figures made by hand."""

from __future__ import annotations

import inspect
import os
from dataclasses import replace

import numpy as np
import pytest

import knowngood.latency
from knowngood.latency import BenchPlan, BenchResult, CallTimes
from knowngood.latency._activity import HostActivity, ThreadEvents
from knowngood.latency._advice import advice
from knowngood.latency._gaps import Gaps
from knowngood.latency._host import Host
from knowngood.latency._result import TimedDies, TimedModel
from knowngood.latency._tail import HostShare
from knowngood.latency._timing import Clock
from knowngood.latency._words import host_lines

NAME = "m.kgd [int8, native 1.0 avx2]"
GOOD_HOST = Host(
    processor="Xeon",
    system="Linux",
    n_cpus=4,
    cpus=(3,),
    governors=("performance",),
    mhz=(3500.0, 3500.0),
    max_mhz=3700.0,
    siblings=(),
    isolated=(3,),
    tickless=(3,),
    idle_states=(("C1", 2), ("C6", 133)),
    is_virtual=False,
    load_average=(0.25, 0.2, 0.1),
    realtime_share=1.0,
    last_level_cache_bytes=2**25,
)
RESULT = BenchResult(
    plan=BenchPlan(batches=(1,), core=3, realtime=True),
    models=(TimedModel(NAME, "m.kgd", "ab" * 32, "int8", "native", "1.0", "avx2", 512, 63, 1, 0),),
    dies=(TimedDies(NAME, 1, 63, 1, 0, None),),
    calls=(
        CallTimes(NAME, 1, "hot", 400_000, 2.2, 2.25, 2.4, 3.0, 12.04, 1213.4),
        CallTimes(NAME, 1, "cold", 100, 15.5, 17.2, None, None, None, 40.0),
    ),
    events=(ThreadEvents(0, 0, 0, 0), ThreadEvents(0, 1, 2, 0)),
    clock=Clock(1.0, 45.0),
    gaps=Gaps(np.array([2_000] * 200 + [20_000] * 28), 2 * 10**9, (70.0, 71.0)),
    shares=(HostShare(NAME, 1, 1.0, 500, 0.92, 1213.4, 4.12, 0.001),),
    host=GOOD_HOST,
    activity=HostActivity(4.0, 0.0, 0.01, 250.0, (("Local timer interrupts", 249.5),)),
)


def test_a_line_for_each_row_of_the_table() -> None:
    lines = [" ".join(line.split()) for line in str(RESULT).splitlines()]
    assert "1 1 hot 2.20 2.25 2.40 3.00 12.0 1,213 4.12 2.20 400,000" in lines
    assert "1 1 cold 15.5 17.2 – – – 40.0 15.5 100" in lines
    missing = "p99 needs 1,000 calls, p99.9 needs 10,000 calls, p99.99 needs 100,000 calls"
    assert f"–: too few calls; {missing} (--seconds, now 1)" in lines
    assert f"model 1: {NAME}, 512 tests" in lines
    assert "made-up dies: of 1: 63 pass, 1 reject" in lines
    assert "rescored" not in str(RESULT)
    assert "clock: resolution 1 ns; 45 ns of every time are its own, not subtracted" in lines


def test_what_the_host_does_in_plain_words() -> None:
    said = " ".join(host_lines(RESULT))
    assert "14 over 10 µs a second, 114 over 1 µs, the worst 20.0 µs" in said
    assert "500 calls took 1.00 µs or more over the median" in said
    assert "explain 92% of them; without them the worst call would be about 4.12 µs." in said
    assert "preempted never, waited once, and met 2 page faults, 0 with a read" in said
    assert "They had 250 interrupts a second (Local timer interrupts 250)." in said
    assert "core 3 alone, SCHED_FIFO, governor performance, 3.50 GHz of at most 3.70" in said
    assert "deepest idle state C6 (133 µs to wake)" in said
    assert "times as long" not in said
    assert "hypervisor" not in said


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (HostShare(NAME, 1, 1.0, 0, None, 2.9, 2.9, 0.0), "no call took 1 µs more than the median"),
        (
            HostShare(NAME, 16, 1.0, 5, 0.1, 90.0, 90.0, 0.0),
            "do not explain the worst call, 90.0 µs",
        ),
    ],
)
def test_tails_that_gaps_do_not_explain(share: HostShare, says: str) -> None:
    said = " ".join(host_lines(replace(RESULT, shares=(share,))))
    assert says in said
    assert f"{share.batch} die{'s' if share.batch > 1 else ''}, hot" in said


def test_a_loop_that_slows_down_is_mentioned() -> None:
    gaps = replace(RESULT.gaps, turn_ns=(70.0, 105.0))
    assert "1.5 times as long" in " ".join(host_lines(replace(RESULT, gaps=gaps)))


def test_a_system_that_counts_nothing_is_described_all_the_same() -> None:
    host = replace(GOOD_HOST, governors=(), mhz=None, idle_states=(), load_average=(), cpus=(0, 1))
    activity = HostActivity(4.0, None, None, None, ())
    result = replace(RESULT, host=host, activity=activity, events=(None, None), plan=BenchPlan())
    said = " ".join(host_lines(result))
    assert "preempted" not in said
    assert "interrupts a second" not in said
    assert "any of 2 cores, ordinary priority, governor not visible" in said
    assert [line.split(" (")[0] for line in advice(result)] == [
        "bind the tester's scoring thread to a core of its own"
    ]


def test_a_computer_that_is_set_up_gets_no_advice() -> None:
    assert advice(RESULT) == []
    assert "To shorten the tail" not in str(RESULT)


def test_calls_that_nearly_all_meet_a_gap_are_called_the_hosts_too() -> None:
    struck = HostShare(NAME, 1, 1.0, 500, None, 1213.4, None, 0.31)
    result = replace(RESULT, shares=(struck,))
    assert "1 1 hot 2.20 2.25 2.40 3.00 12.0 1,213 – 2.20 400,000" in " ".join(str(result).split())
    (said,) = [line for line in host_lines(result) if line.startswith("model 1")]
    assert said.startswith("model 1, 1 die, hot: gaps take 31% of a usual call")
    assert "the p50 too" in said


def test_verified_models_say_what_a_rescored_die_costs() -> None:
    rows = (*RESULT.calls, CallTimes(NAME, 1, "rescored", 300, 9.5, 9.9, None, None, None, 40.0))
    dies = (TimedDies(NAME, 1, 1, 0, 0, 0), TimedDies(NAME, 1000, 996, 4, 0, 2))
    events = (*RESULT.events, None)
    text = str(replace(RESULT, calls=rows, dies=dies, events=events))
    assert "made-up dies: of 1: 1 pass, 0 rescored; of 1,000: 996 pass, 4 reject, 2 resc" in text
    assert "a rescored die costs int8 and fp32 together" in text
    assert "1 1 rescored 9.50 9.90 – – – 40.0 9.50 300" in " ".join(text.split())


def test_names_are_as_short_as_tells_them_apart() -> None:
    paths = ("a/b/old/m.kgd", "a/b/new/m.kgd", "a/b/new/m.kgd")
    names = [f"{path} [{i}]" for i, path in enumerate(paths)]
    models = tuple(
        replace(RESULT.models[0], name=name, path=path)
        for name, path in zip(names, paths, strict=True)
    )
    calls = tuple(replace(RESULT.calls[0], contestant=name) for name in names)
    shares = tuple(replace(RESULT.shares[0], contestant=name) for name in names)
    result = replace(RESULT, models=models, calls=calls, shares=shares, events=(None,) * 3, dies=())
    lines = str(result).splitlines()
    told = [os.path.normpath(path) for path in ("old/m.kgd", "new/m.kgd", "new/m.kgd")]
    for number, path in enumerate(told):
        assert f"model {number + 1}: {path} [{number}], 512 tests" in lines
    assert [line[:1] for line in lines if "400,000" in line] == ["1", "2", "3"]


PREEMPTED = (ThreadEvents(3, 0, 0, 0), None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host": replace(GOOD_HOST, cpus=(2, 3))}, "--core N"),
        ({"host": replace(GOOD_HOST, isolated=())}, "isolcpus=3 nohz_full=3 rcu_nocbs=3"),
        ({"host": replace(GOOD_HOST, governors=("powersave",))}, "governor powersave"),
        ({"host": replace(GOOD_HOST, siblings=(1,))}, "hardware threads 1 idle"),
        ({"host": replace(GOOD_HOST, realtime_share=0.95)}, "more than 95% of a second"),
        ({"host": replace(GOOD_HOST, load_average=(4.5, 1, 1))}, "4.5 threads wanted to run on 4"),
        ({"activity": replace(RESULT.activity, steal_share=0.02)}, "gave 2.00% of our time"),
        ({"plan": BenchPlan(batches=(1,), core=3), "events": PREEMPTED}, "--realtime"),
    ],
)
def test_each_thing_found_is_advised_on(changes: dict[str, object], says: str) -> None:
    [line] = advice(replace(RESULT, **changes))  # type: ignore[arg-type]
    assert says in line


def test_the_public_names() -> None:
    assert knowngood.latency.__all__ == ["BenchPlan", "BenchResult", "CallTimes", "bench"]
    signature = inspect.signature(knowngood.latency.bench)
    assert list(signature.parameters) == ["scorers", "plan", "say"]
    assert list(inspect.signature(BenchPlan).parameters) == [
        *("batches", "seconds", "cold", "idle_ms", "core", "realtime"),
    ]
