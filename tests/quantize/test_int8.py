"""int8: ranges and rounding by hand, and the effect on whole networks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import reconstruct
from knowngood._network import Activation, ActivationKind, Dense, Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_quantize.heads import unfitted_head
from knowngood_quantize.int8 import Int8Recipe, quantize, simulate, weight_steps

STATIC = Int8Recipe(activations="static")
NEAREST = Int8Recipe(rounding="nearest")


def _network(widths: tuple[int, ...], seed: int = 0, hidden: ActivationKind = "relu") -> Network:
    rng = np.random.default_rng(seed)
    layers = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        weight = rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)
        bias = 0.1 * rng.standard_normal(n_out)
        kind: ActivationKind = "linear" if i == len(widths) - 2 else hidden
        layers.append(Dense(weight.astype(np.float32), bias.astype(np.float32), Activation(kind)))
    n = widths[0]
    scaler = Scaler(np.array([-1], np.int32), np.zeros((1, n)), np.ones((1, n)))
    return Network(Screen(Schema.anonymous(n), scaler, unfitted_head(n)), tuple(layers))


def _dies(n: int, n_tests: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n_tests)).astype(np.float32)


def test_a_layer_by_hand() -> None:
    weight = np.array([[1.27, -0.635], [0.0, 0.0]], np.float32)
    network = _network((2, 2))
    layer = Dense(weight, np.array([0.5, -1.0], np.float32))
    network = replace(network, layers=(layer,))
    recipe = replace(STATIC, rounding="nearest", bias_correction=False)
    quantized = quantize(network, np.array([[-1.0, 4.1], [0.0, 0.5]], np.float32), None, recipe)
    (q,) = quantized.layers
    assert q.weight.tolist() == [[127, -64], [0, 0]]  # −63.5 goes to the even neighbour
    np.testing.assert_allclose(q.weight_scale, [0.01, 1.0], rtol=1e-6)
    assert q.static_input is not None
    assert q.static_input.scale == pytest.approx(5.1 / 255, rel=1e-6)
    assert q.static_input.zero_point == -128 + 50
    y = simulate(quantized, np.array([[1.0, 0.03], [9.0, np.float32(-3)]], np.float32))
    # 0.03/0.02 = 1.5 → 2 steps; 9 saturates at 127 → 4.1, −3 at −128 → −1.0
    np.testing.assert_allclose(y[0], [1.27 - 0.64 * 0.04 + 0.5, -1.0], rtol=1e-5)
    np.testing.assert_allclose(y[1], [4.1 * 1.27 + 0.64 + 0.5, -1.0], rtol=1e-5)


def test_relu_outputs_use_all_steps_and_nothing_is_clipped() -> None:
    network, values = _network((16, 12, 16)), _dies(500, 16)
    values[3, 2] = 40.0
    first, second = (q.static_input for q in quantize(network, values, None, STATIC).layers)
    assert first is not None
    assert second is not None
    hidden = np.maximum(values @ network.layers[0].weight.T + network.layers[0].bias, 0)
    assert second.zero_point == -128
    assert second.scale == pytest.approx(hidden.max() / 255, rel=1e-6)
    top = (127 - first.zero_point) * first.scale
    assert top == pytest.approx(40.0, abs=first.scale)


@pytest.mark.parametrize("reading", [1e20, np.inf])
def test_a_die_out_of_range_sets_no_range(reading: float) -> None:
    network, values = _network((16, 12, 16)), _dies(500, 16)
    expected = quantize(network, values, None, STATIC).layers
    odd = np.concatenate([values, values[:1]])
    odd[-1, 2] = reading
    found = quantize(network, odd, None, STATIC).layers
    assert [q.static_input for q in found] == [q.static_input for q in expected]
    with pytest.raises(NotEnoughDataError, match="none in range of 1"):
        quantize(network, odd[-1:], None, STATIC)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=30),
    st.floats(0, 2),
)
def test_ranges_hold_their_dies_and_zero_is_exact(column: list[float], margin: float) -> None:
    values = np.tile(np.array(column, np.float32)[:, None], (1, 2))
    recipe = Int8Recipe(activations="static", range_margin=margin)
    static = quantize(_network((2, 2)), values, None, recipe).layers[0].static_input
    assert static is not None
    assert -128 <= static.zero_point <= 127
    assert float(np.float32(static.scale)) == static.scale > 0
    steps = values / static.scale + static.zero_point
    assert steps.min() >= -129.01
    assert steps.max() <= 128.01  # the zero point is rounded: at most a step is lost at one end


def test_a_scale_per_channel_costs_less_than_one_per_matrix() -> None:
    """Channels of unequal size: one scale per matrix spends its steps on the largest."""
    network = _network((64, 64))
    spread = np.geomspace(0.01, 10, 64).astype(np.float32)[:, None]
    layer = replace(network.layers[0], weight=network.layers[0].weight * spread)
    network, values = replace(network, layers=(layer,)), _dies(400, 64)
    exact = reconstruct(network, values)

    def error(recipe: Int8Recipe) -> float:
        y = simulate(quantize(network, values, None, recipe), values)
        return float(np.median(np.abs(y - exact)[:, :16]))

    for recipe in (Int8Recipe(), NEAREST):
        assert error(recipe) < error(replace(recipe, per_channel=False)) / 10


@pytest.mark.parametrize("recipe", [Int8Recipe(), STATIC, NEAREST])
@pytest.mark.parametrize("hidden", ["relu", "leaky_relu", "elu", "sigmoid", "tanh"])
def test_the_int8_form_is_near_the_network(hidden: ActivationKind, recipe: Int8Recipe) -> None:
    network, values = _network((48, 32, 8, 32, 48), hidden=hidden), _dies(600, 48)
    quantized = quantize(network, values, None, recipe)
    exact, y = reconstruct(network, values), simulate(quantized, values)
    assert np.sqrt(np.mean((y - exact) ** 2)) < 0.03 * np.sqrt(np.mean(exact**2))
    assert not np.array_equal(y, exact)


def test_bias_correction_makes_outputs_right_in_the_mean() -> None:
    """Through a relu a bias that is off stays off: the last layer's mean shows it."""
    network, values = _network((64, 32, 64), seed=5), _dies(800, 64)
    exact = reconstruct(network, values)

    def off(recipe: Int8Recipe) -> float:
        y = simulate(quantize(network, values, None, recipe), values)
        return float(np.abs((y - exact).mean(axis=0)).max())

    for recipe in (NEAREST, Int8Recipe()):
        assert off(recipe) < 1e-6
        assert off(replace(recipe, bias_correction=False)) > 1e-4


def test_dies_all_alike_leave_weights_near_where_they_were() -> None:
    network = _network((3, 8, 2, 8, 3))
    quantized = quantize(network, np.full((60, 3), 1.5, np.float32))
    exact, fresh = reconstruct(network, _dies(500, 3)), _dies(500, 3)
    error = simulate(quantized, fresh) - exact
    assert np.sqrt(np.mean(error**2)) < 0.1 * np.sqrt(np.mean(exact**2))


def test_dies_with_nothing_measured_calibrate_nothing() -> None:
    with pytest.raises(NotEnoughDataError, match="none in range of 5, 0 of which have any value"):
        quantize(_network((3, 3)), np.full((5, 3), np.nan, np.float32))


def test_weight_steps_tell_one_scale_per_matrix() -> None:
    network = _network((8, 4, 8))
    spread = np.array([1, 0.1, 0.02, 0], np.float32)[:, None]
    first = replace(network.layers[0], weight=network.layers[0].weight * spread)
    network = replace(network, layers=(first, network.layers[1]))
    largest = np.abs(first.weight).max(axis=1)
    one_scale = quantize(network, None, None, Int8Recipe(per_channel=False))
    assert weight_steps(one_scale)[0] == round(127 * largest[2] / largest[0])
    assert weight_steps(quantize(network)) == (127, 127)
    assert min(weight_steps(quantize(network, _dies(300, 8)))) >= 118


def test_missing_tests_enter_as_zero() -> None:
    network, values = _network((4, 4)), _dies(50, 4)
    with_nan = values.copy()
    with_nan[:, 1] = np.nan
    zeroed = values.copy()
    zeroed[:, 1] = 0
    a, b = (quantize(network, v, None, STATIC).layers[0] for v in (with_nan, zeroed))
    assert a.static_input == b.static_input


def test_a_die_is_rounded_in_units_of_its_own_largest_input() -> None:
    network = replace(
        _network((2, 2)), layers=(Dense(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)),)
    )
    u = np.array([[127.0, 0.6], [0.0127, 0.0], [0.0, 0.0], [1e6, -1e6]], np.float32)
    y = simulate(quantize(network), u)
    expected = [
        [127.0, 1.0],
        [0.0127, 0.0],
        [0.0, 0.0],
        [1e6, -1e6],
    ]  # 0.6 is rounded to a step of 1
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_a_network_without_layers_reconstructs_zero() -> None:
    network = replace(_network((3, 3)), layers=())
    quantized = quantize(network, _dies(5, 3))
    assert quantized.layers == ()
    assert not simulate(quantized, _dies(5, 3)).any()


def test_recipe_to_json_and_back() -> None:
    recipe = Int8Recipe("static", per_channel=False, range_margin=0.25, rounding="nearest")
    for other in (recipe, replace(recipe, smoothing=0.5, fill_spare_neurons=False)):
        assert Int8Recipe.from_json(other.to_json()) == other
    assert Int8Recipe.from_json("{}") == Int8Recipe(rounding="gptq")
    wrong = ("[1]", "{", '{"bits": 4}', '{"range_margin": -1}', '{"activations": "dynamic"}')
    more = ('{"rounding": "up"}', '{"smoothing": 1.5}', '{"bias_correction": "auto"}', "[" * 10**5)
    for text in (*wrong, *more):
        with pytest.raises(UsageError):
            Int8Recipe.from_json(text)


def test_nothing_to_calibrate_on_and_broken_weights() -> None:
    network = _network((3, 3))
    for values in (np.empty((0, 3), np.float32), None):
        with pytest.raises(NotEnoughDataError):
            quantize(network, values, None, STATIC)
    weight = network.layers[0].weight.copy()
    weight[0, 0] = np.nan
    broken = replace(network, layers=(replace(network.layers[0], weight=weight),))
    with pytest.raises(UsageError, match="weights of layer 0"):
        quantize(broken, _dies(9, 3))
