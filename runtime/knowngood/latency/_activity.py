"""What befell a thread and its processors between two moments, as the system counts it."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

ROOT = Path("/")
CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
N_SOURCES = 3


@dataclass(frozen=True)
class ThreadEvents:
    """Of the calling thread.

    Attributes:
        preemptions: involuntary context switches: another thread was run instead.
        waits: voluntary ones: the thread slept, or waited for a lock or a file.
        minor_faults, major_faults: page faults without and with a read from disk.
    """

    preemptions: int
    waits: int
    minor_faults: int
    major_faults: int

    @classmethod
    def now(cls) -> ThreadEvents | None:
        """Since the thread started; None where the system does not count them by thread."""
        if sys.platform != "linux":
            return None
        import resource

        usage = resource.getrusage(resource.RUSAGE_THREAD)
        return cls(usage.ru_nivcsw, usage.ru_nvcsw, usage.ru_minflt, usage.ru_majflt)

    @classmethod
    def total(cls, parts: Iterable[ThreadEvents]) -> ThreadEvents | None:
        """The sum, None of nothing."""
        rows = [astuple(part) for part in parts]
        return cls(*(sum(column) for column in zip(*rows, strict=True))) if rows else None

    def __sub__(self, earlier: ThreadEvents) -> ThreadEvents:
        pairs = zip(astuple(self), astuple(earlier), strict=True)
        return ThreadEvents(*(now - before for now, before in pairs))


@dataclass(frozen=True)
class HostActivity:
    """Of the processors that the thread may run on, while everything was timed.

    Attributes:
        seconds: from the first moment to the second.
        steal_share: of their time, what the hypervisor gave to others; None where not counted.
        interrupt_share: likewise, handling interrupts, as far as the kernel accounts for them.
        interrupts_per_second: of all these processors together; None where they are not counted.
        sources: the most frequent kinds of interrupt, each with its number per second.
    """

    seconds: float
    steal_share: float | None
    interrupt_share: float | None
    interrupts_per_second: float | None
    sources: tuple[tuple[str, float], ...]


class ActivityMeter:
    """Reads the counters of some processors when made, and again when asked."""

    def __init__(self, cpus: Sequence[int], root: Path = ROOT) -> None:
        self._cpus = cpus
        self._root = root
        self._start = time.perf_counter()
        self._times = cpu_times(cpus, root)
        self._interrupts = interrupts(cpus, root)

    def activity(self) -> HostActivity:
        """Since the meter was made."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        times = cpu_times(self._cpus, self._root) - self._times
        found = interrupts(self._cpus, self._root) - self._interrupts
        handling = times["irq"] + times["softirq"]
        return HostActivity(
            seconds,
            steal_share=_share(times["steal"], times),
            interrupt_share=_share(handling, times),
            interrupts_per_second=found.total() / seconds if self._interrupts else None,
            sources=tuple((name, n / seconds) for name, n in found.most_common(N_SOURCES)),
        )


def _share(ticks: int, times: Counter[str]) -> float | None:
    total = sum(times.values())
    return ticks / total if total else None


def cpu_times(cpus: Sequence[int], root: Path = ROOT) -> Counter[str]:
    """Ticks of some processors by what they did (``/proc/stat``); empty where nothing says it."""
    names = {f"cpu{cpu}" for cpu in cpus}
    total: Counter[str] = Counter()
    for line in _lines(root / "proc/stat"):
        name, *ticks = line.split()
        if name in names:
            total.update(dict(zip(CPU_FIELDS, map(int, ticks), strict=False)))
    return total


def interrupts(cpus: Sequence[int], root: Path = ROOT) -> Counter[str]:
    """How many interrupts of each kind some processors had (``/proc/interrupts``)."""
    lines = _lines(root / "proc/interrupts")
    if not lines:
        return Counter()
    columns = [i for i, name in enumerate(lines[0].split()) if name in {f"CPU{c}" for c in cpus}]
    n_columns = len(lines[0].split())
    total: Counter[str] = Counter()
    for line in lines[1:]:
        label, *cells = line.split()
        if len(cells) > n_columns:  # the others count for the whole computer, and have no name
            name = cells[-1] if label[:-1].isdigit() else " ".join(cells[n_columns:])
            total[name] += sum(int(cells[i]) for i in columns)
    return total


def _lines(path: Path) -> list[str]:
    """The lines of a file that only Linux has."""
    return path.read_text(encoding="utf-8").splitlines() if os.access(path, os.R_OK) else []
