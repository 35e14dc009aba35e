from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood.report import _numbers as numbers


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.005, "0.5 %"),
        (0.00052, "0.052 %"),
        (0.01987, "1.99 %"),
        (0.123456, "12.3 %"),
        (1.0, "100 %"),
        (math.nan, "–"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert numbers.percent(share) == text.replace(" ", "\xa0")


@given(st.floats(1e-9, 1))
def test_percent_keeps_two_significant_digits(share: float) -> None:
    back = float(numbers.percent(share).rstrip("%").strip()) / 100
    assert back == pytest.approx(share, rel=0.051)


def test_relative_errors_of_rounding_are_powers_of_ten() -> None:
    assert numbers.relative_error(3e-8) == "3×10⁻⁸"
    assert numbers.relative_error(0.0121) == "1.21\xa0%"


def test_signed() -> None:
    assert [numbers.signed(z) for z in (6.12, -4.04, 153.7)] == ["+6.1", "−4.0", "+154"]


def test_readings_share_one_prefixed_unit() -> None:
    shown = numbers.readings(6.48e-9, 6.24e-9, None, 9.6e-9, "A", sigma=3e-10)
    assert shown == numbers.Readings("6.48", "6.24", "–", "9.6", "nA")


def test_readings_resolve_a_tenth_of_sigma_where_the_centre_is_large() -> None:
    # centre / sigma = 10⁶, as real frequency tests have it
    shown = numbers.readings(1000003.4, 1000000.1, 9.9e5, 1.01e6, "counts", sigma=1.0)
    assert (shown.value, shown.expected) == ("1000003.4", "1000000.1")


def test_units_that_carry_a_prefix_are_left_alone() -> None:
    shown = numbers.readings(0.0042, 0.0041, None, None, "mA", sigma=1e-4)
    assert (shown.value, shown.units) == ("0.00420", "mA")


@given(
    st.floats(-1e9, 1e9).filter(lambda v: abs(v) > 1e-15),
    st.sampled_from(["V", "A", "Hz", "mV", "", "LSB"]),
)
def test_readings_say_the_value_that_was_measured(value: float, units: str) -> None:
    shown = numbers.readings(value, value, None, None, units, sigma=abs(value) / 1000)
    prefix = shown.units[: len(shown.units) - len(units)]
    scale = {p: 10.0**e for e, p in numbers.PREFIXES.items()}[prefix]
    plain = shown.value.replace("−", "-")
    if "×10" in plain:
        digits, power = plain.split("×10")
        exponent = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
        plain = f"{digits}e{exponent}"
    assert float(plain) * scale == pytest.approx(value, rel=1e-4)
