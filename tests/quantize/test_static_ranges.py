"""Static ranges: what they hold, and the integers they are made into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import forward
from knowngood_quantize.int8 import quantize
from knowngood_quantize.static_ranges import ValueRange, with_static_ranges
from random_networks import ACTIVATIONS, make_dies, make_network, quantize_roughly

ends = st.floats(1e-6, 1e6)


def test_ranges_are_those_of_the_values_and_of_each_layers_sums():
    network = make_network(activation="tanh")
    values, _ = make_dies(network, 60, missing=0.2)
    a = forward(network, values).standardised
    quantized = quantize_roughly(network, a)
    expected = [(a.min(), a.max())]
    for layer in quantized.layers:
        weight = layer.weight * layer.weight_scale[:, None]
        sums = np.stack([weight @ die + layer.bias for die in a])
        expected.append((min(sums.min(), 0), max(sums.max(), 0)))
        a = np.tanh(sums) if layer.activation.kind == "tanh" else sums
    ranged = with_static_ranges(quantized, values)
    found = [(r.low, r.high) for r in ranged.ranges]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_groups_are_standardised_by_their_own_scaler():
    network = make_network(n_groups=3)
    values, group = make_dies(network, 60, missing=0.0)
    quantized = quantize(network)
    u = forward(network, values, group).standardised
    ranges = with_static_ranges(quantized, values, group).ranges
    assert ranges[0] == ValueRange(float(u.min()), float(u.max()))
    assert with_static_ranges(quantized, values).ranges[0] != ranges[0]


def test_dies_out_of_range_and_missing_tests_set_no_range():
    network = make_network()
    values, _ = make_dies(network, 30, missing=0.0)
    expected = with_static_ranges(quantize(network), values).ranges
    more = np.concatenate([values, values[:2]])
    more[30, 0] = np.inf
    more[31, 1] = (
        network.screen.scaler.centre[0, 1] + 2.0**31 / network.screen.scaler.inv_scale[0, 1]
    )
    empty = np.full((1, values.shape[1]), np.nan, dtype=np.float32)
    found = with_static_ranges(quantize(network), np.concatenate([more, empty])).ranges
    assert found[0] == expected[0]
    with pytest.raises(NotEnoughDataError, match="none in range of 2"):
        with_static_ranges(quantize(network), more[30:])


def test_sums_that_are_not_finite_are_refused():
    network = make_network()
    values, _ = make_dies(network, 5)
    quantized = quantize(network)
    quantized.layers[1].weight_scale[0] = np.inf
    with pytest.raises(UsageError, match="sums of layer 1 are not finite"):
        with_static_ranges(quantized, values)


@given(low=ends, high=ends)
def test_int8_holds_the_range_with_255_steps_and_an_exact_zero(low, high):
    form = ValueRange(-low, high).to_int8()
    assert form.scale == np.float32(form.scale)
    assert -128 <= form.zero_point <= 127
    lowest = (-128 - form.zero_point) * form.scale
    highest = (127 - form.zero_point) * form.scale
    assert lowest <= -low + 0.51 * form.scale
    assert highest >= high - 0.51 * form.scale
    assert highest - lowest == pytest.approx(low + high, rel=1e-6)


@given(low=ends, high=ends)
def test_int16_is_symmetric(low, high):
    step = ValueRange(-low, high).int16_step()
    assert step == np.float32(step)
    assert step * 32767 == pytest.approx(max(low, high), rel=1e-6)


def test_a_range_without_extent_has_a_step_all_the_same():
    nothing = ValueRange(0.0, 0.0)
    assert nothing.to_int8().scale == 1
    assert nothing.int16_step() == 1


@given(low=ends, high=ends, kind=st.sampled_from(sorted(ACTIVATIONS)))
def test_activations_stay_within_the_range_of_their_ends(low, high, kind):
    reach = ValueRange(-low, high)
    through = reach.through(ACTIVATIONS[kind])
    inside = ACTIVATIONS[kind].apply(np.linspace(-low, high, 101))
    assert through.low <= min(inside.min(), 0) + 1e-9
    assert through.high >= inside.max() - 1e-9
    assert through.low <= 0 <= through.high


def test_widened_and_within():
    reach = ValueRange(-2.0, 12.0)
    assert reach.widened(2) == ValueRange(-4.0, 24.0)
    assert reach.within(8) == ValueRange(-2.0, 8.0)
