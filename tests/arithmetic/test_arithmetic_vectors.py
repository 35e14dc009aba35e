"""Dies worked out with fractions, section by section of docs/arithmetic.md.

Each is scored by the reference engine and by the naive implementation.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest
from hand_made_models import f32, head_of, model_of, output_of, same, score_of, scored
from rationals import rounded, rounded_to_double
from sealed_networks import Case
from side_by_side import compare, scorer_of

from knowngood._network import (
    POOLED_GROUP,
    Activation,
    Dense,
    LowRank,
    QuantizedDense,
    Scaler,
)
from knowngood._sealed import Band
from knowngood._verdicts import Reason, Verdict

NAN, INF = math.nan, math.inf
LINEAR = Activation("linear")


# Section 2: standardising


def test_standardising_is_two_double_operations_and_one_rounding():
    centre, inv_scale, x = 1e6 + 1 / 3, 7.1, f32(1e6 + 0.5)[0]
    scaler = Scaler(np.array([POOLED_GROUP], np.int32), f64(centre), f64(inv_scale))
    difference = rounded_to_double(Fraction(float(x)) - Fraction(centre))
    u = rounded(rounded_to_double(difference * Fraction(inv_scale)))
    expected = rounded(Fraction(u) ** 2)
    assert score_of(model_of(1, scaler=scaler), x) == expected
    in_single = np.float32((x - np.float32(centre)) * np.float32(inv_scale))
    assert abs(in_single - u) > 0.1, "the die would not tell single from double"


def f64(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)[np.newaxis]


@pytest.mark.parametrize(("group", "u"), [(None, 6.0), (-1, 6.0), (4, 2.0), (9, 6.0)])
def test_an_unknown_group_takes_the_pooled_row(group, u):
    groups = np.array([POOLED_GROUP, 4], dtype=np.int32)
    scaler = Scaler(groups, np.array([[1.0], [3.0]]), np.array([[2.0], [2.0]]))
    assert score_of(model_of(1, scaler=scaler), 4.0, group=group) == u * u


@pytest.mark.parametrize(
    ("x", "is_evaluable"),
    [(2.0**30, True), (-(2.0**30), True), (2.0**30 + 128, False), (INF, False), (-INF, False)],
)
def test_the_range_ends_at_2_to_the_30(x, is_evaluable):
    layer = Dense(np.zeros((1, 1), np.float32), f32(3.0), LINEAR)
    die = scored(model_of(1, (layer,)), x)
    same(die.reconstruction[0].tolist(), [3.0 if is_evaluable else NAN])
    assert math.isnan(die.scores[0]) is not is_evaluable


# Section 3: dense layers in fp32


def test_products_are_not_rounded_before_they_are_added():
    x = 1 + 2.0**-12
    layer = Dense(f32(x)[np.newaxis], f32(-1.0), LINEAR)
    same(output_of(model_of(1, (layer,)), x), [2.0**-11 + 2.0**-24])


def test_inputs_are_added_one_after_the_other():
    layer = Dense(np.ones((3, 3), np.float32), f32(0, 0, 2.0**24), LINEAR)
    model = model_of(3, (layer,))  # 2²⁴ + 1 is a tie, to even: the 1 is lost
    same(output_of(model, 2.0**24, 1.0, -(2.0**24)), [0.0, 0.0, 2.0**24])
    same(output_of(model, 2.0**24, -(2.0**24), 1.0), [1.0, 1.0, 2.0**24])
    same(output_of(model, 1.0, 1.0, -2.0), [0.0, 0.0, 2.0**24 - 2])


# Section 4: dense layers in int8


def int8_model(weight: list[list[int]], scale: list[float], bias: list[float], **options):
    """One int8 layer, or a relu before it that hands the inputs on (``after_relu``)."""
    n = len(weight)
    last = QuantizedDense(np.array(weight, np.int8), f32(*scale), f32(*bias), LINEAR)
    layers: tuple[QuantizedDense, ...] = (last,)
    if options.pop("after_relu", False):
        unit = np.eye(n, dtype=np.int8) * np.int8(127)
        relu = Activation("relu")
        layers = (QuantizedDense(unit, f32(*[1.0] * n), f32(*[0.0] * n), relu), last)
    return model_of(n, None, layers, **options)


def dequantised(acc: int, s: float, weight_scale: float, bias: float) -> float:
    scale = rounded(Fraction(s) * Fraction(weight_scale))
    product = rounded(Fraction(rounded(acc)) * Fraction(scale))
    return rounded(Fraction(product) + Fraction(bias))


def test_int8_in_units_of_the_largest_magnitude():
    weight, scale, bias = [[1, 2, -3], [127, -127, 0], [0, 0, 1]], [0.3, 1e-3, 7.0], [0.1, -5.0, 0]
    q = [127, -64, 32]  # −63.5 is a tie, to even; 31.75
    s = rounded(Fraction(1, 127))
    expected = [
        dequantised(sum(i * w for i, w in zip(q, row, strict=True)), s, float(c), float(b))
        for row, c, b in zip(weight, f32(*scale), f32(*bias), strict=True)
    ]
    same(output_of(int8_model(weight, scale, bias), 1.0, -0.5, 0.25, precision="int8"), expected)


def test_after_a_relu_the_levels_are_255():
    model = int8_model([[1, 0], [0, 1]], [1.0, 1.0], [0.0, 0.0], after_relu=True)
    s = rounded(Fraction(1, 127))
    hidden = [dequantised(127 * 127, s, 1.0, 0.0), dequantised(64 * 127, s, 1.0, 0.0)]
    inverse = rounded(255 / Fraction(hidden[0]))
    q = [round(Fraction(rounded(Fraction(h) * Fraction(inverse)))) for h in hidden]
    assert q == [255, 129], "128.5039 of 255"
    s = rounded(Fraction(hidden[0]) / 255)
    expected = [dequantised(i, s, 1.0, 0.0) for i in q]
    same(output_of(model, 1.0, 0.5, precision="int8"), expected)


@pytest.mark.parametrize(("a", "q"), [(2.0**-100, 127), (2.0**-100 * (1 - 2.0**-24), 0)])
def test_below_2_to_the_minus_100_an_input_is_zero(a, q):
    model = int8_model([[1]], [2.0**100], [0.0])
    expected = dequantised(q, rounded(Fraction(a) / 127), 2.0**100, 0.0)
    same(output_of(model, a, precision="int8"), [expected])


def test_sums_of_products_are_rounded_to_float_once():
    n = 2000
    sums = QuantizedDense(np.full((1, n), 127, np.int8), f32(1.0), f32(0.0), LINEAR)
    last = QuantizedDense(np.zeros((n, 1), np.int8), np.ones(n, "f4"), np.zeros(n, "f4"), LINEAR)
    model = replace(model_of(n, None, (sums, last)), latent_layer=0)
    acc = 127 * (127 * (n - 1) + 126)
    assert rounded(acc) != acc, "the accumulator has more than 24 bits"
    die = scored(model, *[127.0] * (n - 1), 126.0, precision="int8")
    assert die.latent is not None
    same(die.latent[0].tolist(), [rounded(acc)])


def test_an_infinite_hidden_layer_ends_in_nan():
    model = int8_model([[127]], [3e38], [0.0], after_relu=True)
    hidden = replace(model.int8[0], weight_scale=f32(3e38))
    model = replace(model, int8=(hidden, model.int8[1]))
    die = scored(model, 2.0**29, precision="int8")
    same([*die.reconstruction[0], *die.scores], [NAN, NAN])


# Section 6: residual and score


def test_the_sum_over_tests_runs_in_sixteen_lanes():
    n = 37
    values = np.random.default_rng(5).normal(size=n).astype(np.float32).tolist()
    squares = [rounded(Fraction(v) ** 2) for v in values]
    lanes = [list(accumulate(squares[i::16], lambda a, b: rounded(Fraction(a) + Fraction(b))))[-1]
             for i in range(16)]  # fmt: skip
    for half in (8, 4, 2, 1):
        lanes = [rounded(Fraction(lanes[i]) + Fraction(lanes[i + half])) for i in range(half)]
    gain = rounded(Fraction(1, n))
    expected = rounded(Fraction(lanes[0]) * Fraction(gain))
    assert score_of(model_of(n), *values) == expected
    in_order = list(accumulate(squares, lambda a, b: rounded(Fraction(a) + Fraction(b))))[-1]
    assert in_order != lanes[0], "the die would not tell the order"


def test_a_score_is_normalised_for_the_tests_present():
    expected_square = f32(0.3, 2.0, 5.0)
    model = model_of(3, head=head_of(3, "normalized", expected_square=expected_square))
    all_three, two = sum(map(float, expected_square)), float(expected_square[0]) + 5.0
    gain = rounded(rounded_to_double(Fraction(all_three) / Fraction(3 * two)))
    assert score_of(model, 2.0, NAN, 4.0) == rounded(20 * Fraction(gain))


def test_topk_adds_the_largest_in_descending_order():
    gain, offset = f32(9, 9, 9, 0.3, 9), f32(9, 9, 9, 0.7, 0)
    head = head_of(4, "topk", k=3, present_gain=gain, present_offset=offset)
    total = Fraction(2) ** 24  # 2²⁴ + 1 + 1: each 1 is lost in a tie
    gained = rounded(total * Fraction(float(gain[3])))
    expected = rounded(Fraction(gained) + Fraction(float(offset[3])))
    assert score_of(model_of(4, head=head), 1.0, -(2.0**24), NAN, -1.0) == expected


def test_topk_takes_what_is_present():
    head = head_of(4, "topk", k=3)
    assert score_of(model_of(4, head=head), NAN, -5.0, NAN, 2.0) == 7.0


def test_mahalanobis_takes_off_the_shared_part_of_tests_present():
    project, weight = f32(0.1, 0.2, 0.3)[np.newaxis], f32(0.5, 2.0, 1.0)
    low_rank = LowRank(project, f32(0.7, 0.9, 1.1)[:, np.newaxis])
    head = head_of(3, "mahalanobis", low_rank=low_rank, residual_weight=weight)
    z = [Fraction(1, 2) * 3, Fraction(0), Fraction(-4)]
    a = Fraction(0)
    for p, v in zip(project[0], z, strict=True):
        a = Fraction(rounded(Fraction(float(p)) * v + a))
    shared = [Fraction(rounded(Fraction(float(w)) * a)) for w in low_rank.subtract[:, 0]]
    whitened = [rounded(z[0] - shared[0]), 0.0, rounded(z[2] - shared[2])]
    total = rounded(
        Fraction(rounded(Fraction(whitened[0]) ** 2))
        + Fraction(rounded(Fraction(whitened[2]) ** 2))
    )
    assert score_of(model_of(3, head=head), 3.0, NAN, -4.0) == total * 0.5


def test_the_gain_of_a_complete_die_is_one_over_n():
    n = np.arange(1, 66_001, dtype=np.float64)
    for total in (1.0, 0.1, 1 / 3, 2.0**0.5, 65_999.7, 1e38):
        np.testing.assert_array_equal((total / (n * total)).astype("f4"), (1 / n).astype("f4"))


@pytest.mark.parametrize("n_present", [1, 2, 3])
def test_the_least_number_of_tests(n_present):
    values = [2.0] * n_present + [NAN] * (4 - n_present)
    score = score_of(model_of(4, head=head_of(4, min_present=2)), *values)
    assert score == 4.0 if n_present >= 2 else math.isnan(score)


# Section 7: verdict and reason


def test_verdicts_and_the_first_reason_that_applies():
    threshold = 2.0
    model = model_of(4, head=head_of(4, min_present=2), threshold=threshold)
    just_above = float(np.nextafter(np.float32(8.0), np.float32(9)))
    dies = {
        (2.0, 2.0, 0.0, 0.0): (Verdict.PASS, Reason.NONE),
        (math.sqrt(just_above), 0.0, 0.0, 0.0): (Verdict.REJECT, Reason.NONE),
        (NAN, NAN, NAN, NAN): (Verdict.UNSCORED, Reason.NO_DATA),
        (INF, NAN, NAN, NAN): (Verdict.UNSCORED, Reason.TOO_MANY_MISSING),
        (INF, 1e30, 0.0, 0.0): (Verdict.UNSCORED, Reason.NOT_FINITE),
        (1e30, 0.0, 0.0, 0.0): (Verdict.UNSCORED, Reason.RANGE),
    }
    values = f32(*[x for die in dies for x in die]).reshape(-1, 4)
    compare(Case(model, values, None, seed=0), Counter())
    result = scorer_of(model, "fp32").score(values)
    assert list(zip(result.verdicts, result.reasons, strict=True)) == list(dies.values())


# Section 8: precisions


@pytest.mark.parametrize(
    ("band", "limit", "is_rescored"),
    [
        ((5.0, 9.0), 1e30, False),
        ((4.0, 9.0), 1e30, True),
        ((1.0, 4.0), 1e30, True),
        ((1.0, 3.9), 1e30, False),
        ((5.0, 9.0), 2.0, False),
        ((5.0, 9.0), 1.9, True),
    ],
)
def test_a_die_in_the_band_or_beyond_a_limit_is_rescored(band, limit, is_rescored):
    """Without weights y is the bias: 0 in int8, a score of 4; 1 in fp32, a score of 1."""
    fp32 = Dense(np.zeros((1, 1), np.float32), f32(1.0), LINEAR)
    int8 = QuantizedDense(np.zeros((1, 1), np.int8), f32(1.0), f32(0.0), LINEAR)
    model = model_of(1, (fp32,), (int8,), threshold=band[0])
    model = replace(model, bands=(Band(*band),), scale_limits=f32(limit))
    die = scored(model, 2.0, precision="verified")
    assert bool(die.rescored[0]) is is_rescored
    same([*die.scores, *die.reconstruction[0]], [1.0, 1.0] if is_rescored else [4.0, 0.0])


# Section 9: contributions


def test_contributions_in_order_of_size_ties_to_the_lower_column():
    scorer = scorer_of(model_of(5), "fp32")
    found = scorer.explain(f32(1.0, -3.0, NAN, 3.0, 0.0)[np.newaxis], k=9)
    assert [c.test for c in found] == [scorer.schema.tests[i] for i in (1, 3, 0, 4)]
    assert [c.z for c in found] == [-3.0, 3.0, 1.0, 0.0]
    assert [c.share for c in found] == pytest.approx([9 / 19, 9 / 19, 1 / 19, 0.0])
