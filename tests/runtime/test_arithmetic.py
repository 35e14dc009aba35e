"""The rules of docs/arithmetic.md against exact fractions, libm, and Python's own doubles."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._arithmetic import (
    Int8Input,
    activate,
    dense,
    dense_int8,
    exp,
    expm1,
    fma,
    fma_chain,
    quantize_input,
    standardise,
    sum_of_tests,
    with_nan,
)
from knowngood._network import POOLED_GROUP, Activation, Dense, QuantizedDense, Scaler

F32 = np.float32
MAX = float(np.finfo(F32).max)
ANY_BITS = st.integers(0, 2**32 - 1)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
NOTABLE = [
    0.0, -0.0, 1.0, -1.0, 1.5, 2.0**-149, -(2.0**-149), 2.0**-126, 2.0**-127, 2.0**-75, 2.0**-74,
    MAX, -MAX, 2.0**64, 2.0**127, 1 + 2.0**-23, 1 - 2.0**-24, math.inf, -math.inf, math.nan,
]  # fmt: skip


def floats(bits) -> np.ndarray:
    return np.array(bits, dtype=np.uint32).view(F32)


def bits(x) -> list[int]:
    """Bit patterns, every NaN alike."""
    x = np.atleast_1d(np.asarray(x, dtype=F32))
    return np.where(np.isnan(x), 0x7FC00000, x.view(np.uint32)).tolist()


def nearest(exact: Fraction) -> float:
    """The float32 nearest to ``exact``, ties to even, for an ``exact`` that is not 0."""
    magnitude = abs(exact)
    exponent = math.floor(math.log2(magnitude)) if magnitude > Fraction(1, 2**900) else -900
    exponent += (Fraction(2) ** (exponent + 1) <= magnitude) - (Fraction(2) ** exponent > magnitude)
    ulp = Fraction(2) ** max(exponent - 23, -149)
    rounded = round(magnitude / ulp) * ulp  # Fraction rounds ties to even
    return math.copysign(math.inf if rounded >= 2**128 else float(rounded), exact)


def exact_fma(a, b, c) -> float:
    """By fractions; where the sum is an exact zero or not finite, Python's doubles say it."""
    a, b, c = float(a), float(b), float(c)
    if not all(map(math.isfinite, (a, b, c))):
        return a * b + c
    total = Fraction(a) * Fraction(b) + Fraction(c)
    return nearest(total) if total else a * b + c


@functools.cache
def libm_fmaf():
    name = ctypes.util.find_library("m")
    if name is None:
        pytest.skip("this system has no libm to compare with")
    function = ctypes.CDLL(name).fmaf
    function.argtypes, function.restype = [ctypes.c_float] * 3, ctypes.c_float
    return function


def beside_midpoints(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c plus half an ulp of c, give or take less than float64 can hold."""
    rng = np.random.default_rng(seed)
    c = np.ldexp(F32(1) + rng.integers(0, 2**23, n).astype(F32) * F32(2.0**-23), 0).astype(F32)
    i, j = rng.integers(0, 4, n), rng.integers(0, 4, n)
    a = ((1 + i * 2.0**-23) * 2.0**-12).astype(F32)
    b = ((1 - j * 2.0**-23) * 2.0**-12).astype(F32)
    scale = np.ldexp(1.0, rng.integers(-60, 60, n))
    sign = rng.choice([-1, 1], n)
    return (a * scale * sign).astype(F32), b, (c * scale * rng.choice([-1, 1], n)).astype(F32)


def beside_subnormal_midpoints(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Subnormal c plus half of the smallest number, give or take a hair or two."""
    rng = np.random.default_rng(seed)
    edges = np.array([0x7FFFFF, 0x800000, 0x800001], np.uint32)
    c = np.concatenate([rng.integers(0, 2**23, n - 300, dtype=np.uint32), np.repeat(edges, 100)])
    i = rng.choice([0, 1, 2, 3, 300, 362, 400, 450, 500], n)
    j = np.where(rng.random(n) < 0.8, i, rng.integers(0, 3, n))
    a, b = ((2.0**-75 * (1 + k * 2.0**-23)).astype(F32) for k in (i, -j))
    sign_a, sign_c = rng.choice(np.array([-1, 1], F32), (2, n))
    return a * sign_a, b, floats(c) * sign_c


def twice_rounded(a, b, c) -> np.ndarray:
    return (a.astype(np.float64) * b + c).astype(F32)


@pytest.mark.parametrize("make", [beside_midpoints, beside_subnormal_midpoints])
def test_fma_where_rounding_twice_goes_wrong(make):
    a, b, c = make(4000, seed=3)
    expected = [exact_fma(*abc) for abc in zip(a, b, c, strict=True)]
    assert bits(fma(a, b, c)) == bits(expected)
    assert (twice_rounded(a, b, c) != np.array(expected, F32)).sum() > 100  # or this shows nothing


def test_fma_of_all_notable_numbers():
    a, b, c = (x.ravel() for x in np.meshgrid(*[np.array(NOTABLE, F32)] * 3))
    expected = [exact_fma(*abc) for abc in zip(a, b, c, strict=True)]
    assert bits(fma(a, b, c)) == bits(expected)
    fmaf = libm_fmaf()
    assert bits(expected) == bits([fmaf(*map(float, abc)) for abc in zip(a, b, c, strict=True)])


@given(st.lists(st.tuples(ANY_BITS, ANY_BITS, ANY_BITS), min_size=1, max_size=30))
def test_fma_of_any_bits(triples):
    a, b, c = floats(triples).T
    assert bits(fma(a, b, c)) == bits([exact_fma(*abc) for abc in zip(a, b, c, strict=True)])


@given(FINITE, FINITE, FINITE, st.integers(-2, 2))
def test_fma_near_cancellation(a, b, c, steps):
    with np.errstate(all="ignore"):
        c = F32(-a) * F32(b) + F32(steps) * np.spacing(F32(c))
    if np.isfinite(c):
        assert bits(fma(F32(a), F32(b), c)) == bits(exact_fma(a, b, c))


@pytest.mark.parametrize("n_dies", [1, 5, 40])
@pytest.mark.parametrize("kind", ["ordinary", "midpoints", "subnormal", "anything"])
def test_chain_is_libms_fma_in_a_loop(n_dies, kind):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n_dies, 23)).astype(F32)
    weight, start = rng.normal(size=(17, 23)).astype(F32), rng.normal(size=17).astype(F32)
    if kind == "midpoints":  # 2⁻²⁴ and a hair each, onto numbers from 1 to 2
        x = ((1 + rng.integers(-3, 4, x.shape) * 2.0**-23) * 2.0**-12).astype(F32)
        weight = ((1 + rng.integers(-3, 4, weight.shape) * 2.0**-23) * 2.0**-12).astype(F32)
        start = (1 + rng.integers(0, 2**23, 17) * 2.0**-23).astype(F32)
    elif kind == "subnormal":
        a, b, start = beside_subnormal_midpoints(23 * 57, seed=6)
        x, weight, start = a[: n_dies * 23], b[: 17 * 23], start[:17]
        x, weight = x.reshape(n_dies, 23), weight.reshape(17, 23)
    elif kind == "anything":
        x, weight = _any_bits(rng, n_dies, 23), _any_bits(rng, 17, 23)
    found = fma_chain(x, weight, start)
    for die in range(n_dies):
        assert bits(found[die]) == bits(
            [chain(x[die], w, b) for w, b in zip(weight, start, strict=True)]
        )


def chain(x: np.ndarray, weight: np.ndarray, start: float) -> float:
    fmaf, accumulator = libm_fmaf(), float(start)
    for a, b in zip(x.tolist(), weight.tolist(), strict=True):
        accumulator = fmaf(a, b, accumulator)
    return accumulator


def _any_bits(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return floats(rng.integers(0, 2**32, shape, dtype=np.uint32))


def test_a_nan_in_the_batch_changes_no_other_die():
    a, b, c = beside_subnormal_midpoints(2000, seed=8)
    wrong = np.flatnonzero(twice_rounded(a, b, c) != fma(a, b, c))[0]
    x, weight, start = np.array([[a[wrong]], [math.nan]], F32), b[[wrong], None], c[[wrong]]
    assert bits(fma_chain(x, weight, start)[0]) == bits(fma_chain(x[:1], weight, start)[0])
    assert bits(fma_chain(x, weight, start)[0]) == bits(exact_fma(a[wrong], b[wrong], c[wrong]))


def test_chain_of_no_dies_and_over_blocks():
    weight, start = np.eye(3, dtype=F32), np.arange(3, dtype=F32)
    assert fma_chain(np.empty((0, 3), F32), weight, start).shape == (0, 3)
    x = np.arange(3 * 20_000, dtype=F32).reshape(-1, 3)  # more dies than one block takes
    np.testing.assert_array_equal(fma_chain(x, weight, start), x + start)


def ulps(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of the exact value as a float32."""
    spacing = np.spacing(np.maximum(np.abs(exact), 2.0**-126).astype(F32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - exact) / spacing


def _spread(low: float, high: float) -> np.ndarray:
    """Arguments from −high to −low: evenly spaced, evenly spaced in the exponent, and the ends."""
    even = np.linspace(-high, -low, 100_003)
    return np.concatenate([even, -np.geomspace(max(low, 1e-38), high, 100_003)]).astype(F32)


@pytest.mark.parametrize(
    ("function", "oracle", "limit"),
    [(exp, np.exp, 1.05), (expm1, np.expm1, 1.0)],
)
def test_exponentials_are_within_an_ulp(function, oracle, limit):
    x = _spread(0, 87)
    error = ulps(function(x), oracle(x.astype(np.float64)))
    assert error.max() <= limit


def test_exponentials_level_off_below_minus_87():
    x = np.array([-87.5, -104, -1e9, -math.inf], F32)
    assert bits(exp(x)) == bits(exp(np.full(4, -87, F32)))
    assert bits(expm1(x)) == bits([-1.0] * 4)
    assert exp(F32(-87)) == pytest.approx(math.exp(-87), rel=1e-7)


@pytest.mark.parametrize(
    ("kind", "oracle", "limit"),
    [
        ("tanh", np.tanh, 2.5),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), 2.5),
        ("elu", lambda x: np.where(x < 0, 0.75 * np.expm1(x), x), 1.5),
    ],
)
def test_activations_are_within_a_few_ulps(kind, oracle, limit):
    x = _spread(0, 60)
    x = np.concatenate([x, -x])
    y = activate(Activation(kind, 0.75 if kind == "elu" else 0.0), x)
    assert ulps(y, oracle(x.astype(np.float64))).max() <= limit


def test_activations_at_zero_infinity_and_nan():
    x = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, -2.0, 3.0], F32)
    expected = {
        "linear": x,
        "relu": [0.0, -0.0, math.inf, 0.0, math.nan, 0.0, 3.0],
        "leaky_relu": [0.0, -0.0, math.inf, -math.inf, math.nan, -0.5, 3.0],
    }
    for kind, y in expected.items():
        assert bits(activate(Activation(kind, 0.25), x)) == bits(y), kind
    ends = {"sigmoid": (1.0, math.exp(-87)), "tanh": (1.0, -1.0), "elu": (math.inf, -0.25)}
    for kind, (top, bottom) in ends.items():
        y = activate(Activation(kind, 0.25 if kind == "elu" else 0.0), x)
        assert (y[2], y[3]) == (top, pytest.approx(bottom, rel=1e-6)), kind
        assert np.isnan(y).tolist() == [False] * 4 + [True] + [False] * 2, kind


@given(st.lists(FINITE, min_size=1, max_size=70), st.sampled_from([F32, np.float64]))
def test_sum_of_tests_is_sixteen_lanes_and_a_tree(numbers, dtype):
    t = np.array([numbers], F32).astype(dtype)
    lanes = [dtype(0)] * 16
    with np.errstate(over="ignore", invalid="ignore"):
        for j, number in enumerate(t[0]):
            lanes[j % 16] = lanes[j % 16] + number
        for half in (8, 4, 2, 1):
            lanes = [lanes[i] + lanes[i + half] for i in range(half)]
        total = sum_of_tests(t)
    assert total.dtype == dtype
    np.testing.assert_array_equal(total, lanes)
    assert not np.signbit(total[total == 0]).any()


@given(st.lists(st.integers(-(2**18), 2**18), min_size=1, max_size=40))
def test_sums_of_small_integers_are_exact(numbers):
    assert sum_of_tests(np.array([numbers, numbers], F32)).tolist() == [sum(numbers)] * 2


@given(st.lists(st.lists(FINITE, min_size=3, max_size=3), max_size=5), st.booleans())
def test_int8_inputs_by_exact_fractions(dies, is_positive):
    x = np.array(dies, F32).reshape(-1, 3)
    x = np.abs(x) if is_positive else x
    made = quantize_input(x, is_positive=is_positive)
    levels = 255 if is_positive else 127
    for die, q, scale, magnitude in zip(x, made.q, made.scale, made.magnitude, strict=True):
        largest = max(abs(float(v)) for v in die)
        assert magnitude == largest
        if largest < 2.0**-100:
            assert scale == 0
            assert not q.any()
            continue
        assert scale == nearest(Fraction(largest) / levels)
        inverse = Fraction(nearest(Fraction(levels) / Fraction(largest)))
        exact = [round(Fraction(nearest(Fraction(float(v)) * inverse))) if v else 0 for v in die]
        assert q.tolist() == exact
        assert np.abs(q).max() == levels


def test_int8_inputs_round_ties_to_even():
    x = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.0, -0.0]], F32)
    assert quantize_input(x, is_positive=False).q.tolist() == [[127, 0, 2, 2, 0, -2, -2, 0, 0]]


def test_int8_inputs_that_are_no_numbers_or_too_small():
    tiny = np.nextafter(F32(2.0**-100), F32(0))
    x = np.array([[1, math.inf], [math.nan, 2], [tiny, -tiny], [2.0**-100, 0]], F32)
    made = quantize_input(x, is_positive=False)
    assert np.isnan(made.magnitude).tolist() == [True, True, False, False]
    assert made.q.tolist() == [[0, 0]] * 3 + [[127, 0]]
    assert made.scale.tolist()[:3] == [0, 0, 0]


def test_the_widest_int8_layer_is_exact():
    n = 66_000
    layer = QuantizedDense(
        np.full((2, n), [[127], [-127]], np.int8), np.ones(2, F32), np.zeros(2, F32), Activation()
    )
    q = np.full((1, n), 255.0)
    q[0, 0] = 254.0
    y = dense_int8(layer, Int8Input(q, np.ones(1, F32), np.ones(1, F32)))
    exact = 127 * (255 * n - 1)
    assert exact < 2**31
    assert y.tolist() == [[nearest(Fraction(exact)), nearest(Fraction(-exact))]]


def test_int8_layer_by_exact_fractions():
    rng = np.random.default_rng(2)
    layer = QuantizedDense(
        rng.integers(-127, 128, (5, 9)).astype(np.int8),
        rng.uniform(0.001, 0.1, 5).astype(F32),
        rng.normal(size=5).astype(F32),
        Activation("leaky_relu", 0.25),
    )
    x = quantize_input(rng.normal(size=(7, 9)).astype(F32), is_positive=False)
    y = dense_int8(layer, x)
    for die in range(7):
        for out in range(5):
            acc = sum(int(q) * int(w) for q, w in zip(x.q[die], layer.weight[out], strict=True))
            scale = nearest(
                Fraction(float(x.scale[die])) * Fraction(float(layer.weight_scale[out]))
            )
            product = nearest(Fraction(acc) * Fraction(scale))
            expected = nearest(Fraction(product) + Fraction(float(layer.bias[out])))
            assert y[die, out] == (expected if expected >= 0 else expected / 4)


def test_int8_layer_of_a_zero_die_gives_the_bias_and_of_a_bad_one_nan():
    layer = QuantizedDense(
        np.full((2, 3), -5, np.int8), np.ones(2, F32), np.array([0.5, -0.0], F32), Activation()
    )
    x = np.array([[0, -0.0, 0], [1, math.inf, 0], [-1e-31, 1e-31, 0]], F32)
    y = dense_int8(layer, quantize_input(x, is_positive=False))
    assert bits(y[0]) == bits([0.5, 0.0])
    assert bits(y[2]) == bits([0.5, 0.0])
    assert np.isnan(y[1]).all()


def test_dense_applies_its_activation_to_the_chain():
    layer = Dense(np.array([[2, -3]], F32), np.array([1], F32), Activation("relu"))
    x = np.array([[1, 1], [2, 1]], F32)
    assert dense(layer, x).tolist() == [[0], [2]]


def scaler_of(centre, inv_scale) -> Scaler:
    centre = np.atleast_2d(np.array(centre, np.float64))
    inv_scale = np.atleast_2d(np.array(inv_scale, np.float64))
    groups = np.arange(POOLED_GROUP, POOLED_GROUP + len(centre), dtype=np.int32)
    return Scaler(groups, centre, inv_scale)


@given(FINITE, st.floats(-1e30, 1e30), st.floats(1e-30, 1e30))
def test_standardising_is_two_doubles_and_one_rounding(value, centre, inv_scale):
    dies = standardise(scaler_of([centre], [inv_scale]), np.array([[value]], F32), None)
    u = (value - centre) * inv_scale  # Python's floats are doubles
    rounded = nearest(Fraction(u)) if u else u
    assert dies.evaluable.tolist() == [abs(rounded) <= 2**30]
    if dies.evaluable[0]:
        assert bits(dies.u[0]) == bits([rounded])


def test_range_ends_at_exactly_two_to_the_thirty():
    edge = F32(2.0**30)
    values = np.array([[edge], [-edge], [np.nextafter(edge, F32(math.inf))], [math.inf]], F32)
    dies = standardise(scaler_of([0.0], [1.0]), values, None)
    assert dies.evaluable.tolist() == [True, True, False, False]
    assert not dies.u[2:].any()
    assert not dies.present[2:].any()


def test_missing_tests_are_plus_zero_and_rows_choose_the_scaler():
    scaler = scaler_of([[1.0, 1.0], [10.0, 10.0]], [[2.0, 2.0], [4.0, 4.0]])
    values = np.array([[3, math.nan], [3, 11]], F32)
    dies = standardise(scaler, values, np.array([0, 1], np.int32))
    assert bits(dies.u[0]) == bits([4.0, 0.0])
    assert dies.u[1].tolist() == [-28, 4]
    assert dies.present.tolist() == [[True, False], [True, True]]


def test_every_nan_has_the_same_bits():
    x = floats([[0xFFC00001, 0x7F800000], [0x3F800000, 0x40000000]])
    made = with_nan(x, np.array([False, True]))
    assert made.view(np.uint32).tolist() == [[0x7FC00000, 0x7F800000], [0x7FC00000] * 2]
