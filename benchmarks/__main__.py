"""``python -m benchmarks``: how fast every engine is, and how right; see README.md."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._cases import Case
    from ._run import CaseResult
    from .speed._cases import SpeedCase
    from .speed._run import SpeedResult

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "out" / "bench"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> int:
    """Run the plan; 1 if an answer is wrong, 2 if the command is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small case only, in a minute")
    parser.add_argument("--case", help="run what is made of one model, by its name in cases.toml")
    parser.add_argument("--only", choices=("speed", "drift"), help="one of the two parts")
    parser.add_argument(
        "--record", action="store_true", help="write into benchmarks/records instead of out/bench"
    )
    arguments = parser.parse_args()
    for variable in THREAD_VARIABLES:  # read once, when the libraries are loaded
        os.environ[variable] = "1"
    import torch

    torch.set_num_threads(1)
    return run(arguments)


def say(line: str) -> None:
    print(line, file=sys.stderr)


def run(arguments: argparse.Namespace) -> int:
    from ._cases import read_cases
    from ._record import write_record
    from .speed._cases import read_speed_cases

    quick = arguments.quick
    try:
        models = {case.name: case for case in read_cases(quick=quick, only=arguments.case)}
        cases = read_speed_cases(quick=quick, only=arguments.case)
    except ValueError as error:
        say(str(error))
        return 2
    speed = [] if arguments.only == "drift" else run_speed(cases, models, quick)
    drift = [] if arguments.only == "speed" else run_drift(models.values(), quick)
    if arguments.record:
        written = write_record(speed, drift, ROOT / "benchmarks" / "records")
    else:
        written = write_record(speed, drift, RESULTS, "latest")
    print(written.read_text(encoding="utf-8"))
    say(f"written: {written}")
    failures = [f"{r.case.name}: {f}" for r in speed for f in r.failures]
    failures += [f"{r.case.name}: {f}" for r in drift for f in r.failures]
    for failure in failures:
        say(f"WRONG ANSWER {failure}")
    return 1 if failures else 0


def run_speed(
    cases: Iterable[SpeedCase], models: Mapping[str, Case], quick: bool
) -> list[SpeedResult]:
    from .speed._run import run_speed_case

    return [run_speed_case(c, models[c.model], RESULTS, say, may_install=not quick) for c in cases]


def run_drift(models: Iterable[Case], quick: bool) -> list[CaseResult]:
    from ._run import run_case

    return [run_case(model, RESULTS, say, may_install=not quick) for model in models]


if __name__ == "__main__":
    sys.exit(main())
