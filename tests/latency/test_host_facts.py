"""What a host says of itself: files of /proc and /sys made by hand, of machines unlike this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowngood.latency._activity import ActivityMeter, ThreadEvents, cpu_times, interrupts
from knowngood.latency._host import allowed_cpus, read_host

CPU = "sys/devices/system/cpu"
LAPTOP = {
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse2 avx2\ncpu MHz\t\t: 1100.5\n",
    f"{CPU}/isolated": "2-3",
    f"{CPU}/nohz_full": "3",
    "proc/sys/kernel/sched_rt_runtime_us": "950000",
    "proc/sys/kernel/sched_rt_period_us": "1000000",
    **{f"{CPU}/cpu{c}/cpufreq/scaling_governor": "powersave\n" for c in range(4)},
    **{f"{CPU}/cpu{c}/cpufreq/scaling_cur_freq": f"{800_000 + 100_000 * c}" for c in range(4)},
    **{f"{CPU}/cpu{c}/cpufreq/cpuinfo_max_freq": "3700000" for c in range(4)},
    **{f"{CPU}/cpu{c}/topology/thread_siblings_list": f"{c % 2},{c % 2 + 2}" for c in range(4)},
    f"{CPU}/cpu3/cpuidle/state0/name": "POLL",
    f"{CPU}/cpu3/cpuidle/state0/latency": "0",
    f"{CPU}/cpu3/cpuidle/state10/name": "C10",
    f"{CPU}/cpu3/cpuidle/state10/latency": "890",
    f"{CPU}/cpu3/cpuidle/state2/name": "C1E",
    f"{CPU}/cpu3/cpuidle/state2/latency": "10",
    f"{CPU}/cpu3/cache/index0/size": "32K",
    f"{CPU}/cpu3/cache/index3/size": "266240K",
}
STAT = """cpu  10 0 20 900 0 5 15 50 0 0
cpu0 5 0 10 450 0 5 5 25 0 0
cpu1 5 0 10 450 0 0 10 25 7 7
intr 12345 1 2 3
"""
INTERRUPTS = """           CPU0       CPU2
  0:         12          3  IO-APIC   2-edge      timer
 36:          0    3570974 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
LOC:       1000       2000   Local timer interrupts
ERR:          7
"""


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_pinned_core_of_a_laptop(tmp_path: Path) -> None:
    host = read_host((3,), plant(tmp_path, LAPTOP))
    assert host.is_pinned
    assert host.governors == ("powersave",)
    assert (host.mhz, host.max_mhz) == ((1100.0, 1100.0), 3700.0)
    assert host.siblings == (1,)
    assert (host.isolated, host.tickless) == ((3,), (3,))
    assert host.idle_states == (("POLL", 0), ("C1E", 10), ("C10", 890))
    assert host.is_virtual is False
    assert host.realtime_share == 0.95
    assert host.last_level_cache_bytes == 260 * 2**20


def test_several_cores(tmp_path: Path) -> None:
    host = read_host((0, 2), plant(tmp_path, LAPTOP))
    assert not host.is_pinned
    assert host.mhz == (800.0, 1000.0)
    assert host.siblings == ()  # 0 and 2 share one core, and both are ours
    assert (host.isolated, host.tickless) == ((2,), ())


def test_a_virtual_machine_without_frequencies(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "flags\t: fpu hypervisor\ncpu MHz\t\t: 2600.00\ncpu MHz\t\t: 2500.0\n",
        "proc/sys/kernel/sched_rt_runtime_us": "-1",
        "proc/sys/kernel/sched_rt_period_us": "1000000",
    }
    host = read_host((0, 1), plant(tmp_path, files))
    assert host.is_virtual is True
    assert (host.governors, host.mhz, host.max_mhz) == ((), (2500.0, 2600.0), None)
    assert host.realtime_share == 1.0


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    host = read_host((0,), tmp_path)
    assert (host.mhz, host.is_virtual, host.realtime_share) == (None, None, None)
    assert host.last_level_cache_bytes is None
    assert (host.governors, host.idle_states, host.siblings, host.isolated) == ((), (), (), ())
    activity = ActivityMeter((0,), tmp_path).activity()
    assert (activity.steal_share, activity.interrupts_per_second) == (None, None)
    assert activity.sources == ()


def test_ticks_of_the_processors_asked_for(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/stat": STAT})
    times = cpu_times((1,), root)
    assert (times["steal"], times["irq"], times["softirq"], times.total()) == (25, 0, 10, 500)
    assert cpu_times((0, 1), root).total() == 1000


def test_interrupts_by_their_names(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/interrupts": INTERRUPTS})
    assert interrupts((2,), root) == {
        "timer": 3,
        "virtio1-req.0": 3_570_974,
        "Local timer interrupts": 2000,
    }
    assert interrupts((0, 2), root)["Local timer interrupts"] == 3000


def test_activity_is_what_came_since(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/stat": STAT, "proc/interrupts": INTERRUPTS})
    meter = ActivityMeter((0,), tmp_path)
    later = {
        "proc/stat": STAT.replace("cpu0 5 0 10 450 0 5 5 25", "cpu0 65 0 10 480 0 6 7 32"),
        "proc/interrupts": INTERRUPTS.replace("1000 ", "1600 ").replace(" 12 ", " 17 "),
    }
    plant(tmp_path, later)
    activity = meter.activity()
    assert activity.steal_share == pytest.approx(7 / 100)
    assert activity.interrupt_share == pytest.approx(3 / 100)
    names = [name for name, _ in activity.sources]
    assert names == ["Local timer interrupts", "timer"]
    rates = [rate * activity.seconds for _, rate in activity.sources]
    assert rates == pytest.approx([600, 5])
    assert activity.interrupts_per_second == pytest.approx(605 / activity.seconds)


def test_events_of_a_thread_add_up() -> None:
    first, second = ThreadEvents(1, 2, 3, 4), ThreadEvents(10, 20, 30, 40)
    assert second - first == ThreadEvents(9, 18, 27, 36)
    assert ThreadEvents.total([first, second]) == ThreadEvents(11, 22, 33, 44)
    assert ThreadEvents.total([]) is None


def test_this_computer_can_be_read() -> None:
    host = read_host(allowed_cpus())
    assert host.cpus
    assert host.processor
