"""ONNX files against the NumPy oracle, and the promises the file format makes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._forward import forward, score_residual
from knowngood._manifest import Manifest
from knowngood._network import LowRank, Network, QuantizedDense, QuantizedNetwork
from knowngood._seal import check_seal
from knowngood_export.onnx_writer import network_to_onnx
from random_networks import (
    ACTIVATIONS,
    make_dies,
    make_manifest,
    make_network,
    quantize_roughly,
    reconstruct_quantized,
    without_layers,
)

HEADS = ("topk", "mse", "normalized", "mahalanobis")


def open_session(data: bytes, optimised: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.optimized_model_filepath = optimised
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(
    network: Network | QuantizedNetwork,
    values: NDArray[np.float32],
    group: NDArray[np.int32] | None = None,
    output: str = "score",
) -> NDArray[np.float32]:
    plain = network.network if isinstance(network, QuantizedNetwork) else network
    session = open_session(network_to_onnx(network, make_manifest(plain)))
    feed = {"values": values}
    scaler = plain.screen.scaler
    if len(scaler.groups) > 1:
        feed["group_row"] = scaler.rows(group, len(values))
    return session.run([output], feed)[0]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_scores_agree_with_float64(activation, head):
    for n_groups, centre_over_sigma, missing in product((1, 3), (3.0, 1e6), (0.0, 0.1)):
        network = make_network(
            activation=activation,
            head=head,
            n_groups=n_groups,
            centre_over_sigma=centre_over_sigma,
        )
        values, group = make_dies(network, missing=missing)
        expected = forward(network, values, group)
        scores = run(network, values, group)
        np.testing.assert_allclose(scores, expected.scores, rtol=5e-6)
        assert np.isfinite(scores).any()


def test_reconstruction_and_latent_agree_with_float64():
    network = make_network(n_groups=2)
    values, group = make_dies(network)
    expected = forward(network, values, group)
    y = run(network, values, group, "reconstruction")
    np.testing.assert_allclose(y, expected.reconstruction, rtol=1e-5, atol=1e-6)
    code = expected.standardised.astype(np.float64)
    for layer in network.layers[: network.latent_layer + 1]:
        code = layer.activation.apply(code @ layer.weight.T + layer.bias)
    np.testing.assert_allclose(run(network, values, group, "latent"), code, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_network_without_layers_expects_every_test_at_its_centre(head):
    network = without_layers(make_network(head=head))
    values, _ = make_dies(network)
    expected = forward(network, values)
    np.testing.assert_allclose(run(network, values), expected.scores, rtol=5e-6)
    assert not run(network, values, output="reconstruction").any()


def _with_offset(network: Network, offset: NDArray[np.float32]) -> Network:
    head = replace(network.screen.head, present_offset=offset)
    return replace(network, screen=replace(network.screen, head=head))


def test_topk_offset_by_tests_present():
    network = make_network((12, 4, 12))
    values, _ = make_dies(network, 9, missing=0.0)
    for die in range(9):
        values[die, 12 - die :] = np.nan  # die d misses d of 12 tests; 4 must be present
    offset = (np.arange(12, -1, -1) ** 2 / 8).astype(np.float32)
    plain = _with_offset(network, np.zeros_like(offset))
    network = _with_offset(network, offset)
    added = run(network, values) - run(plain, values)
    np.testing.assert_allclose(added, np.arange(9) ** 2 / 8, atol=1e-5)


def test_an_offset_that_is_zero_is_not_in_the_graph():
    network = make_network((12, 4, 12))
    offset = network.screen.head.present_offset
    network = _with_offset(network, np.zeros_like(offset))
    model = onnx.load_from_string(network_to_onnx(network, make_manifest(network)))
    assert "Add" not in {node.op_type for node in model.graph.node}


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


@pytest.mark.parametrize("head", HEADS)
def test_no_score_below_min_present_at_infinity_or_out_of_range(head):
    network = make_network((12, 4, 12), head=head)
    values, _ = make_dies(network, 6, missing=0.0)
    centre, inv_scale = network.screen.scaler.centre[0], network.screen.scaler.inv_scale[0]
    values[0] = np.nan
    values[1, network.screen.head.min_present - 1 :] = np.nan
    values[2, 3] = np.inf
    values[3, 0] = centre[0] + 1.1 * 2.0**30 / inv_scale[0]
    values[4, 0] = centre[0] + 0.9 * 2.0**30 / inv_scale[0]
    scores = run(network, values)
    np.testing.assert_array_equal(np.isnan(scores), [True] * 4 + [False] * 2)
    assert np.isfinite(scores[4:]).all()


def test_a_score_beyond_float32_is_nan():
    network = make_network((12, 4, 12), head="mse")
    head = replace(network.screen.head, residual_weight=np.full(12, 1e19, np.float32))
    network = replace(network, screen=replace(network.screen, head=head))
    values, _ = make_dies(network, 3, missing=0.0)
    values[0] = network.screen.scaler.centre[0] + 1e3 / network.screen.scaler.inv_scale[0]
    values[1] = values[0]
    assert np.isnan(run(network, values)).all()


@pytest.mark.parametrize("subtract", [0.0, 1e-30])
def test_a_score_whose_shared_part_overflows_is_nan(subtract):
    network = make_network((12, 4, 12), head="mahalanobis")
    low_rank = LowRank(np.full((1, 12), 1e38, np.float32), np.full((12, 1), subtract, np.float32))
    head = replace(network.screen.head, low_rank=low_rank)
    network = replace(network, screen=replace(network.screen, head=head))
    values, _ = make_dies(network, 2, missing=0.0)
    values[0] = network.screen.scaler.centre[0] + 1e3 / network.screen.scaler.inv_scale[0]
    assert np.isnan(run(network, values)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38])
def test_weights_that_cannot_give_a_score_are_refused(bad):
    network = make_network()
    network.layers[1].weight[2, 3] = bad
    with pytest.raises(UsageError, match="layer 1 has weights"):
        network_to_onnx(network, make_manifest(network))


def test_latent_code_is_a_hidden_layer():
    network = replace(make_network(), latent_layer=3)
    with pytest.raises(UsageError, match="from 0 to 2"):
        network_to_onnx(network, make_manifest(network))


@pytest.mark.parametrize("n_groups", [1, 3])
def test_file_is_opset_17_ir_8_and_plain(n_groups):
    network = make_network(n_groups=n_groups)
    model = onnx.load_from_string(network_to_onnx(network, make_manifest(network)))
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.producer_name) == (8, "knowngood")
    assert [(i.domain, i.version) for i in model.opset_import] == [("", 17)]
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    expected = {
        "values": ["n", 12],
        "score": ["n"],
        "reconstruction": ["n", 12],
        "latent": ["n", 4],
    }
    assert shapes == (expected | {"group_row": ["n"]} if n_groups > 1 else expected)


def test_same_network_gives_same_sealed_bytes():
    network = make_network()
    data = network_to_onnx(network, make_manifest(network))
    assert data == network_to_onnx(make_network(), make_manifest(network))
    assert len(check_seal(data, "model.onnx")) == 64
    metadata = {p.key: p.value for p in onnx.load_from_string(data).metadata_props}
    assert Manifest.from_json(metadata["knowngood.manifest"]).widths == network.widths


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("static", [False, True])
def test_int8_computes_what_integers_compute(activation, static):
    network = make_network((48, 24, 8, 24, 48), activation=activation)
    values, _ = make_dies(network, 200)
    plain = forward(network, values)
    quantized = quantize_roughly(network, plain.standardised, static=static)
    y = reconstruct_quantized(quantized, plain.standardised)
    expected = score_residual(network.screen.head, plain.standardised - y, plain.present)
    scores = run(quantized, values)
    error = np.abs(scores - expected) / expected
    # a rounding tie that falls the other way moves a score by a step of one layer
    assert np.nanmedian(error) < 1e-5
    assert np.nanmax(error) < 0.02
    assert np.nanmedian(np.abs(scores - plain.scores) / plain.scores) > 1e-4


@pytest.mark.parametrize("static", [False, True])
def test_int8_layers_run_as_integer_kernels(tmp_path, static):
    network = make_network((48, 24, 8, 24, 48))
    values, _ = make_dies(network, 200)
    quantized = quantize_roughly(network, forward(network, values).standardised, static=static)
    path = str(tmp_path / "optimised.onnx")
    open_session(network_to_onnx(quantized, make_manifest(network)), optimised=path)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("QGemm") == len(network.layers)
    assert not {"Gemm", "FusedGemm", "MatMul"} & set(operators)


def test_int8_keeps_a_bias_that_dwarfs_its_weights():
    network = make_network((12, 8, 12))
    values, _ = make_dies(network, 100)
    plain = forward(network, values)
    quantized = quantize_roughly(network, plain.standardised, static=True)
    first = quantized.layers[0]
    weight_scale = first.weight_scale.copy()
    weight_scale[2] = 1e-12
    changed = replace(first, weight_scale=weight_scale, bias=first.bias + np.float32(0.5))
    layers: tuple[QuantizedDense, ...] = (changed, quantized.layers[1])
    quantized = replace(quantized, layers=layers)
    y = reconstruct_quantized(quantized, plain.standardised)
    got = run(quantized, values, output="reconstruction")
    np.testing.assert_allclose(got, y, atol=0.05)


def test_int8_follows_a_die_far_beyond_all_others():
    network = make_network((48, 24, 8, 24, 48))
    values, _ = make_dies(network, 50)
    values[0] = (network.screen.scaler.centre[0] * 100 + 1000).astype(np.float32)
    plain = forward(network, values)
    got = run(quantize_roughly(network, plain.standardised), values, output="reconstruction")
    error = np.abs(got - plain.reconstruction).max(axis=1)
    assert (error < 0.1 * np.abs(plain.reconstruction).max(axis=1) + 0.1).all()


def test_int8_graph_is_three_and_a_half_times_smaller():
    network = make_network((512, 256, 128, 32, 128, 256, 512))
    values, _ = make_dies(network, 50)
    quantized = quantize_roughly(network, forward(network, values).standardised)
    manifest = make_manifest(network)
    aside = len(manifest.to_json().encode())
    fp32 = len(network_to_onnx(network, manifest)) - aside
    int8 = len(network_to_onnx(quantized, manifest)) - aside
    assert fp32 / int8 >= 3.5
