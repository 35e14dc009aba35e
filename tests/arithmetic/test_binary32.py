"""The arithmetic of the naive implementation against NumPy, fractions and the C library."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from fractions import Fraction

import binary32
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rationals import rounded

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = 2.0**-149
FLOATS = st.floats(width=32)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def bits(x: np.float32) -> int:
    return 0x7FC00000 if np.isnan(x) else int(np.float32(x).view(np.uint32))


@given(FLOATS, FLOATS)
def test_sums_and_products_are_those_of_the_processor(a: float, b: float):
    with np.errstate(all="ignore"):
        x, y = np.float32(a), np.float32(b)
        assert binary32.bits(binary32.add(a, b)) == bits(x + y)
        assert binary32.bits(binary32.subtract(a, b)) == bits(x - y)
        assert binary32.bits(binary32.multiply(a, b)) == bits(x * y)


@given(FLOATS, FLOATS.filter(lambda b: b != 0))
def test_quotients_are_those_of_the_processor(a: float, b: float):
    with np.errstate(all="ignore"):
        assert binary32.bits(binary32.divide(a, b)) == bits(np.float32(a) / np.float32(b))


@given(st.floats())
def test_doubles_are_rounded_as_the_processor_does(x: float):
    with np.errstate(all="ignore"):
        assert binary32.bits(binary32.from_double(x)) == bits(np.float32(x))


@given(st.integers(-(2**31), 2**31 - 1))
def test_integers_are_rounded_as_the_processor_does(n: int):
    assert binary32.bits(binary32.from_integer(n)) == bits(np.int32(n).astype(np.float32))


@given(FINITE, FINITE, FINITE)
def test_fma_is_the_nearest_to_the_rational_result(a: float, b: float, c: float):
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact:
        assert binary32.fma(a, b, c) == rounded(exact)


@pytest.fixture(scope="module")
def fmaf():
    library = ctypes.util.find_library("m")
    if library is None:
        pytest.skip("there is no C library to ask for fmaf")
    function = ctypes.CDLL(library).fmaf
    function.argtypes = [ctypes.c_float] * 3
    function.restype = ctypes.c_float
    return function


@given(FLOATS, FLOATS, FLOATS)
def test_fma_is_that_of_the_c_library(fmaf, a: float, b: float, c: float):
    assert binary32.bits(binary32.fma(a, b, c)) == bits(np.float32(fmaf(a, b, c)))


ONE_MORE = 1 + 2.0**-23


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (1 + 2.0**-12, 1 + 2.0**-12, -1.0, 2.0**-11 + 2.0**-24),  # 2⁻²⁴ lost if rounded twice
        (1.0, 1.0, 2.0**-24, 1.0),  # tie: to even
        (1.0, ONE_MORE, 2.0**-24, 1 + 2.0**-22),  # tie: to even, upwards
        (2.0**-75, 2.0**-75, 1 + 2.0**-23, 1 + 2.0**-23),
        (ONE_MORE, 2.0**-24, 1.0, ONE_MORE),  # just above a tie
        (1 - 2.0**-24, 2.0**-24, 1.0, 1.0),  # just below one
        (2.0**-75, 2.0**-75, 0.0, 0.0),  # half of the smallest: a tie, to even
        (2.0**-75, 2.0**-75, SMALLEST, 2 * SMALLEST),
        (-(2.0**-75), 2.0**-76, 0.0, -0.0),  # a zero that was rounded keeps its sign
        (1.0, 1.0, -1.0, 0.0),  # an exact zero is +0
        (-1.0, 0.0, -0.0, -0.0),  # unless both terms are −0
        (LARGEST, 1.0, 2.0**102, LARGEST),
        (LARGEST, 1.0, 2.0**103, math.inf),  # a tie with 2¹²⁸
        (math.inf, 1.0, -math.inf, math.nan),
        (math.inf, 0.0, 1.0, math.nan),
    ],
)
def test_fma_at_the_edges(a: float, b: float, c: float, expected: float):
    assert binary32.bits(binary32.fma(a, b, c)) == binary32.bits(expected)


@given(st.integers(0, 2**32 - 1))
def test_bits_come_back(pattern: int):
    x = binary32.from_bits(pattern)
    assert binary32.bits(x) == (0x7FC00000 if math.isnan(x) else pattern)
