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
    from .int8._run import SetResult
    from .speed._cases import SpeedCase
    from .speed._run import SpeedResult

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "out" / "bench"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> int:
    """Run the plan; 1 if an answer is wrong, 2 if the command is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small case only, in a minute")
    parser.add_argument(
        "--case", help="run what is made of one model, by its name in cases.toml, int8/sets.toml"
    )
    parser.add_argument(
        "--models", type=Path, metavar="DIR",
        help="int8, verified: keep trained models as DIR/NAME.pt, whatever code trained them",
    )  # fmt: skip
    parser.add_argument(
        "--only", choices=("speed", "drift", "int8", "detection", "verified"),
        help="one part; int8, detection and verified run only so",
    )  # fmt: skip
    parser.add_argument(
        "--record", action="store_true", help="write into benchmarks/records instead of out/bench"
    )
    arguments = parser.parse_args()
    for variable in THREAD_VARIABLES:  # read once, when the libraries are loaded
        os.environ[variable] = "1"
    import torch

    torch.set_num_threads(1)
    parts = {"int8": run_int8, "detection": run_detection, "verified": run_verified}
    return parts.get(arguments.only, run)(arguments)


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


def run_int8(arguments: argparse.Namespace) -> int:
    from .int8._dies import model_path
    from .int8._record import record_name, write_int8_record
    from .int8._run import run_sets
    from .int8._sets import read_sets

    try:
        sets = read_sets(quick=arguments.quick, only=arguments.case)
    except ValueError as error:
        say(str(error))
        return 2
    model_of = model_path(RESULTS / "int8", arguments.models)
    folder = ROOT / "benchmarks" / "records" if arguments.record else RESULTS
    name = record_name() if arguments.record else "int8-latest"
    results: list[SetResult] = []
    for result in run_sets(sets, model_of, ROOT.parent / "shared" / "data", say):
        results.append(result)
        written = write_int8_record(results, folder, name)  # a run that is ended leaves what it has
        say(f"written: {written}")
    if not results:
        return 2
    print(written.read_text(encoding="utf-8"))
    failures = [f"{result.name}: {failure}" for result in results for failure in result.failures]
    for failure in failures:
        say(f"WRONG ANSWER {failure}")
    return 1 if failures else 0


def run_detection(arguments: argparse.Namespace) -> int:
    """Detection beside other screens: it trains models, so it runs only when asked for."""
    from .detection._cases import read_detection_cases
    from .detection._record import write_detection
    from .detection._run import run_detection_case

    try:
        cases = read_detection_cases(quick=arguments.quick, only=arguments.case)
    except ValueError as error:
        say(str(error))
        return 2
    results = [run_detection_case(case, RESULTS, say) for case in cases]
    if arguments.record:
        written = write_detection(results, ROOT / "benchmarks" / "records")
    else:
        written = write_detection(results, RESULTS, "latest")
    print(written.read_text(encoding="utf-8"))
    say(f"written: {written}")
    failures = [f"{r.case.name}: {failure}" for r in results for failure in r.failures]
    for failure in failures:
        say(f"NOT MET {failure}")
    return 1 if failures else 0


def run_verified(arguments: argparse.Namespace) -> int:
    """A million fresh dies a case take minutes, so it runs only when asked for."""
    from .verified._cases import read_verified_cases
    from .verified._models import model_path
    from .verified._page import record_name, write_verified_record
    from .verified._run import run_verified_case

    try:
        cases = read_verified_cases(quick=arguments.quick, only=arguments.case)
    except ValueError as error:
        say(str(error))
        return 2
    paths = [model_path(case, RESULTS / "verified", arguments.models) for case in cases]
    results = [run_verified_case(c, path, say) for c, path in zip(cases, paths, strict=True)]
    folder = ROOT / "benchmarks" / "records" if arguments.record else RESULTS
    name = record_name() if arguments.record else "verified-latest"
    written = write_verified_record(results, folder, name)
    print(written.read_text(encoding="utf-8"))
    say(f"written: {written}")
    failures = [
        f"{result.case.name}: {failure}" for result in results for failure in result.failures
    ]
    for failure in failures:
        say(f"VERDICTS DIFFER {failure}")
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
