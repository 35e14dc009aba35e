"""What a computer is and how it is set up, as far as it decides how long a call may take."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from .._bench import processor

ROOT = Path("/")
CPU = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Host:
    """None and empty where the system does not say.

    Attributes:
        processor: its own name.
        system: operating system, release and architecture.
        n_cpus: hardware threads that are on.
        cpus: those that the timed thread may run on; every attribute below is of these.
        governors: of the clock frequency, each once.
        mhz: clock frequencies at the moment of reading, the lowest and the highest.
        max_mhz: the highest that the hardware offers.
        siblings: other hardware threads on the same cores.
        isolated: those of ``cpus`` that the scheduler leaves alone (``isolcpus``).
        tickless: those of ``cpus`` without a timer tick while one thread runs (``nohz_full``).
        idle_states: states that an idle core goes into, with the µs it needs to come back.
        is_virtual: whether there is a hypervisor.
        load_average: threads that wanted to run, over 1, 5 and 15 minutes.
        realtime_share: of each period, what real-time threads may use before they are stopped.
        last_level_cache_bytes: the largest cache of a core.
    """

    processor: str
    system: str
    n_cpus: int
    cpus: tuple[int, ...]
    governors: tuple[str, ...]
    mhz: tuple[float, float] | None
    max_mhz: float | None
    siblings: tuple[int, ...]
    isolated: tuple[int, ...]
    tickless: tuple[int, ...]
    idle_states: tuple[tuple[str, int], ...]
    is_virtual: bool | None
    load_average: tuple[float, ...]
    realtime_share: float | None
    last_level_cache_bytes: int | None

    @property
    def is_pinned(self) -> bool:
        """Whether the thread may run on one processor only."""
        return len(self.cpus) == 1


def allowed_cpus() -> tuple[int, ...]:
    """Processors that the calling thread may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def read_host(cpus: tuple[int, ...], root: Path = ROOT) -> Host:
    """What the files below ``root`` say of the processors ``cpus``."""
    each = [root / CPU / f"cpu{cpu}" for cpu in cpus]
    mhz = _frequencies(each, root)
    ceilings = _numbers(each, "cpufreq/cpuinfo_max_freq")
    siblings = {s for cpu in each for s in _cpu_list(_text(cpu / "topology/thread_siblings_list"))}
    return Host(
        processor=processor(),
        system=platform.platform(),
        n_cpus=os.cpu_count() or 1,
        cpus=cpus,
        governors=tuple(sorted({g for c in each if (g := _text(c / "cpufreq/scaling_governor"))})),
        mhz=(min(mhz), max(mhz)) if mhz else None,
        max_mhz=max(ceilings) / 1000 if ceilings else None,
        siblings=tuple(sorted(siblings - set(cpus))),
        isolated=_among(cpus, _text(root / CPU / "isolated")),
        tickless=_among(cpus, _text(root / CPU / "nohz_full")),
        idle_states=_idle_states(each[0]),
        is_virtual=_is_virtual(root),
        load_average=os.getloadavg() if hasattr(os, "getloadavg") else (),
        realtime_share=_realtime_share(root),
        last_level_cache_bytes=_last_level_cache(each[0]),
    )


def _text(path: Path) -> str:
    """What a file of the kernel says; nothing where this kernel or computer has no such file."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _numbers(folders: list[Path], name: str) -> list[float]:
    return [float(text) for folder in folders if (text := _text(folder / name)).isdigit()]


def _frequencies(cpus: list[Path], root: Path) -> list[float]:
    """In MHz: of each of ``cpus``, or of all processors where only /proc/cpuinfo says it."""
    found = _numbers(cpus, "cpufreq/scaling_cur_freq")
    if found:
        return [khz / 1000 for khz in found]
    return [
        float(m) for m in re.findall(r"^cpu MHz\s*: ([\d.]+)$", _text(root / "proc/cpuinfo"), re.M)
    ]


def _cpu_list(text: str) -> set[int]:
    """Processors of a list like ``0-3,8``."""
    cpus: set[int] = set()
    for part in re.findall(r"(\d+)(?:-(\d+))?", text):
        first, last = int(part[0]), int(part[1] or part[0])
        cpus.update(range(first, last + 1))
    return cpus


def _among(cpus: tuple[int, ...], text: str) -> tuple[int, ...]:
    return tuple(sorted(_cpu_list(text) & set(cpus)))


def _idle_states(cpu: Path) -> tuple[tuple[str, int], ...]:
    folders = sorted((cpu / "cpuidle").glob("state*"), key=lambda folder: int(folder.name[5:]))
    return tuple((_text(f / "name"), int(_text(f / "latency") or 0)) for f in folders)


def _is_virtual(root: Path) -> bool | None:
    """By the flag of x86 processors; others do not say."""
    flags = re.search(r"^flags\s*:(.*)$", _text(root / "proc/cpuinfo"), re.M)
    return "hypervisor" in flags[1].split() if flags else None


def _realtime_share(root: Path) -> float | None:
    runtime, period = (
        _text(root / f"proc/sys/kernel/sched_rt_{name}_us") for name in ("runtime", "period")
    )
    if not (runtime and period):
        return None
    return 1.0 if int(runtime) < 0 else int(runtime) / int(period)


def _last_level_cache(cpu: Path) -> int | None:
    sizes = [_text(folder / "size") for folder in (cpu / "cache").glob("index*")]
    kib = [int(size[:-1]) for size in sizes if re.fullmatch(r"\d+K", size)]
    return max(kib) * 1024 if kib else None
