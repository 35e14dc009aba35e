"""Rounding a rational number to float32, told from its neighbours: the oracle of the vectors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

_LARGEST = Fraction(float(np.finfo(np.float32).max))
_TOO_LARGE = Fraction(2) ** 128 - Fraction(2) ** 103


def rounded(exact: Fraction | int) -> float:
    """The float32 nearest to ``exact``; of two equally near the one whose last bit is 0."""
    exact = Fraction(exact)
    if abs(exact) >= _TOO_LARGE:
        return float("inf") if exact > 0 else float("-inf")
    near = np.float32(float(max(-_LARGEST, min(_LARGEST, exact))))
    infinite = np.float32(np.inf)
    with np.errstate(over="ignore"):  # beyond the largest comes infinity, which is left out
        around = [near, np.nextafter(near, -infinite), np.nextafter(near, infinite)]
    finite = [f for f in around if np.isfinite(f)]
    nearest = min(finite, key=lambda f: (abs(Fraction(float(f)) - exact), f.view(np.uint32) & 1))
    return float(nearest)


def rounded_to_double(exact: Fraction) -> Fraction:
    """The float64 nearest to ``exact``, as Python divides integers."""
    return Fraction(exact.numerator / exact.denominator)
