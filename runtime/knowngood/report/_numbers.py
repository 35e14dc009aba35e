"""How the report writes numbers: as many digits as mean something, units with their prefix."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

PREFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
PREFIXED_UNITS = {"A", "V", "W", "F", "H", "S", "s", "Hz", "Ohm", "Ω", "a", "v", "hz", "ohm"}
"""Bare units that take an SI prefix, as testers write them; others are shown as they are."""
ABSENT = "–"
NBSP = "\N{NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float) -> str:
    """A share as per cent with three significant digits, two below one per cent."""
    if not math.isfinite(share):
        return ABSENT
    value = 100.0 * share
    if value == 0 or value >= 99.95:
        return f"{value:.0f}{NBSP}%"
    decimals = (1 if value >= 10 else 2) if value >= 1 else 1 - math.floor(math.log10(value))
    text = f"{value:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{NBSP}%"


def relative_error(error: float) -> str:
    """A relative error as per cent, as a power of ten where it is rounding of float32."""
    return percent(error) if error == 0 or error >= 1e-5 else significant(error, 2)


def count(n: int) -> str:
    """A count with commas between thousands."""
    return f"{n:,}"


def significant(value: float, digits: int = 4) -> str:
    """A number with ``digits`` significant digits, powers of ten written out."""
    if not math.isfinite(value):
        return ABSENT
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    power = f"×10{str(int(exponent)).translate(_SUPERSCRIPT)}" if exponent else ""
    return (mantissa + power).replace("-", "−")


def score(value: float) -> str:
    """A score with four significant digits, zeros at the end kept so that columns line up."""
    return _plain(value, 4)


def signed(value: float) -> str:
    """A signed deviation in sigma with one decimal, none from 100 on: ``+6.1``."""
    if not math.isfinite(value):
        return ABSENT
    return f"{value:+.{0 if abs(value) >= 100 else 1}f}".replace("-", "−")


def sentence(text: str) -> str:
    """A remark as a sentence: a capital first, a full stop last."""
    stripped = text.strip()
    closing = "" if not stripped or stripped[-1] in ".!?" else "."
    return stripped[:1].upper() + stripped[1:] + closing


def when(timestamp: str) -> str:
    """An ISO 8601 time in UTC as people write it; other times are left as they are."""
    return re.sub(r"^(\S+)T(\S+?)(?:\+00:00|Z)$", r"\1 \2 UTC", timestamp)


@dataclass(frozen=True)
class Readings:
    """The numbers of one test as text in one common unit."""

    value: str
    expected: str
    low: str
    high: str
    units: str


def readings(
    value: float,
    expected: float,
    low: float | None,
    high: float | None,
    units: str,
    sigma: float = math.nan,
) -> Readings:
    """A test's numbers in one unit, with digits enough to see a tenth of ``sigma``.

    Bare SI units take the prefix of the larger of value and expected value.
    """
    largest = max((abs(v) for v in (value, expected) if math.isfinite(v)), default=0.0)
    exponent = unit_exponent(largest, units)
    scale = 10.0**-exponent
    digits = _digits(largest, sigma)

    def limit(number: float | None) -> str:
        return ABSENT if number is None else significant(number * scale, 6)

    return Readings(
        value=_plain(value * scale, digits),
        expected=_plain(expected * scale, digits),
        low=limit(low),
        high=limit(high),
        units=PREFIXES[exponent] + units,
    )


def unit_exponent(magnitude: float, units: str) -> int:
    """The power of ten, a multiple of 3, whose prefix suits ``magnitude``; 0 for other units."""
    if units not in PREFIXED_UNITS or magnitude == 0 or not math.isfinite(magnitude):
        return 0
    exponent = 3 * math.floor(math.log10(magnitude) / 3)
    return min(max(exponent, min(PREFIXES)), max(PREFIXES))


def _digits(magnitude: float, sigma: float) -> int:
    """Significant digits that reach a tenth of sigma; float32 holds nine at most."""
    if not math.isfinite(sigma) or sigma <= 0 or magnitude == 0:
        return 4
    return min(max(math.floor(math.log10(magnitude)) - math.floor(math.log10(sigma)) + 2, 3), 9)


def _plain(value: float, digits: int) -> str:
    """Positional notation where it is short, powers of ten elsewhere; digits kept as asked."""
    if value == 0 or not math.isfinite(value) or not 1e-3 <= abs(value) < 1e7:
        return significant(value, digits)
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{decimals}f}".replace("-", "−")
