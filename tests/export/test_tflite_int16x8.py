"""The int16x8 file against integer arithmetic in NumPy, on XNNPACK and on the builtin kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from knowngood._forward import forward, score_residual
from knowngood._model_file import parse_model
from knowngood_export._tflite_int16 import INT16_WIDENING
from knowngood_export.tflite_writer import network_to_tflite, network_to_tflite_int16x8
from knowngood_quantize.int8 import Int8Recipe, quantize
from knowngood_quantize.static_ranges import RangedNetwork, ValueRange, with_static_ranges
from random_networks import ACTIVATIONS, make_dies, make_manifest, make_network, without_layers
from static_integers import int16x8

KERNELS = {
    "xnnpack": OpResolverType.AUTO,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}
WIDTHS = (48, 24, 8, 24, 48)
GPTQ, NEAREST = Int8Recipe(), Int8Recipe(rounding="nearest")


def make_ranged(
    widths: tuple[int, ...] = WIDTHS,
    n_dies: int = 200,
    recipe: Int8Recipe = GPTQ,
    **network,
) -> tuple[RangedNetwork, NDArray[np.float32], NDArray[np.int32]]:
    """A network with ranges, and the raw dies they were measured on."""
    plain = make_network(widths, **network)
    values, group = make_dies(plain, n_dies)
    quantized = quantize(plain, values, group, recipe)
    return with_static_ranges(quantized, values, group), values, group


def write(ranged: RangedNetwork) -> bytes:
    return network_to_tflite_int16x8(ranged, make_manifest(ranged.network, "int16x8"))


def run(
    ranged: RangedNetwork,
    values: NDArray[np.float32],
    group: NDArray[np.int32] | None = None,
    output: str = "score",
    kernels: str = "xnnpack",
) -> NDArray[np.float32]:
    interpreter = Interpreter(
        model_content=write(ranged), num_threads=1, experimental_op_resolver_type=KERNELS[kernels]
    )
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    index = {d["name"]: d["index"] for d in details}
    inputs = {"values": values}
    if "group_row" in index:
        inputs["group_row"] = ranged.network.screen.scaler.rows(group, len(values))
    for name, array in inputs.items():
        interpreter.resize_tensor_input(index[name], array.shape, strict=True)
    interpreter.allocate_tensors()
    for name, array in inputs.items():
        interpreter.set_tensor(index[name], array)
    interpreter.invoke()
    return interpreter.get_tensor(index[output])


def operators(data: bytes) -> dict[str, int]:
    model = schema.ModelT.InitFromPackedBuf(bytearray(data))
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if k.isupper()}
    return {names[c.builtinCode]: c.version for c in model.operatorCodes}


def types(data: bytes) -> dict[str, int]:
    model = schema.ModelT.InitFromPackedBuf(bytearray(data))
    return {t.name.decode(): t.type for t in model.subgraphs[0].tensors}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_file_computes_what_integers_compute(activation, kernels):
    ranged, values, group = make_ranged(activation=activation, n_groups=2)
    plain = forward(ranged.network, values, group)
    expected = int16x8(ranged, plain.standardised, INT16_WIDENING)
    found = run(ranged, values, group, "reconstruction", kernels)
    reach = ranged.ranges[-1]
    step = max(-reach.low, reach.high) * INT16_WIDENING / 32767
    error = np.abs(found - expected) / step
    # a tie in a hidden layer may fall the other way, which moves results by a step or two
    assert np.median(error) < 0.3
    assert error.max() < 6


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("head", ["topk", "mse", "normalized", "mahalanobis"])
def test_the_score_is_that_of_the_float_residual(head, kernels):
    ranged, values, _ = make_ranged(head=head)
    plain = forward(ranged.network, values)
    y = int16x8(ranged, plain.standardised, INT16_WIDENING)
    expected = score_residual(ranged.network.screen.head, plain.standardised - y, plain.present)
    found = run(ranged, values, kernels=kernels)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert np.isfinite(found).sum() > 150


def test_int16_activations_add_next_to_nothing_to_the_error_of_the_weights():
    ranged, values, _ = make_ranged((128, 64, 16, 64, 128))
    network = ranged.network
    rounded = replace(
        network,
        layers=tuple(
            replace(layer, weight=q.weight * q.weight_scale[:, None], bias=q.bias)
            for layer, q in zip(network.layers, ranged.layers, strict=True)
        ),
    )
    found = run(ranged, values, output="reconstruction")
    beside_weights = np.abs(found - forward(rounded, values).reconstruction)
    of_weights = np.abs(
        forward(network, values).reconstruction - forward(rounded, values).reconstruction
    )
    assert beside_weights.mean() < of_weights.mean() / 3


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_latent_is_given_in_float(activation):
    ranged, values, _ = make_ranged(activation=activation)
    network = ranged.network
    code = forward(network, values).standardised
    for layer in network.layers[: network.latent_layer + 1]:
        code = layer.activation.apply(code @ layer.weight.T + layer.bias)
    latent = run(ranged, values, output="latent")
    assert latent.dtype == np.float32
    np.testing.assert_allclose(latent, code, atol=0.02 * np.abs(code).max())


@pytest.mark.parametrize("kernels", KERNELS)
def test_no_score_below_min_present_at_infinity_or_out_of_range(kernels):
    ranged, _, _ = make_ranged((12, 4, 12))
    screen = ranged.network.screen
    centre, inv_scale = screen.scaler.centre[0], screen.scaler.inv_scale[0]
    values = np.tile(centre.astype(np.float32), (6, 1))
    values[0] = np.nan
    values[1, screen.head.min_present - 1 :] = np.nan
    values[2, 3] = np.inf
    values[3, 0] = centre[0] + 1.1 * 2.0**30 / inv_scale[0]
    values[4, 0] = centre[0] + 0.9 * 2.0**30 / inv_scale[0]
    scores = run(ranged, values, kernels=kernels)
    np.testing.assert_array_equal(np.isnan(scores), [True] * 4 + [False] * 2)
    assert scores[4] > 1e6


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_inputs_beyond_the_range_are_held_at_its_ends(sign, kernels):
    ranged, values, _ = make_ranged((12, 8, 12))
    scaler = ranged.network.screen.scaler
    reach = max(-ranged.ranges[0].low, ranged.ranges[0].high) * INT16_WIDENING
    u = sign * np.array([0.9999 * reach, 2 * reach, 1e6, 2.0**29])
    wild = np.repeat(values[:1], len(u), axis=0)
    wild[:, 5] = scaler.centre[0, 5] + u / scaler.inv_scale[0, 5]
    y = run(ranged, wild, output="reconstruction", kernels=kernels)
    np.testing.assert_array_equal(y[2:], y[[1, 1]])
    np.testing.assert_allclose(y[0], y[1], atol=1e-3 * np.abs(y).max())


@pytest.mark.parametrize("kernels", KERNELS)
def test_sums_that_int32_cannot_hold_are_added_in_int64(kernels):
    n_tests = 700  # 700 · 127 · 32,767 > 2³¹ − 1
    network = make_network((n_tests, 3, n_tests))
    network = replace(network, latent_layer=None)
    values, _ = make_dies(network, 20, missing=0.0)
    quantized = quantize(network, values)
    full = replace(
        quantized.layers[0],
        weight=np.full((3, n_tests), 127, dtype=np.int8),
        weight_scale=np.full(3, 1e-3, dtype=np.float32),
    )
    reach = with_static_ranges(quantized, values).ranges
    top = 1.0  # every input at the end of its range
    ranges = (ValueRange(-top, top), ValueRange(-200.0, 200.0), reach[2].widened(5))
    ranged = RangedNetwork(network, (full, quantized.layers[1]), ranges)
    found_types = types(write(ranged))
    assert found_types["bias_0"] == schema.TensorType.INT64
    assert found_types["bias_1"] == schema.TensorType.INT32
    scaler = network.screen.scaler
    u = np.tile(np.float32([[8.0], [-8.0]]), (1, n_tests))
    dies = (scaler.centre[0] + u / scaler.inv_scale[0]).astype(np.float32)
    expected = int16x8(ranged, u, INT16_WIDENING)
    found = run(ranged, dies, output="reconstruction", kernels=kernels)
    np.testing.assert_allclose(found, expected, atol=3e-3 * np.abs(expected).max())


def test_a_network_without_layers_scores_in_float():
    network = without_layers(make_network())
    values, _ = make_dies(network)
    ranged = with_static_ranges(quantize(network), values)
    expected = forward(network, values).scores
    np.testing.assert_allclose(run(ranged, values), expected, rtol=5e-6)


def test_operator_versions_are_those_of_old_runtimes():
    ranged, _, _ = make_ranged(activation="sigmoid")
    versions = operators(write(ranged))
    assert versions.pop("FULLY_CONNECTED") == 7
    assert versions.pop("QUANTIZE") == 2
    assert versions.pop("DEQUANTIZE") == 3
    assert set(versions.values()) == {1}


def test_relu_layers_hand_int16_to_each_other():
    ranged, _, _ = make_ranged(activation="relu")
    model = schema.ModelT.InitFromPackedBuf(bytearray(write(ranged)))
    kinds = [model.operatorCodes[o.opcodeIndex].builtinCode for o in model.subgraphs[0].operators]
    assert kinds.count(schema.BuiltinOperator.QUANTIZE) == 1
    assert kinds.count(schema.BuiltinOperator.FULLY_CONNECTED) == 4
    assert kinds.count(schema.BuiltinOperator.DEQUANTIZE) == 2  # latent and reconstruction


def test_same_network_gives_same_sealed_bytes():
    data = write(make_ranged()[0])
    assert data == write(make_ranged()[0])
    model = parse_model(data, "model.int16x8.tflite")
    assert model.manifest.precision == "int16x8"


def test_size_beside_the_float_file():
    widths = (512, 256, 128, 32, 128, 256, 512)
    ranged, _, _ = make_ranged(widths, n_dies=20, recipe=NEAREST)
    network = ranged.network
    aside = len(make_manifest(network, "fp32").to_json().encode())
    fp32 = len(network_to_tflite(network, make_manifest(network))) - aside
    aside = len(make_manifest(network, "int16x8").to_json().encode())
    assert fp32 / (len(write(ranged)) - aside) >= 3.4
