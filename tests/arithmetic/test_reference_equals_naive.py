"""The reference engine and the naive implementation give the same bits.

A run over any number of dies: ``python tests/arithmetic/compare.py 100000``.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from sealed_networks import Case, cases
from side_by_side import TO_BE_SEEN, compare


def test_every_bit_is_the_same():
    seen: Counter[str] = Counter()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def every_bit(case: Case) -> None:
        compare(case, seen)

    every_bit()
    assert [what for what in TO_BE_SEEN if not seen[what]] == []
