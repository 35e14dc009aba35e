"""The record of a run: JSON for programs, Markdown for people, a plot for the eye."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from knowngood._atomic import write_bytes
from knowngood_export._versions import versions

from ._drift_page import drift_section
from ._plot import plot_case
from ._run import CaseResult
from .speed._figures import figures_of
from .speed._page import speed_section
from .speed._plot import plot_speed
from .speed._run import SpeedResult

DECISIVE_SETS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "asimd", "asimddp", "i8mm")
RECORD_VERSION = 2


def write_record(
    speed: Sequence[SpeedResult], drift: Sequence[CaseResult], folder: Path, name: str = ""
) -> Path:
    """Write ``NAME.json``, ``NAME.md`` and a plot for each case; the Markdown's path is returned.

    Without a name it is made of the date and the processor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    here = machine()
    name = name or f"{here['created'][:10]}-{slug(here['processor'])}"
    record = {"knowngood_benchmark": RECORD_VERSION, **here}
    record["speed"] = [_speed_json(result) for result in speed]
    record["drift"] = [asdict(result) for result in drift]
    write_bytes(folder / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode())
    sections = [heading(here)]
    for plot, picture, section in _sections(speed, drift, here["processor"], name):
        write_bytes(folder / plot, picture)
        sections.append(section)
    write_bytes(folder / f"{name}.md", ("\n\n".join(sections) + "\n").encode())
    return folder / f"{name}.md"


def _sections(
    speed: Sequence[SpeedResult], drift: Sequence[CaseResult], processor: str, name: str
) -> Iterator[tuple[str, bytes, str]]:
    """File name of the plot, plot and text of each section."""
    for each in speed:
        plot = f"{name}.speed-{slug(each.case.name)}.png"
        yield plot, plot_speed(each, processor), speed_section(each, plot)
    for case in drift:
        plot = f"{name}.drift-{slug(case.case.name)}.png"
        yield plot, plot_case(case, processor), drift_section(case, plot)


def _speed_json(result: SpeedResult) -> dict[str, Any]:
    figures = [{**asdict(figure), "is_met": figure.is_met} for figure in figures_of(result)]
    return {**asdict(result), "figures": figures}


def machine() -> dict[str, Any]:
    """What a record says of the machine, the interpreter and the packages."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": processor(),
        "instruction_sets": _instruction_sets(),
        "n_cores": os.cpu_count(),
        "platform": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": versions(),
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's own name for itself, or what Python knows of it."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Of those that decide the speed of matrix products, what the CPU has; Linux only."""
    words = set(cpuinfo.read_text(encoding="utf-8").split()) if cpuinfo.exists() else set()
    return [name for name in DECISIVE_SETS if name in words]


def slug(text: str) -> str:
    """A part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def heading(machine: dict[str, Any]) -> str:
    """The title of a record and the sentence below it; ``machine`` is what `machine` gives."""
    packages = ", ".join(
        f"{name} {v}" for name, v in machine["versions"].items() if name != "python"
    )
    sets = " ".join(machine["instruction_sets"])
    return (
        f"# Benchmark of {machine['created'][:10]}\n\n"
        f"{machine['processor']} ({sets}), {machine['n_cores']} cores, {machine['platform']}, "
        f"Python {machine['python']}; {packages}. "
        f"Load average at the end: {machine['load_average'][0]}. One thread everywhere."
    )
