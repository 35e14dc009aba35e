"""The record of a run: JSON for programs, Markdown for people, a plot for the eye."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from knowngood._atomic import write_bytes
from knowngood._bench import processor
from knowngood_export._versions import versions

from ._accuracy import Accuracy
from ._plot import plot_case
from ._run import CaseResult

SHOWN_POINTS = (0.001, 0.005, 0.02)
DECISIVE_SETS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "asimd", "asimddp", "i8mm")
RECORD_VERSION = 1


def write_record(results: Sequence[CaseResult], folder: Path, name: str = "") -> Path:
    """Write ``NAME.json``, ``NAME.md`` and ``NAME.CASE.png``; the Markdown's path is returned.

    Without a name it is made of the date and the processor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    machine = _machine()
    name = name or f"{machine['created'][:10]}-{_slug(machine['processor'])}"
    record = {"knowngood_benchmark": RECORD_VERSION, **machine}
    record["cases"] = [_to_json(result) for result in results]
    write_bytes(folder / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode())
    plots = {r.case.name: f"{name}.{r.case.name}.png" for r in results}
    for result in results:
        write_bytes(folder / plots[result.case.name], plot_case(result, machine["processor"]))
    text = "\n\n".join([_heading(machine), *(_section(r, plots[r.case.name]) for r in results)])
    write_bytes(folder / f"{name}.md", (text + "\n").encode())
    return folder / f"{name}.md"


def _machine() -> dict[str, Any]:
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


def _instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Of those that decide the speed of matrix products, what the CPU has; Linux only."""
    words = set(cpuinfo.read_text(encoding="utf-8").split()) if cpuinfo.exists() else set()
    return [name for name in DECISIVE_SETS if name in words]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _to_json(result: CaseResult) -> dict[str, Any]:
    return {
        **asdict(result),
        "latencies": [{**asdict(item), "us_per_die": item.us_per_die} for item in result.latencies],
    }


def _heading(machine: dict[str, Any]) -> str:
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


def _section(result: CaseResult, plot: str) -> str:
    case = result.case
    sizes = ", ".join(f"{name} {size / 1000:.0f} kB" for name, size in result.file_bytes.items())
    parts = [
        f"## {case.name}",
        f"Network {'-'.join(map(str, result.widths))}, trained on {case.n_lots} lots. "
        f"Files: {sizes}. {answers(result)}",
        f"![Latency and drift of {case.name}]({plot})",
        "### Latency\n\nRaw values in, verdicts out; median and (99th percentile), µs per call.",
        _latency(result),
        _tails(result),
        f"### Drift against float64\n\nOn {result.n_good:,} good and {result.n_defective:,} "
        "defective dies of lots that neither training nor thresholds have seen. Errors are "
        "relative; flips are verdicts per 10,000 dies (good / defective) that differ from "
        "float64's, each form at its own threshold.",
        _drift(result),
        "### Yield loss and detection\n\nAt each one's own threshold for the nominal yield loss: "
        "realised yield loss on good dies, all and in the median lot, then detection by class of "
        "defect.",
        *(_detection(result, fpr) for fpr in SHOWN_POINTS),
    ]
    return "\n\n".join(parts)


def answers(result: CaseResult) -> str:
    """Whether every answer was as expected, in a sentence or two."""
    lines = [f"Skipped: {reason}." for reason in result.skipped]
    if result.failures:
        return " ".join([*lines, "**Wrong answers:** " + "; ".join(result.failures) + "."])
    return " ".join([*lines, "Every answer is within what its form allows."])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    rule = ["---", *("--:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _latency(result: CaseResult) -> str:
    found = {(item.contestant, item.batch): item for item in result.latencies}
    batches = result.case.batches
    rows = []
    for name, version in result.versions.items():
        items = [found[name, batch] for batch in batches]
        cells = [f"{m.median_us:.1f} ({m.p99_us:.1f})" for m in items]
        rows.append([f"{name} ({version})", *cells, f"{items[-1].us_per_die:.2f}"])
    header = [
        "",
        *("1 die" if b == 1 else f"{b} dies" for b in batches),
        f"µs/die at {batches[-1]}",
    ]
    return markdown_table(header, rows)


def _tails(result: CaseResult) -> str:
    batch = result.tail_batch
    rows = [
        [
            m.contestant,
            *(f"{t:.1f}" for t in (m.median_us, m.p99_us, m.p999_us, m.worst_us)),
            f"{m.n_calls:,}",
        ]
        for m in result.latencies
        if m.batch == batch
    ]
    header = [f"{batch} dies in a call, µs", "median", "99 %", "99.9 %", "worst", "calls"]
    return markdown_table(header, rows)


def _drift(result: CaseResult) -> str:
    rows = []
    for a in result.accuracy:
        if a.errors is None or a.bias is None:
            continue
        errors = (a.errors.good_median, a.errors.good_worst, a.errors.defective_worst)
        cells = [a.detector, f"{a.bias:+.1e}", *(f"{error:.1e}" for error in errors)]
        rows.append(cells + [_flips(a, fpr) for fpr in SHOWN_POINTS])
    header = ["", "bias", "median error", "worst", "worst, defective"]
    header += [f"flips at {fpr:.1%}" for fpr in SHOWN_POINTS]
    return markdown_table(header, rows)


def _flips(accuracy: Accuracy, fpr: float) -> str:
    point = next(p for p in accuracy.points if p.fpr == fpr)
    return f"{point.flips_good:.1f} / {point.flips_defective:.1f}"


def _detection(result: CaseResult, fpr: float) -> str:
    rows = []
    for accuracy in result.accuracy:
        point = next(p for p in accuracy.points if p.fpr == fpr)
        cells = [f"{loss:.2%}" for loss in (point.yield_loss, point.median_lot)]
        cells += [f"{share:.1%}" for share in point.detection.values()]
        rows.append([accuracy.detector, *cells])
    defects = [d.replace("_", " ") for d in result.accuracy[0].points[0].detection]
    return markdown_table([f"nominal {fpr:.1%}", "yield loss", "median lot", *defects], rows)
