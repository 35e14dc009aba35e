"""GPTQ against exhaustive search on small layers, and what it is worth on correlated inputs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import reconstruct
from knowngood._network import Activation, Dense, Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_quantize._gptq import (
    DAMPING,
    GATED_INPUTS,
    LayerTask,
    RoundedLayer,
    round_in_turns,
    round_layer,
)
from knowngood_quantize.heads import unfitted_head
from knowngood_quantize.int8 import Int8Recipe, quantize, simulate

Float64 = NDArray[np.float64]

LINEAR, RELU = Activation(), Activation("relu")
NEAREST = Int8Recipe(rounding="nearest")


def _correlated(n_dies: int, n: int, share: float, seed: int) -> Float64:
    """Inputs of unit variance, ``share`` of it from n / 4 common factors."""
    rng = np.random.default_rng(seed)
    loads = np.random.default_rng(99).standard_normal((max(1, n // 4), n))
    common = rng.standard_normal((n_dies, len(loads))) @ (loads / np.linalg.norm(loads, axis=0))
    x: Float64 = np.sqrt(share) * common + np.sqrt(1 - share) * rng.standard_normal((n_dies, n))
    return x


def _weight(n_out: int, n_in: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n_out, n_in)).astype(np.float32)


def _to_nearest(weight: NDArray[np.float32]) -> Float64:
    scale = np.abs(weight).max(axis=1, keepdims=True).astype(np.float64) / 127
    rounded: Float64 = np.rint(weight / scale) * scale
    return rounded


def _whole(layer: RoundedLayer) -> Float64:
    return layer.weight.astype(np.float64) * layer.scale[:, None]


def _moved(x: Float64, error: Float64) -> float:
    """Variance of an error of the weights at the output, relative to nothing."""
    return float(np.var(x @ error.T, axis=0).mean())


def test_near_the_best_of_all_roundings_of_a_small_layer() -> None:
    """Exhaustive at the scale chosen: each of four weights up to four steps off."""
    offsets = np.array(list(itertools.product(range(-4, 5), repeat=4)))
    over_best, over_nearest = [], []
    for seed in range(40):
        mix = np.random.default_rng(seed).standard_normal((4, 4)) * [[1.0], [0.7], [0.4], [0.2]]
        x, weight = _correlated(300, 4, 0.0, seed) @ mix, _weight(1, 4, seed)
        layer = round_layer(weight, LayerTask(x, x @ weight.T.astype(np.float64), LINEAR))
        measure = np.cov(x.T, bias=True)
        measure += DAMPING * np.trace(measure) / 4 * np.eye(4)
        scale = float(layer.scale[0])
        steps = np.clip(np.rint(weight / scale) + offsets, -127, 127)

        def cost(error: Float64, measure: Float64 = measure) -> Float64:
            return np.asarray(np.einsum("ij,jk,ik->i", error, measure, error))

        found = float(cost(_whole(layer) - weight)[0])
        over_best.append(found / float(cost(steps * scale - weight).min()))
        over_nearest.append(found / float(cost(_to_nearest(weight) - weight)[0]))
    assert min(over_best) > 1 - 1e-6
    assert np.median(over_best) < 1.05
    assert np.mean(over_best) < 1.3
    assert max(over_nearest) < 1.001
    assert np.median(over_nearest) < 0.7


def test_worth_more_the_more_the_inputs_have_in_common() -> None:
    weight, gains = _weight(24, 64), []
    for share in (0.0, 0.5, 0.9, 0.99):
        x, fresh = _correlated(2000, 64, share, 1), _correlated(2000, 64, share, 2)
        layer = round_layer(weight, LayerTask(x, x @ weight.T.astype(np.float64), LINEAR))
        nearest = _moved(fresh, _to_nearest(weight) - weight)
        gains.append(nearest / _moved(fresh, _whole(layer) - weight))
    assert gains[0] > 0.95
    assert all(later > earlier for earlier, later in itertools.pairwise(gains))
    assert gains[-1] > 5


def test_an_error_of_the_layers_before_is_mended() -> None:
    """Inputs a tenth too small and off by a constant: weights and bias make up for both."""
    weight, x = _weight(8, 20), _correlated(500, 20, 0.5, 3)
    z = x @ weight.T.astype(np.float64) + 2.0
    layer = round_layer(weight, LayerTask(0.9 * x + 0.3, z, LINEAR))
    y = (0.9 * x + 0.3) @ _whole(layer).T + layer.bias
    assert np.sqrt(np.mean((y - z) ** 2)) < 0.03 * np.std(z)
    np.testing.assert_allclose((y - z).mean(axis=0), 0, atol=1e-6)
    untouched = 0.1 * (x @ weight.T)
    assert np.std(untouched) > 0.09 * np.std(z)


def test_dies_on_which_a_relu_is_shut_count_less() -> None:
    """On half of the dies other inputs vary, and the first input shuts every output."""
    weight, x = _weight(16, 48), _correlated(3000, 48, 0.5, 4)
    weight[:, 0] = -2
    x[::2, 24:], x[1::2, 1:24], x[:, 0] = 0, 0, np.where(np.arange(3000) % 2, 40, 0)
    z = x @ weight.T.astype(np.float64)
    is_open = z > 0
    assert not is_open[1::2].any()

    def error_where_open(activation: Activation) -> float:
        layer = round_layer(weight, LayerTask(x, z, activation))
        error = x @ _whole(layer).T + layer.bias - z
        return float(np.mean(error[is_open] ** 2))

    assert error_where_open(RELU) < 0.6 * error_where_open(LINEAR)


def test_outputs_of_a_wide_layer_share_a_hessian_whatever_follows() -> None:
    wide, narrow = GATED_INPUTS + 1, GATED_INPUTS
    x, weight = _correlated(600, wide, 0.9, 7), _weight(4, wide)

    def rounded_alike(n_in: int) -> bool:
        task = LayerTask(x[:, :n_in], x[:, :n_in] @ weight[:, :n_in].T.astype(np.float64), RELU)
        relu = round_layer(weight[:, :n_in], task)
        linear = round_layer(weight[:, :n_in], replace(task, activation=LINEAR))
        return np.array_equal(relu.weight, linear.weight)

    assert rounded_alike(wide)
    assert not rounded_alike(narrow)


def test_a_layer_wider_than_is_rounded_at_once() -> None:
    weight, x = _weight(3, 1100), _correlated(400, 1100, 0.95, 5)
    layer = round_layer(weight, LayerTask(x, x @ weight.T.astype(np.float64), LINEAR))
    assert layer.weight.shape == (3, 1100)
    assert np.abs(_whole(layer) - weight).max() < 0.1
    fresh = _correlated(400, 1100, 0.95, 6)
    nearest = _moved(fresh, _to_nearest(weight) - weight)
    assert _moved(fresh, _whole(layer) - weight) < 0.5 * nearest


@pytest.mark.parametrize("activation", [LINEAR, RELU])
def test_copies_make_up_for_each_others_error(activation: Activation) -> None:
    """Four copies of an output, each rounded alone, err alike; in turns their mean errs less."""
    weight, x = _weight(6, 40), _correlated(1500, 40, 0.5, 12)
    z = x @ weight.T.astype(np.float64)
    originals, turns = np.tile(np.arange(6), 4), np.repeat(np.arange(4), 6)
    task = LayerTask(x, z[:, originals], activation)

    def error(layer: RoundedLayer) -> float:
        found = activation.apply(layer.apply(x)).reshape(len(x), 4, 6).mean(axis=1)
        return float(np.sqrt(np.mean((found - activation.apply(z)) ** 2)))

    alone = round_layer(weight[originals], task)
    in_turns = round_in_turns(weight[originals], task, originals, turns)
    assert error(in_turns) < 0.5 * error(alone)
    np.testing.assert_array_equal(in_turns.weight[:6], alone.weight[:6])


@pytest.mark.parametrize("activation", [LINEAR, RELU])
def test_inputs_that_never_move_and_outputs_that_never_open(activation: Activation) -> None:
    weight, x = _weight(4, 6), _correlated(50, 6, 0.5, 7)
    weight[2] = 0
    x[:, [0, 3]] = [0.0, 5.0]
    z = x @ weight.T.astype(np.float64)
    z[:, 1] -= 1e3
    layer = round_layer(weight, LayerTask(x, z, activation))
    assert np.isfinite(layer.bias).all()
    assert (layer.scale > 0).all()
    assert not layer.weight[2].any()
    error = x @ _whole(layer).T + layer.bias - z
    assert np.abs(error).max() < 0.2


def test_one_die_is_enough_to_round_on() -> None:
    weight, x = _weight(4, 6), _correlated(1, 6, 0.5, 8)
    layer = round_layer(weight, LayerTask(x, x @ weight.T.astype(np.float64), RELU))
    assert np.abs(_whole(layer) - weight).max() < 0.1


def _network(widths: tuple[int, ...] = (48, 24, 8, 24, 48)) -> Network:
    layers = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        weight = _weight(n_out, n_in, i) ** 3 / np.float32(4 * np.sqrt(n_in))  # a few large ones
        layers.append(Dense(weight, _weight(1, n_out, 90 + i)[0] / 10, (RELU, LINEAR)[i % 2]))
    n = widths[0]
    scaler = Scaler(np.array([-1], np.int32), np.zeros((1, n)), np.ones((1, n)))
    return Network(Screen(Schema.anonymous(n), scaler, unfitted_head(n)), tuple(layers))


def _dies(n_dies: int, seed: int, n: int = 48) -> NDArray[np.float32]:
    return _correlated(n_dies, n, 0.9, seed).astype(np.float32)


@pytest.mark.parametrize(("activations", "gain"), [("per_die", 0.7), ("static", 0.9)])
def test_a_network_drifts_less_on_other_dies(activations: str, gain: float) -> None:
    """A static range leaves more to the rounding of inputs, which none of weights can mend."""
    network, fresh = _network(), _dies(3000, 11)
    exact = reconstruct(network, fresh)

    def error(rounding: str) -> float:
        recipe = Int8Recipe.from_json(
            f'{{"activations": "{activations}", "rounding": "{rounding}", '
            f'"bias_correction": {"true" if rounding == "gptq" else "false"}}}'
        )
        y = simulate(quantize(network, _dies(1500, 10), None, recipe), fresh)
        return float(np.sqrt(np.mean((y - exact) ** 2)))

    assert error("gptq") < gain * error("nearest")


def _same(a: Network, values: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    pairs = zip(quantize(a, values).layers, quantize(a, other).layers, strict=True)
    return all(
        np.array_equal(x, y)
        for p, q in pairs
        for x, y in ((p.weight, q.weight), (p.weight_scale, q.weight_scale), (p.bias, q.bias))
    )


def test_the_same_dies_give_the_same_weights() -> None:
    network, values = _network(), _dies(600, 12)
    assert _same(network, values, values.copy())
    assert not _same(network, values, values[:300])


def test_neither_a_wild_die_nor_an_unscorable_one_guides_the_rounding() -> None:
    network, values = _network(), _dies(600, 13)
    wild = np.concatenate([values, values[:2]])
    wild[-2, 5], wild[-1, 7] = 1e4, np.inf
    assert _same(network, values, wild)


def test_missing_tests_enter_as_zero() -> None:
    network, values = _network(), _dies(600, 14)
    missing = np.random.default_rng(0).random(values.shape) < 0.05
    with_nan = np.where(missing, np.float32(np.nan), values)
    assert _same(network, with_nan, np.where(missing, np.float32(0), values))


def test_without_dies_weights_go_to_the_nearest() -> None:
    network = _network()
    for rounded, layer in zip(quantize(network).layers, network.layers, strict=True):
        expected = np.rint(layer.weight / (np.abs(layer.weight).max(axis=1, keepdims=True) / 127))
        assert np.abs(rounded.weight - expected).max() <= 0  # half-way cases do not occur here
        assert rounded.bias is layer.bias
    with pytest.raises(NotEnoughDataError, match="none in range of 1"):
        quantize(network, np.full((1, 48), np.inf, np.float32))


def test_sums_that_could_overflow_are_refused() -> None:
    """255 · 127 · 66,312 is the first to reach beyond 2³¹ − 1."""

    def wide(n: int, activation: Activation) -> Network:
        first = Dense(np.ones((n, 1), np.float32), np.zeros(n, np.float32), activation)
        second = Dense(np.ones((1, n), np.float32), np.zeros(1, np.float32))
        return replace(_network((1, 1)), layers=(first, second))

    assert quantize(wide(66_311, RELU), None, None, NEAREST).layers[1].weight.min() == 127
    with pytest.raises(UsageError, match=r"layer 1 has 66,312 inputs.* 2,147,514,120"):
        quantize(wide(66_312, RELU), None, None, NEAREST)
    quantize(wide(66_312, LINEAR), None, None, NEAREST)  # inputs of 127 steps only
    with pytest.raises(UsageError, match=r"layer 1 has 70,000 inputs.* 2,266,950,000"):
        quantize(wide(70_000, RELU), _dies(20, 3)[:, :1])
