"""The score of a die, a second time: one die, one number at a time, in plain Python.

Written from docs/arithmetic.md alone, section by section, and as simple as it gets. It proves that
the page says everything: `test_reference_equals_naive` compares it with the reference engine bit by
bit. Float32 numbers are Python floats (`binary32`); float64 operations are Python's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from binary32 import (
    add,
    divide,
    fma,
    from_bits,
    from_double,
    from_integer,
    multiply,
    subtract,
)

Row = Sequence[float]
Matrix = Sequence[Row]

LOG2E = from_bits(0x3FB8AA3B)
LN2_HI = from_bits(0x3F317218)
LN2_LO = from_bits(0xB102E308)
C2 = from_bits(0x3F000000)
C3 = from_bits(0x3E2AAA59)
C4 = from_bits(0x3D2AAA64)
C5 = from_bits(0x3C091377)
C6 = from_bits(0x3AB6B8C3)

UNSCORED, PASS, REJECT = 0, 1, 2
NO_REASON, NO_DATA, TOO_MANY_MISSING, NOT_FINITE, RANGE = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Layer:
    """A dense layer; without ``weight_scale`` it is fp32, with it the weights are integers."""

    weight: Matrix
    bias: Row
    activation: str
    alpha: float
    weight_scale: Row | None = None


@dataclass(frozen=True)
class Head:
    kind: str
    residual_weight: Row
    expected_square: Row
    present_gain: Row
    present_offset: Row
    min_present: int
    k: int
    project: Matrix = ()
    subtract: Matrix = ()


@dataclass(frozen=True)
class Model:
    """What a file says; layers are None in a precision that it does not have."""

    groups: Sequence[int]
    centre: Matrix
    inv_scale: Matrix
    head: Head
    fp32: Sequence[Layer] | None
    int8: Sequence[Layer] | None
    latent_layer: int | None = None
    scale_limits: Row = ()


@dataclass(frozen=True)
class Point:
    """An operating point of one precision; a band for "verified"."""

    threshold: float
    lo: float = math.nan
    hi: float = math.nan


@dataclass(frozen=True)
class Scored:
    """What a die gets.

    ``magnitudes`` holds the largest input of each layer, ``residuals`` z (z′ for mahalanobis).
    """

    score: float
    reconstruction: Row
    latent: Row
    magnitudes: Row
    residuals: Row
    rescored: bool = False


# Sections 2, 6 and 8: a die


def score_die(
    model: Model,
    precision: Literal["fp32", "int8", "verified"],
    values: Row,
    group: int | None = None,
    point: Point | None = None,
) -> Scored:
    """Score, reconstruction and latent code of one die; ``point`` matters to "verified" only."""
    if precision == "verified":
        assert point is not None
        return _score_verified(model, values, group, point)
    layers = model.fp32 if precision == "fp32" else model.int8
    assert layers is not None
    u = standardise(model, values, group)
    if not _is_evaluable(u, values):
        return _nothing(model, layers, len(values))
    outputs, magnitudes = _run(layers, u)
    reconstruction = outputs[-1] if layers else [0.0] * len(u)
    latent = outputs[model.latent_layer] if model.latent_layer is not None else []
    z = residuals(model.head, values, u, reconstruction)
    score = head_score(model.head, values, z)
    return Scored(score, reconstruction, latent, magnitudes, z)


def _nothing(model: Model, layers: Sequence[Layer], n_tests: int) -> Scored:
    n_latent = 0 if model.latent_layer is None else len(layers[model.latent_layer].bias)
    nan = math.nan
    return Scored(nan, [nan] * n_tests, [nan] * n_latent, [], [nan] * n_tests)


def _score_verified(model: Model, values: Row, group: int | None, point: Point) -> Scored:
    quick = score_die(model, "int8", values, group)
    u = standardise(model, values, group)
    has_none = math.isnan(quick.score) and (
        _is_evaluable(u, values) and n_present(values) >= model.head.min_present
    )
    exceeds = any(
        not a <= limit for a, limit in zip(quick.magnitudes, model.scale_limits, strict=False)
    )
    if has_none or point.lo <= quick.score <= point.hi or exceeds:
        exact = score_die(model, "fp32", values, group)
        return Scored(
            exact.score,
            exact.reconstruction,
            exact.latent,
            exact.magnitudes,
            exact.residuals,
            rescored=True,
        )
    return quick


def standardise(model: Model, values: Row, group: int | None) -> list[float]:
    row = model.groups.index(group) if group in model.groups else 0
    return [
        0.0 if math.isnan(x) else from_double((x - centre) * inv_scale)
        for x, centre, inv_scale in zip(
            values, model.centre[row], model.inv_scale[row], strict=True
        )
    ]


def _is_evaluable(u: Row, values: Row) -> bool:
    present = [a for a, x in zip(u, values, strict=True) if not math.isnan(x)]
    return all(math.isfinite(a) and abs(a) <= 2.0**30 for a in present)


def n_present(values: Row) -> int:
    return sum(not math.isnan(x) for x in values)


# Sections 3 and 4: layers


def _run(layers: Sequence[Layer], u: Row) -> tuple[list[Row], list[float]]:
    """The output of each layer, and the largest magnitude of its input."""
    outputs: list[Row] = []
    magnitudes = []
    x, full_scale = u, 127
    for layer in layers:
        magnitudes.append(largest_magnitude(x))
        is_int8 = layer.weight_scale is not None
        x = dense_int8(layer, x, full_scale) if is_int8 else dense(layer, x)
        full_scale = 255 if layer.activation in ("relu", "sigmoid") else 127
        outputs.append(x)
    return outputs, magnitudes


def dense(layer: Layer, x: Row) -> list[float]:
    y = []
    for weights, bias in zip(layer.weight, layer.bias, strict=True):
        acc = bias
        for value, weight in zip(x, weights, strict=True):
            acc = fma(value, weight, acc)
        y.append(activate(layer.activation, layer.alpha, acc))
    return y


def dense_int8(layer: Layer, x: Row, full_scale: int) -> list[float]:
    assert layer.weight_scale is not None
    a = largest_magnitude(x)
    if not math.isfinite(a):
        return [math.nan] * len(layer.bias)
    q, s = quantise(x, a, full_scale)
    y = []
    for weights, weight_scale, bias in zip(
        layer.weight, layer.weight_scale, layer.bias, strict=True
    ):
        acc = sum(i * int(w) for i, w in zip(q, weights, strict=True))
        assert abs(acc) < 2**31
        product = multiply(from_integer(acc), multiply(s, weight_scale))
        y.append(activate(layer.activation, layer.alpha, add(product, bias)))
    return y


def largest_magnitude(x: Row) -> float:
    """NaN if there is one, since it ranks above infinity."""
    return math.nan if any(math.isnan(v) for v in x) else max(abs(v) for v in x)


def quantise(x: Row, a: float, full_scale: int) -> tuple[list[int], float]:
    if a < 2.0**-100:
        return [0] * len(x), 0.0
    inv = divide(float(full_scale), a)
    q = [rint(multiply(v, inv)) for v in x]
    assert all(abs(i) <= full_scale for i in q)
    return q, divide(a, float(full_scale))


def rint(x: float) -> int:
    """The nearest integer, ties to even: that is what Python's ``round`` does, exactly."""
    return round(x)


# Section 5: activation functions


def activate(name: str, alpha: float, x: float) -> float:
    if name == "relu":
        return 0.0 if x < 0 else x
    if name == "leaky_relu":
        return multiply(alpha, x) if x < 0 else x
    if name == "elu":
        return multiply(alpha, expm1(x)) if x < 0 else x
    if name == "sigmoid":
        e = exp(-abs(x))
        return divide(e if x < 0 else 1.0, add(1.0, e))
    if name == "tanh":
        t = expm1(multiply(-2.0, abs(x)))
        v = divide(-t, add(2.0, t))
        return -v if x < 0 else v
    assert name == "linear"
    return x


def exp(x: float) -> float:
    if math.isnan(x):
        return x
    s, em = _exp_core(x)
    return fma(s, em, s)


def expm1(x: float) -> float:
    if math.isnan(x):
        return x
    s, em = _exp_core(x)
    return fma(s, em, subtract(s, 1.0))


def _exp_core(x: float) -> tuple[float, float]:
    """(2^k, e^r − 1) with x = k · ln 2 + r."""
    x = -87.0 if x < -87 else x
    k = rint(multiply(x, LOG2E))
    r = fma(float(k), -LN2_HI, x)
    r = fma(float(k), -LN2_LO, r)
    p = C6
    for constant in (C5, C4, C3, C2):
        p = fma(p, r, constant)
    return 2.0**k, fma(multiply(r, r), p, r)


# Section 6: residual and score


def residuals(head: Head, values: Row, u: Row, y: Row) -> list[float]:
    """z of each test, whitened for mahalanobis; NaN throughout if one is infinite or NaN."""
    present = [not math.isnan(x) for x in values]
    z = [
        multiply(subtract(u[j], y[j]), head.residual_weight[j]) if present[j] else 0.0
        for j in range(len(u))
    ]
    if not all(math.isfinite(v) for v in z):
        return [math.nan] * len(z)
    if head.kind != "mahalanobis":
        return z
    a = [_chain(row, z) for row in head.project]
    c = [_chain(row, a) for row in head.subtract]
    return [subtract(z[j], c[j]) if present[j] else 0.0 for j in range(len(z))]


def _chain(weights: Row, x: Row) -> float:
    acc = 0.0
    for weight, value in zip(weights, x, strict=True):
        acc = fma(weight, value, acc)
    return acc


def head_score(head: Head, values: Row, z: Row) -> float:
    m = n_present(values)
    if m == 0 or m < head.min_present or any(math.isnan(v) for v in z):
        return math.nan
    if head.kind == "topk":
        gained = multiply(_sum_of_largest(head, values, z), head.present_gain[m])
        score = add(gained, head.present_offset[m])
    else:
        score = multiply(sum_over_tests([multiply(v, v) for v in z]), _gain(head, values))
    return score if math.isfinite(score) else math.nan


def _sum_of_largest(head: Head, values: Row, z: Row) -> float:
    sizes = [abs(v) for v, x in zip(z, values, strict=True) if not math.isnan(x)]
    total = 0.0
    for size in sorted(sizes, reverse=True)[: head.k]:
        total = add(total, size)
    return total


def _gain(head: Head, values: Row) -> float:
    expected = head.expected_square
    present = sum_over_tests_f64(
        0.0 if math.isnan(x) else e for e, x in zip(expected, values, strict=True)
    )
    return from_double(sum_over_tests_f64(expected) / (float(len(expected)) * present))


def sum_over_tests(terms: Iterable[float]) -> float:
    lanes = [0.0] * 16
    for j, term in enumerate(terms):
        lanes[j % 16] = add(lanes[j % 16], term)
    for width in (8, 4, 2, 1):
        for lane in range(width):
            lanes[lane] = add(lanes[lane], lanes[lane + width])
    return lanes[0]


def sum_over_tests_f64(terms: Iterable[float]) -> float:
    lanes = [0.0] * 16
    for j, term in enumerate(terms):
        lanes[j % 16] = lanes[j % 16] + term
    for width in (8, 4, 2, 1):
        for lane in range(width):
            lanes[lane] = lanes[lane] + lanes[lane + width]
    return lanes[0]


# Sections 7 and 9: verdict, reason, contributions


def judge(
    model: Model, values: Row, group: int | None, score: float, threshold: float
) -> tuple[int, int]:
    """Verdict and reason."""
    if not math.isnan(score):
        return (PASS if score <= threshold else REJECT), NO_REASON
    if n_present(values) == 0:
        return UNSCORED, NO_DATA
    if n_present(values) < model.head.min_present:
        return UNSCORED, TOO_MANY_MISSING
    if any(math.isinf(x) for x in values):
        return UNSCORED, NOT_FINITE
    if any(abs(u) > 2.0**30 for u in standardise(model, values, group)):
        return UNSCORED, RANGE
    return UNSCORED, NOT_FINITE


def order_of_contributions(values: Row, z: Row) -> list[int]:
    """Columns of the tests present, largest |z| first, ties to the lower column."""
    present = [j for j, x in enumerate(values) if not math.isnan(x)]
    return sorted(present, key=lambda j: (-abs(z[j]), j))
