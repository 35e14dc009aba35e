"""Section 5 of docs/arithmetic.md worked out with fractions, step by step.

Both the reference engine and the naive implementation are asked, see `hand_made_models.scored`.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hand_made_models import f32, model_of, output_of, same
from rationals import rounded
from sealed_networks import ACTIVATIONS

from knowngood._network import Activation, Dense

NAN, INF = math.nan, math.inf
LINEAR = Activation("linear")


def activated(x: float, kind: str, alpha: float = 0.0) -> float:
    """The activation of x: a bias, to which −0 is added, or a product that overflows."""
    weight, bias, value = -0.0, x, 1.0
    if math.isinf(x):
        weight, bias, value = math.copysign(3e38, x), 0.0, 2.0**29
    layer = Dense(f32(weight)[np.newaxis], f32(bias), Activation(kind, alpha))
    return output_of(model_of(1, (layer,)), value)[0]


@pytest.mark.parametrize(
    ("kind", "alpha", "x", "expected"),
    [
        ("linear", 0.0, -2.5, -2.5),
        ("linear", 0.0, INF, INF),
        ("relu", 0.0, -2.5, 0.0),
        ("relu", 0.0, 2.5, 2.5),
        ("relu", 0.0, -0.0, -0.0),
        ("relu", 0.0, -INF, 0.0),
        ("leaky_relu", 0.125, -2.5, -0.3125),
        ("leaky_relu", 0.125, 2.5, 2.5),
        ("leaky_relu", 0.25, -(2.0**-149), -0.0),
        ("elu", 0.5, 2.5, 2.5),
        ("elu", 0.5, -1000.0, -0.5),
        ("elu", 0.5, -INF, -0.5),
        ("elu", 1.0, -(2.0**-149), -(2.0**-149)),
        ("sigmoid", 0.0, 0.0, 0.5),
        ("sigmoid", 0.0, 1000.0, 1.0),
        ("sigmoid", 0.0, INF, 1.0),
        ("tanh", 0.0, 0.0, -0.0),
        ("tanh", 0.0, -0.0, -0.0),
        ("tanh", 0.0, 1000.0, 1.0),
        ("tanh", 0.0, -1000.0, -1.0),
        ("tanh", 0.0, 2.0**-149, 2.0**-149),
        ("tanh", 0.0, 3e38, 1.0),
        ("tanh", 0.0, -INF, -1.0),
    ],
)
def test_activations_with_exact_results(kind, alpha, x, expected):
    same([activated(x, kind, alpha)], [expected])


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_nan_passes_through_an_activation(kind):
    infinite = Dense(f32(3e38)[np.newaxis], f32(0.0), LINEAR)
    layer = Dense(f32(0.0)[np.newaxis], f32(0.0), Activation(kind, 0.5))
    same(output_of(model_of(1, (infinite, layer)), 2.0**29), [NAN])


CONSTANTS = {  # values of the bit patterns in the table
    "LOG2E": Fraction(0xB8AA3B, 2**23),
    "LN2_HI": Fraction(0xB17218, 2**24),
    "LN2_LO": Fraction(-0x82E308, 2**52),
    "C2": Fraction(1, 2),
    "C3": Fraction(0xAAAA59, 2**26),
    "C4": Fraction(0xAAAA64, 2**28),
    "C5": Fraction(0x891377, 2**30),
    "C6": Fraction(0xB6B8C3, 2**33),
}


def exp_core(x: float) -> tuple[Fraction, Fraction]:
    """(s, em) of section 5 with fractions, rounded where the page says so."""
    c = CONSTANTS
    argument = max(Fraction(x), Fraction(-87))
    k = round(Fraction(rounded(argument * c["LOG2E"])))
    r = Fraction(rounded(argument - k * c["LN2_HI"]))
    r = Fraction(rounded(r - k * c["LN2_LO"]))
    p = c["C6"]
    for name in ("C5", "C4", "C3", "C2"):
        p = Fraction(rounded(p * r + c[name]))
    square = Fraction(rounded(r * r))
    return Fraction(2) ** k, Fraction(rounded(square * p + r))


ARGUMENTS = [-1e-30, -2e-5, -0.1, -0.3465736, -0.34657362, -0.7, -1.0, -5.5, -20.0, -86.9, -87.5]


@pytest.mark.parametrize("x", [float(x) for x in f32(*ARGUMENTS)])
def test_elu_sigmoid_and_tanh_step_by_step(x):
    s, em = exp_core(x)
    e = rounded(s * em + s)
    minus_one = Fraction(rounded(s - 1))
    expm1 = rounded(s * em + minus_one)
    assert activated(x, "elu", 1.0) == expm1
    one_more = Fraction(rounded(1 + Fraction(e)))
    assert activated(x, "sigmoid") == rounded(Fraction(e) / one_more)
    assert activated(-x, "sigmoid") == rounded(1 / one_more)
    s, em = exp_core(2 * x)
    t = Fraction(rounded(s * em + Fraction(rounded(s - 1))))
    v = rounded(-t / Fraction(rounded(2 + t)))
    assert (activated(x, "tanh"), activated(-x, "tanh")) == (-v, v)


@pytest.mark.parametrize("x", [float(x) for x in f32(*ARGUMENTS[:-1])])
def test_the_polynomial_is_the_exponential_function(x):
    s, em = exp_core(x)
    assert rounded(s * em + s) == pytest.approx(math.exp(x), rel=2**-23)
    assert activated(x, "elu", 1.0) == pytest.approx(math.expm1(x), rel=2**-23)


def test_the_fit_errs_by_less_than_0_27_ulp():
    r = np.linspace(-math.log(2) / 2, math.log(2) / 2, 100_000)
    c2, c3, c4, c5, c6 = (float(CONSTANTS[f"C{i}"]) for i in range(2, 7))
    fitted = r + r * r * (c2 + r * (c3 + r * (c4 + r * (c5 + r * c6))))
    ulp = np.spacing(np.abs(np.expm1(r)).astype(np.float32)).astype(np.float64)
    assert (np.abs(fitted - np.expm1(r)) / ulp).max() < 0.27
