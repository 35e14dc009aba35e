"""Compare the reference engine with the naive implementation over many dies, bit by bit.

    python tests/arithmetic/compare.py 100000

prints how many dies of how many networks were compared and what befell them; a bit that differs
ends it with the smallest network that shows it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from sealed_networks import Case, cases
from side_by_side import TO_BE_SEEN, compare

N_DIES = 24
"""Dies of each network."""
_REPORT_S = 30


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dies", type=int, help="how many dies at least")
    seen = compare_dies(parser.parse_args().dies)
    for what, count in sorted(seen.items()):
        sys.stdout.write(f"{count:>12,}  {what}\n")
    absent = [what for what in TO_BE_SEEN if not seen[what]]
    sys.exit(f"never seen: {', '.join(absent)}" if absent else 0)


def compare_dies(n_dies: int) -> Counter[str]:
    """What was seen while at least ``n_dies`` were compared.

    Raises:
        AssertionError: a bit differs.
    """
    seen: Counter[str] = Counter()
    reported = time.monotonic()
    while seen["dies"] < n_dies:
        missing = (n_dies - seen["dies"] + N_DIES - 1) // N_DIES
        compare_networks(min(missing, 500), seen)
        if time.monotonic() - reported > _REPORT_S:
            reported = time.monotonic()
            sys.stderr.write(f"{seen['dies']:,} dies, 0 differing bits\n")
    return seen


def compare_networks(n_networks: int, seen: Counter[str]) -> None:
    """Compare the dies of ``n_networks`` networks that hypothesis makes."""

    @settings(
        max_examples=n_networks,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(N_DIES))
    def every_bit(case: Case) -> None:
        seen["networks"] += 1
        compare(case, seen)

    every_bit()


if __name__ == "__main__":
    main()
