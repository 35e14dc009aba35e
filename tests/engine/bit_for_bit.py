"""Random networks and dies, scored by every path of the engine and by the reference.

    python tests/engine/bit_for_bit.py LIBRARY... --small 4000 --wide 250 --whole 100000

compares every bit that the libraries hand out, and prints how many comparisons were made of what on
which path, how many differ, and what the dies met. ``LIBRARY``: builds of libknowngood for this
processor.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "arithmetic"))
sys.path.append(str(Path(__file__).parents[1]))

from comparison import Comparison, Plan, Tally
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from kinds_of_cases import corner_cases, ordinary_cases, small_cases, whole_cases, wide_cases
from sealed_networks import Case

from engine import load

SMALL_PLAN = Plan((1, 3, 4, 7), (1, 3, 4, 7), most=70, reconstructed=(1, 6))
WIDE_PLAN = Plan((1, 2, 5), (1, 4), most=40, reconstructed=(3,))
WHOLE_PLAN = Plan(
    (1, 3, 4, 7, 16, 64), (3,), most=100, reconstructed=(5,), every=10, shared_out=True
)
ROUND = {"ordinary": 50, "small": 500, "wide": 50, "whole": 10_000}
"""Networks, and dies of whole ones, between two lines of progress."""


def for_each(
    strategy: st.SearchStrategy[Case], n_cases: int, judge: Callable[[Case], None], first_seed: int
) -> None:
    """Call ``judge`` with so many cases, the same ones for the same seed."""
    if not n_cases:
        return

    @seed(first_seed)
    @settings(
        max_examples=n_cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def every_case(case: Case) -> None:
        judge(case)

    every_case()


def run(
    libs: Sequence[ctypes.CDLL],
    *,
    n_ordinary: int,
    n_small: int,
    n_wide: int,
    n_whole: int,
    first_seed: int = 0,
    with_corners: bool = True,
) -> Tally:
    """Compare every bit of the corners, of so many networks, and of so many dies of whole ones."""
    comparison = Comparison(libs)
    for case in corner_cases() if with_corners else ():
        comparison.compare("corner", case, SMALL_PLAN)
    for case in ordinary_cases(n_ordinary, first_seed):
        comparison.compare("ordinary", case, SMALL_PLAN)
    judge = partial(comparison.compare, "small", plan=SMALL_PLAN)
    for_each(small_cases(), n_small, judge, first_seed)
    judge = partial(comparison.compare, "wide", plan=WIDE_PLAN)
    for_each(wide_cases(), n_wide, judge, first_seed)
    for case in whole_cases(n_whole, first_seed):
        comparison.compare("whole", case, WHOLE_PLAN)
    return comparison.tally


def main() -> int:
    """Round by round, until all are done; 1 if a bit differs."""
    asked = _asked()
    libs = [load(library.resolve()) for library in asked.libraries]
    total, started, first_seed = Tally(), time.monotonic(), asked.seed
    left = {kind: getattr(asked, kind) for kind in ROUND}
    while any(left.values()):
        now = {kind: min(n, ROUND[kind]) for kind, n in left.items()}
        left = {kind: n - now[kind] for kind, n in left.items()}
        sizes = {f"n_{kind}": n for kind, n in now.items()}
        is_first = first_seed == asked.seed
        total.add(run(libs, **sizes, first_seed=first_seed, with_corners=is_first))
        first_seed += 1000
        sys.stderr.write(
            f"{time.monotonic() - started:.0f} s, {total.n_compared:,} comparisons, "
            f"{total.n_differing:,} differ {total.examples[:5]}\n"
        )
    met = ", ".join(f"{what} {n:,}" for what, n in sorted(total.seen.items()))
    sys.stdout.write(f"{total.table()}\nmet: {met}\n")
    return 1 if total.n_differing else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path, nargs="+", help="builds of libknowngood")
    parser.add_argument("--ordinary", type=int, default=0, help="networks of 8 to 2,000 tests")
    parser.add_argument("--small", type=int, default=0, help="networks of 1 to 70 tests")
    parser.add_argument("--wide", type=int, default=0, help="networks of 1 to 2,000 tests")
    parser.add_argument("--whole", type=int, default=0, help="dies of the reference model's size")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
