"""``python -m benchmarks``: time and judge every engine and precision; see README.md."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> int:
    """Run the plan; 1 if an answer is wrong, 2 if the command is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small case only, in a minute")
    parser.add_argument("--case", help="run one case by its name")
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
    from ._run import run_case

    try:
        cases = read_cases(quick=arguments.quick, only=arguments.case)
    except ValueError as error:
        say(str(error))
        return 2
    results = [run_case(case, ROOT / "out" / "bench", say) for case in cases]
    if arguments.record:
        written = write_record(results, ROOT / "benchmarks" / "records")
    else:
        written = write_record(results, ROOT / "out" / "bench", "latest")
    print(written.read_text(encoding="utf-8"))
    say(f"written: {written}")
    failures = [f"{r.case.name}: {failure}" for r in results for failure in r.failures]
    for failure in failures:
        say(f"WRONG ANSWER {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
