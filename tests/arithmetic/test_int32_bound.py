"""No int32 accumulator overflows up to 66,000 inputs, and the reference sums that many exactly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import binary32
import numpy as np
import pytest
from hand_made_models import f32, model_of
from sealed_networks import Case
from side_by_side import compare

from knowngood import _arithmetic as arithmetic
from knowngood._network import Activation, QuantizedDense
from knowngood._sealed import MAX_WIDTH

LINEAR = Activation("linear")
INT32_MAX = 2**31 - 1


def test_the_bound_is_below_the_largest_int32():
    assert MAX_WIDTH == 66_000
    assert 255 * 127 * MAX_WIDTH == 2_137_410_000 < INT32_MAX
    assert INT32_MAX < 255 * 127 * 66_312, "the bound is no luxury"


@pytest.mark.parametrize(
    ("q_sign", "weight", "levels"),
    [(1, 127, 255), (1, -127, 255), (-1, 127, 127), (-1, -127, 127)],
)
def test_the_largest_accumulators(q_sign: int, weight: int, levels: int):
    is_positive = levels == 255
    x = np.full((1, MAX_WIDTH), q_sign * levels, dtype=np.float32)
    quantized = arithmetic.quantize_input(x, is_positive=is_positive)
    layer = layer_of(np.full(MAX_WIDTH, weight, dtype=np.int8))
    acc = q_sign * levels * weight * MAX_WIDTH
    assert abs(acc) <= INT32_MAX
    assert quantized.q.tolist() == [[q_sign * levels] * MAX_WIDTH]
    assert arithmetic.dense_int8(layer, quantized).tolist() == [[binary32.from_integer(acc)]]


@pytest.mark.parametrize("is_positive", [True, False])
def test_sums_at_the_extremes_are_those_of_integers(is_positive: bool):
    rng = np.random.default_rng(7)
    levels = 255 if is_positive else 127
    q = rng.choice([levels, 0 if is_positive else -levels], MAX_WIDTH, p=[0.9, 0.1])
    weight = rng.choice([127, -127], MAX_WIDTH, p=[0.95, 0.05]).astype(np.int8)
    acc = sum(int(i) * int(w) for i, w in zip(q, weight, strict=True))
    in_int32 = q.astype(np.int32) * weight.astype(np.int32)
    assert int(in_int32.sum(dtype=np.int32)) == acc
    running = np.cumsum(in_int32, dtype=np.int64)
    assert np.abs(running).max() <= INT32_MAX, "no sum on the way overflows"
    quantized = arithmetic.quantize_input(q[np.newaxis].astype(np.float32), is_positive=is_positive)
    found = arithmetic.dense_int8(layer_of(weight), quantized)
    assert found.tolist() == [[binary32.from_integer(acc)]]


def layer_of(weight: np.ndarray) -> QuantizedDense:
    """One output, with a scale of 1: the accumulator in float32 is the output."""
    return QuantizedDense(weight[np.newaxis], f32(1.0), f32(0.0), LINEAR)


def test_offset_inputs_stay_within_int32_and_are_taken_off_again():
    weight = np.full(MAX_WIDTH, 127, dtype=np.int32)
    q = np.full(MAX_WIDTH, 127, dtype=np.int32)
    offset = int(((q + 128) * weight).sum(dtype=np.int64))
    correction = 128 * int(weight.sum(dtype=np.int64))
    assert max(offset, correction) <= INT32_MAX
    assert offset - correction == int((q * weight).sum(dtype=np.int64))


def test_a_model_of_the_greatest_width():
    rng = np.random.default_rng(8)
    narrow = QuantizedDense(
        rng.integers(-127, 128, (1, MAX_WIDTH)).astype(np.int8),
        f32(1e-3),
        f32(0.25),
        Activation("relu"),
    )
    wide = QuantizedDense(
        rng.integers(-127, 128, (MAX_WIDTH, 1)).astype(np.int8),
        rng.uniform(1e-4, 1, MAX_WIDTH).astype(np.float32),
        rng.normal(size=MAX_WIDTH).astype(np.float32),
        LINEAR,
    )
    model = replace(model_of(MAX_WIDTH, None, (narrow, wide)), latent_layer=0)
    values = rng.normal(size=(1, MAX_WIDTH)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    compare(Case(model, values, None, seed=0), Counter())
