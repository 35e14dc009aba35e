"""``knowngood bench``: what one call costs on this device, median and tail."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import platform
from typing import Any

from .._bench import (
    BATCHES,
    Latency,
    latency_table,
    made_up_dies,
    processor,
    time_contestants,
)
from .._errors import UsageError
from ._outputs import check_output
from ._protocol import Command


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="+", help=".kgd, .onnx or .tflite; several are timed in turn"
    )
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)), help="dies per call")
    parser.add_argument("--engine", help="engine to run the models on (default: by suffix)")
    parser.add_argument("--precision", help="of a .kgd: verified, int8 or fp32")
    parser.add_argument("--seconds", type=float, default=1.0, help="per model and batch size")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--quiet", action="store_true", help="print nothing; for use with --json")


def run(arguments: argparse.Namespace) -> int:
    from .. import __version__, load
    from .._atomic import write_bytes

    batches = parse_batches(arguments.batches)
    _check_seconds(arguments.seconds)
    if arguments.json:
        check_output(arguments.json, arguments.model)
    scorers = {
        str(path): load(
            path, engine=arguments.engine, precision=arguments.precision, extrapolate=True
        )
        for path in arguments.model
    }
    widths = {s.schema.n_tests for s in scorers.values()}
    if len(widths) > 1:
        raise UsageError(f"the models take different numbers of tests {sorted(widths)}")
    first = next(iter(scorers.values()))
    values = made_up_dies(first.screen, max(batches))
    contestants = {
        f"{path} [{s.precision}, {s.engine_name} {s.engine_version}]": s.score
        for path, s in scorers.items()
    }
    latencies = time_contestants(contestants, values, batches, seconds=arguments.seconds)
    if arguments.json:
        record = bench_record(latencies, __version__)
        write_bytes(arguments.json, (json.dumps(record, indent=1) + "\n").encode())
    if not arguments.quiet:
        print(f"whole job, raw values in, verdicts out; one thread; µs per call; {processor()}")
        print(latency_table(latencies))
    return 0


def parse_batches(text: str) -> tuple[int, ...]:
    try:
        batches = tuple(int(item) for item in text.split(","))
    except ValueError:
        batches = ()
    if not batches or min(batches) < 1:
        raise UsageError(f"--batches takes whole numbers ≥ 1 like 1,8,64, found {text!r}")
    return batches


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds < math.inf:
        raise UsageError(f"--seconds takes a time above 0, found {seconds:g}")


def bench_record(latencies: list[Latency], version: str) -> dict[str, Any]:
    return {
        "processor": processor(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "knowngood": version,
        "latency_us": [
            {**dataclasses.asdict(item), "us_per_die": item.us_per_die} for item in latencies
        ],
    }


command = Command("bench", "time a model on this device: median and tail", configure, run)
