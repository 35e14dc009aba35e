"""binary32 in integers: every operation exact first, then rounded once, ties to even.

A float32 is held as the Python float of the same value. Every finite one is a whole number of
2⁻¹⁴⁹, so sums and products are integers, and `nearest` is the only place that rounds.
Signs of exact zeros, infinities and NaN need no rounding: there Python's floats say what IEEE 754
says.
"""

from __future__ import annotations

import math
import struct

PRECISION = 24
ULP = 149
"""The smallest subnormal number is 2**-ULP."""
LARGEST_EXPONENT = 128
"""Magnitudes from 2**128 on are infinite."""
_QUOTIENT_BITS = 512
"""Fraction bits of a quotient; 150 settle any float32, the last one says that more follow."""


def nearest(numerator: int, scale: int) -> float:
    """The float32 nearest to numerator / 2**scale, for a numerator that is not 0."""
    magnitude = abs(numerator)
    dropped = max(magnitude.bit_length() - PRECISION, scale - ULP, 0)
    kept = magnitude >> dropped
    rest_twice, one = 2 * (magnitude - (kept << dropped)), 1 << dropped
    if rest_twice > one or (rest_twice == one and kept % 2):
        kept += 1
    exponent = dropped - scale
    if kept.bit_length() + exponent > LARGEST_EXPONENT:
        return math.copysign(math.inf, numerator)
    return math.copysign(math.ldexp(kept, exponent), numerator)


def from_double(x: float) -> float:
    """The float32 nearest to a double."""
    if x == 0 or not math.isfinite(x):
        return x
    numerator, denominator = x.as_integer_ratio()  # the denominator is a power of two
    return nearest(numerator, denominator.bit_length() - 1)


def from_integer(n: int) -> float:
    """The float32 nearest to an integer."""
    return nearest(n, 0) if n else 0.0


def add(a: float, b: float) -> float:
    """fl(a + b)."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a + b
    total = _units(a) + _units(b)
    return nearest(total, ULP) if total else a + b


def subtract(a: float, b: float) -> float:
    """fl(a − b)."""
    return add(a, -b)


def multiply(a: float, b: float) -> float:
    """fl(a · b)."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a * b
    product = _units(a) * _units(b)
    return nearest(product, 2 * ULP) if product else a * b


def divide(a: float, b: float) -> float:
    """fl(a / b) for a b that is not 0."""
    if a == 0 or not (math.isfinite(a) and math.isfinite(b)):
        return a / b
    numerator, denominator = abs(_units(a)), abs(_units(b))
    quotient, remainder = divmod(numerator << _QUOTIENT_BITS, denominator)
    sticky = 2 * quotient + (remainder != 0)
    negative = math.copysign(1, a) != math.copysign(1, b)
    return nearest(-sticky if negative else sticky, _QUOTIENT_BITS + 1)


def fma(a: float, b: float, c: float) -> float:
    """The float32 nearest to a · b + c, rounded once."""
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return a * b + c
    total = _units(a) * _units(b) + (_units(c) << ULP)
    return nearest(total, 2 * ULP) if total else a * b + c


def bits(x: float) -> int:
    """The 32 bits of a float32; every NaN counts as 0x7FC00000."""
    return 0x7FC00000 if math.isnan(x) else int.from_bytes(struct.pack(">f", x), "big")


def from_bits(pattern: int) -> float:
    """The float32 with these 32 bits."""
    value: float = struct.unpack(">f", pattern.to_bytes(4, "big"))[0]
    return value


def _units(x: float) -> int:
    """x in units of 2**-ULP: exact, since a double holds any float32 times 2**149."""
    return int(x * 2.0**ULP)
