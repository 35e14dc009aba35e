"""TFLite files against the NumPy oracle, on XNNPACK and on the builtin kernels."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._forward import forward, score_residual
from knowngood._manifest import Manifest
from knowngood._network import Network, QuantizedNetwork
from knowngood._seal import check_seal
from knowngood_export.tflite_writer import network_to_tflite
from random_networks import (
    ACTIVATIONS,
    make_dies,
    make_manifest,
    make_network,
    quantize_roughly,
    without_layers,
)

HEADS = ("topk", "mse", "normalized", "mahalanobis")
KERNELS = {
    "xnnpack": OpResolverType.AUTO,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


def open_interpreter(data: bytes, kernels: str = "xnnpack") -> Interpreter:
    return Interpreter(
        model_content=data,
        num_threads=1,
        experimental_op_resolver_type=KERNELS[kernels],
    )


def run(
    network: Network | QuantizedNetwork,
    values: NDArray[np.float32],
    group: NDArray[np.int32] | None = None,
    output: str = "score",
    kernels: str = "xnnpack",
) -> NDArray[np.float32]:
    plain = network.network if isinstance(network, QuantizedNetwork) else network
    interpreter = open_interpreter(network_to_tflite(network, make_manifest(plain)), kernels)
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    index = {d["name"]: d["index"] for d in details}
    inputs = {"values": values}
    if "group_row" in index:
        inputs["group_row"] = plain.screen.scaler.rows(group, len(values))
    for name, array in inputs.items():
        interpreter.resize_tensor_input(index[name], array.shape, strict=True)
    interpreter.allocate_tensors()
    for name, array in inputs.items():
        interpreter.set_tensor(index[name], array)
    interpreter.invoke()
    return interpreter.get_tensor(index[output])


def reconstruct_die_by_die(
    quantized: QuantizedNetwork, u: NDArray[np.float32]
) -> NDArray[np.float64]:
    """int8 weights, inputs in 256 steps between each die's own extremes (TFLite's hybrid rule)."""
    a = u.astype(np.float64)
    for layer in quantized.layers:
        low, high = np.minimum(a.min(axis=1), 0), np.maximum(a.max(axis=1), 0)
        scale = np.where(high > low, (high - low) / 255, 1.0)[:, None]
        zero = np.rint(-128 - low[:, None] / scale)
        a = (np.clip(np.rint(a / scale + zero), -128, 127) - zero) * scale
        weight = layer.weight * layer.weight_scale[:, None].astype(np.float64)
        a = layer.activation.apply(a @ weight.T + layer.bias)
    return a


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_scores_agree_with_float64(activation, head, kernels):
    for n_groups, centre_over_sigma, missing in product((1, 3), (3.0, 1e6), (0.0, 0.1)):
        network = make_network(
            activation=activation,
            head=head,
            n_groups=n_groups,
            centre_over_sigma=centre_over_sigma,
        )
        values, group = make_dies(network, missing=missing)
        expected = forward(network, values, group)
        scores = run(network, values, group, kernels=kernels)
        np.testing.assert_allclose(scores, expected.scores, rtol=5e-6)
        assert np.isfinite(scores).any()


@pytest.mark.parametrize("kernels", KERNELS)
def test_reconstruction_and_latent_agree_with_float64(kernels):
    network = make_network(n_groups=2)
    values, group = make_dies(network)
    expected = forward(network, values, group)
    y = run(network, values, group, "reconstruction", kernels)
    np.testing.assert_allclose(y, expected.reconstruction, rtol=1e-5, atol=1e-6)
    code = expected.standardised.astype(np.float64)
    for layer in network.layers[: network.latent_layer + 1]:
        code = layer.activation.apply(code @ layer.weight.T + layer.bias)
    latent = run(network, values, group, "latent", kernels)
    np.testing.assert_allclose(latent, code, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_network_without_layers_expects_every_test_at_its_centre(head):
    network = without_layers(make_network(head=head))
    values, _ = make_dies(network)
    expected = forward(network, values)
    np.testing.assert_allclose(run(network, values), expected.scores, rtol=5e-6)
    assert not run(network, values, output="reconstruction").any()


def test_elu_with_alpha_one():
    network = make_network(activation="elu")
    layers = [
        replace(layer, activation=replace(layer.activation, alpha=1.0))
        if layer.activation.kind == "elu"
        else layer
        for layer in network.layers
    ]
    network = replace(network, layers=tuple(layers))
    values, _ = make_dies(network)
    np.testing.assert_allclose(run(network, values), forward(network, values).scores, rtol=5e-6)


def _with_offset(network: Network, offset: NDArray[np.float32]) -> Network:
    head = replace(network.screen.head, present_offset=offset)
    return replace(network, screen=replace(network.screen, head=head))


@pytest.mark.parametrize("kernels", KERNELS)
def test_topk_offset_by_tests_present(kernels):
    network = make_network((12, 4, 12))
    values, _ = make_dies(network, 9, missing=0.0)
    for die in range(9):
        values[die, 12 - die :] = np.nan  # die d misses d of 12 tests; 4 must be present
    offset = (np.arange(12, -1, -1) ** 2 / 8).astype(np.float32)
    plain = _with_offset(network, np.zeros_like(offset))
    network = _with_offset(network, offset)
    added = run(network, values, kernels=kernels) - run(plain, values, kernels=kernels)
    np.testing.assert_allclose(added, np.arange(9) ** 2 / 8, atol=1e-5)


def test_an_offset_that_is_zero_is_not_in_the_graph():
    network = make_network((12, 4, 12))
    offset = network.screen.head.present_offset
    network = _with_offset(network, np.zeros_like(offset))
    data = network_to_tflite(network, make_manifest(network))
    model = schema.ModelT.InitFromPackedBuf(bytearray(data))
    assert schema.BuiltinOperator.ADD not in {c.builtinCode for c in model.operatorCodes}


@settings(max_examples=25, deadline=None)
@given(
    n_tests=st.integers(1, 40),
    n_dies=st.integers(1, 5),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
def test_any_width_and_batch(n_tests, n_dies, missing, seed):
    network = make_network((n_tests, 3, n_tests), seed=seed)
    values, _ = make_dies(network, n_dies, missing=missing, seed=seed)
    expected = forward(network, values).scores
    # where y comes near u their difference keeps the rounding of u
    np.testing.assert_allclose(run(network, values), expected, rtol=5e-6, atol=2e-6)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("head", HEADS)
def test_no_score_below_min_present_at_infinity_or_out_of_range(head, precision, kernels):
    network = make_network((12, 4, 12), head=head)
    values, _ = make_dies(network, 6, missing=0.0)
    written = quantize_roughly(network, forward(network, values).standardised)
    centre, inv_scale = network.screen.scaler.centre[0], network.screen.scaler.inv_scale[0]
    values[0] = np.nan
    values[1, network.screen.head.min_present - 1 :] = np.nan
    values[2, 3] = np.inf
    values[3, 0] = centre[0] + 1.1 * 2.0**30 / inv_scale[0]
    values[4, 0] = centre[0] + 0.9 * 2.0**30 / inv_scale[0]
    scores = run(network if precision == "fp32" else written, values, kernels=kernels)
    np.testing.assert_array_equal(np.isnan(scores), [True] * 4 + [False] * 2)
    assert np.isfinite(scores[4:]).all()


def test_weights_that_cannot_give_a_score_are_refused():
    network = make_network()
    network.layers[1].bias[2] = np.nan
    with pytest.raises(UsageError, match="layer 1 has weights"):
        network_to_tflite(network, make_manifest(network))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_int8_computes_what_integers_compute(activation, kernels):
    network = make_network((48, 24, 8, 24, 48), activation=activation)
    values, _ = make_dies(network, 200)
    plain = forward(network, values)
    quantized = quantize_roughly(network, plain.standardised)
    y = reconstruct_die_by_die(quantized, plain.standardised)
    expected = score_residual(network.screen.head, plain.standardised - y, plain.present)
    scores = run(quantized, values, kernels=kernels)
    error = np.abs(scores - expected) / expected
    # a rounding tie that falls the other way moves a score by a step of one layer
    assert np.nanmedian(error) < 2e-3
    assert np.nanmax(error) < 0.03
    floor = np.nanmedian(np.abs(scores - plain.scores) / plain.scores)
    assert floor > 2 * np.nanmedian(error)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_die_scores_the_same_in_any_batch(precision):
    network = make_network((48, 24, 8, 24, 48))
    values, _ = make_dies(network, 9)
    values[3] *= 50
    quantized = quantize_roughly(network, forward(network, values).standardised)
    written = network if precision == "fp32" else quantized
    together = run(written, values)
    alone = np.concatenate([run(written, values[i : i + 1]) for i in range(len(values))])
    np.testing.assert_allclose(together, alone, rtol=2e-6)


def test_int8_keeps_a_bias_that_dwarfs_its_weights():
    network = make_network((12, 8, 12))
    values, _ = make_dies(network, 100)
    plain = forward(network, values)
    quantized = quantize_roughly(network, plain.standardised)
    first = quantized.layers[0]
    weight_scale = first.weight_scale.copy()
    weight_scale[2] = np.finfo(np.float32).tiny
    changed = replace(first, weight_scale=weight_scale, bias=first.bias + np.float32(7))
    quantized = replace(quantized, layers=(changed, quantized.layers[1]))
    y = reconstruct_die_by_die(quantized, plain.standardised)
    got = run(quantized, values, output="reconstruction")
    np.testing.assert_allclose(got, y, atol=0.05)


@pytest.mark.parametrize("n_groups", [1, 3])
def test_names_shapes_and_signature(n_groups):
    network = make_network(n_groups=n_groups)
    interpreter = open_interpreter(network_to_tflite(network, make_manifest(network)))
    inputs = {
        d["name"]: (d["dtype"], list(d["shape_signature"])) for d in interpreter.get_input_details()
    }
    expected = {"values": (np.float32, [-1, 12])}
    if n_groups > 1:
        expected["group_row"] = (np.int32, [-1])
    assert inputs == expected
    outputs = {d["name"]: list(d["shape_signature"]) for d in interpreter.get_output_details()}
    assert outputs == {"score": [-1], "reconstruction": [-1, 12], "latent": [-1, 4]}
    signature = interpreter.get_signature_list()["serving_default"]
    assert set(signature["inputs"]) == set(expected)
    assert set(signature["outputs"]) == set(outputs)


def test_same_network_gives_same_sealed_bytes():
    network = make_network()
    data = network_to_tflite(network, make_manifest(network))
    assert data == network_to_tflite(make_network(), make_manifest(network))
    assert len(check_seal(data, "model.tflite")) == 64
    model = schema.ModelT.InitFromPackedBuf(bytearray(data))
    texts = {m.name.decode(): bytes(model.buffers[m.buffer].data) for m in model.metadata}
    assert Manifest.from_json(texts["knowngood.manifest"]).widths == network.widths


def test_every_constant_is_aligned_to_16_bytes():
    network = make_network()
    data = network_to_tflite(network, make_manifest(network))
    model = schema.Model.GetRootAs(data, 0)
    starts = [
        model.Buffers(i)._tab.Vector(model.Buffers(i)._tab.Offset(4))
        for i in range(1, model.BuffersLength())
    ]
    assert len(starts) > 10
    assert not any(start % 16 for start in starts)


def test_operator_versions_are_those_of_old_runtimes():
    network = make_network()
    values, _ = make_dies(network)
    quantized = quantize_roughly(network, forward(network, values).standardised)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if k.isupper()}
    for written, fully_connected in ((network, 1), (quantized, 9)):
        data = network_to_tflite(written, make_manifest(network))
        model = schema.ModelT.InitFromPackedBuf(bytearray(data))
        versions = {names[c.builtinCode]: c.version for c in model.operatorCodes}
        assert versions.pop("FULLY_CONNECTED") == fully_connected
        assert set(versions.values()) == {1}


def test_int8_graph_is_three_and_a_half_times_smaller():
    network = make_network((512, 256, 128, 32, 128, 256, 512))
    values, _ = make_dies(network, 50)
    quantized = quantize_roughly(network, forward(network, values).standardised)
    manifest = make_manifest(network)
    aside = len(manifest.to_json().encode())
    fp32 = len(network_to_tflite(network, manifest)) - aside
    int8 = len(network_to_tflite(quantized, manifest)) - aside
    assert fp32 / int8 >= 3.5


def test_static_activations_are_refused():
    network = make_network((12, 8, 12))
    values, _ = make_dies(network, 20)
    quantized = quantize_roughly(network, forward(network, values).standardised, static=True)
    with pytest.raises(UsageError, match="ONNX only"):
        network_to_tflite(quantized, make_manifest(network))
