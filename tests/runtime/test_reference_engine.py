"""The reference engine against torch in float64, other people's engines, and its own promises."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference_models import (
    F32,
    HEADS,
    as_file,
    bits,
    both_precisions,
    dies_of,
    sealed_from,
    unit_screen,
    verified,
)

from knowngood._errors import OperatingPointError, UsageError
from knowngood._model_file import ModelFile, parse_model
from knowngood._network import Network, QuantizedDense, QuantizedNetwork
from knowngood.engines import open_engine
from knowngood.engines._reference import ReferenceEngine, score_sealed
from random_networks import ACTIVATIONS, make_manifest, make_network, without_layers

torch = pytest.importorskip("torch")


class InDoubles:
    """The whole model in torch, float64: scores, reconstruction and latent code."""

    def __init__(self, network: Network, values: np.ndarray, group: np.ndarray) -> None:
        scaler, head = network.screen.scaler, network.screen.head
        rows = scaler.rows(group, len(values))
        raw = torch.tensor(values.astype(np.float64))
        u = (raw - torch.tensor(scaler.centre[rows])) * torch.tensor(scaler.inv_scale[rows])
        present = ~u.isnan()
        u = torch.where(present, u, 0.0)
        y, self.latent = u, None
        for index, layer in enumerate(network.layers):
            weight, bias = (torch.tensor(a.astype(np.float64)) for a in (layer.weight, layer.bias))
            y = _activation(layer.activation)(torch.nn.functional.linear(y, weight, bias))
            self.latent = y.numpy() if index == network.latent_layer else self.latent
        y = y if network.layers else torch.zeros_like(u)
        self.reconstruction = y.numpy()
        z = torch.where(present, (u - y) * torch.tensor(head.residual_weight), 0.0)
        if head.low_rank is not None:
            project, subtract = map(torch.tensor, (head.low_rank.project, head.low_rank.subtract))
            part = z @ project.double().T @ subtract.double().T
            z = torch.where(present, z - part, 0.0)
        self.scores = _score(head, z, present).numpy()


def _activation(activation):
    kinds = torch.nn.functional
    return {
        "linear": lambda x: x,
        "relu": kinds.relu,
        "leaky_relu": lambda x: kinds.leaky_relu(x, activation.alpha),
        "elu": lambda x: kinds.elu(x, activation.alpha),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }[activation.kind]


def _score(head, z, present):
    n_present = present.sum(dim=1)
    if head.kind == "topk":
        largest = z.abs().topk(head.k, dim=1).values.sum(dim=1)
        gain, offset = (torch.tensor(a).double() for a in (head.present_gain, head.present_offset))
        return largest * gain[n_present] + offset[n_present]
    expected = torch.tensor(head.expected_square).double()
    return (z * z).sum(dim=1) * expected.mean() / (present * expected).sum(dim=1)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fp32_is_torch_in_doubles(activation, head):
    network = make_network((40, 20, 6, 20, 40), activation=activation, head=head, n_groups=3)
    values, group, rows = dies_of(network)
    oracle = InDoubles(network, values, group)
    result = score_sealed(sealed_from(network), "fp32", values, rows)
    error = np.abs(result.scores / oracle.scores - 1)
    assert np.median(error) <= 2e-7  # 1e-6 is asked of large networks
    assert error.max() <= 2e-6
    np.testing.assert_allclose(result.reconstruction, oracle.reconstruction, atol=3e-6)
    np.testing.assert_allclose(result.latent, oracle.latent, atol=3e-6)
    assert not result.rescored.any()


@pytest.mark.parametrize("head", HEADS)
def test_without_layers_every_test_is_expected_at_its_centre(head):
    network = without_layers(make_network((12, 4, 12), head=head))
    values, group, rows = dies_of(network)
    result = score_sealed(sealed_from(network), "fp32", values, rows)
    np.testing.assert_allclose(result.scores, InDoubles(network, values, group).scores, rtol=1e-6)
    assert bits(result.reconstruction) == np.zeros(values.shape, int).tolist()
    assert result.latent is None


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("activation", ["relu", "elu", "tanh", "sigmoid"])
@pytest.mark.parametrize("head", HEADS)
def test_other_peoples_engines_agree_in_fp32(kind, activation, head):
    network = make_network(activation=activation, head=head, n_groups=2)
    values, _, rows = dies_of(network)
    engine = open_engine(other_file(kind, network))
    result = score_sealed(sealed_from(network), "fp32", values, rows)
    np.testing.assert_allclose(engine.score(values, rows), result.scores, rtol=5e-6)
    np.testing.assert_allclose(
        engine.reconstruct(values, rows), result.reconstruction, atol=5e-6, rtol=5e-6
    )


def other_file(kind: str, network: Network) -> ModelFile:
    if kind == "onnx":
        writer = pytest.importorskip("knowngood_export.onnx_writer")
        pytest.importorskip("onnxruntime")
        return parse_model(writer.network_to_onnx(network, make_manifest(network)), "made.onnx")
    writer = pytest.importorskip("knowngood_export.tflite_writer")
    pytest.importorskip("ai_edge_litert")
    return parse_model(writer.network_to_tflite(network, make_manifest(network)), "made.tflite")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_int8_lies_as_close_as_its_rounding_allows(activation, head):
    """And not closer: fp32 layers in int8's place would."""
    network = make_network((40, 20, 6, 20, 40), activation=activation, head=head)
    values, group, rows = dies_of(network)
    oracle = InDoubles(network, values, group)
    found = score_sealed(both_precisions(network, values), "int8", values, rows).reconstruction
    error = np.abs(found - oracle.reconstruction)
    assert 1e-3 < np.median(error) < 2e-2


@pytest.mark.parametrize(("kind", "small"), [("relu", 1.0), ("linear", 0.0), ("leaky_relu", 0.0)])
def test_after_relu_int8_has_twice_the_levels(kind, small):
    """Of a layer's inputs 255 and 1, the smaller one is lost in 127 levels."""
    screen = unit_screen(without_layers(make_network((2, 2))).screen)
    weight = np.array([[127, 0], [0, 127]], np.int8)
    stretch = np.array([255 / 127**2, 1 / 127], F32)
    layers = tuple(
        QuantizedDense(weight, scale, np.zeros(2, F32), ACTIVATIONS[activation])
        for scale, activation in ((stretch, kind), (np.full(2, 1 / 127, F32), "linear"))
    )
    model = sealed_from(Network(screen, ()), QuantizedNetwork(Network(screen, ()), layers))
    y = score_sealed(model, "int8", np.array([[127, 1]], F32)).reconstruction
    np.testing.assert_allclose(y, [[255, small]], rtol=1e-6)


class TestEngine:
    def test_opens_in_the_precision_of_the_manifest(self):
        network = make_network()
        values, _, rows = dies_of(network)
        model = verified(both_precisions(network, values), 1e30, (0, 9e9), (0, 0))
        for precision in ("fp32", "int8", "verified"):
            engine = ReferenceEngine.open(as_file(model, precision))
            expected = score_sealed(model, precision, values, rows)
            np.testing.assert_array_equal(engine.score(values, rows), expected.scores)
            np.testing.assert_array_equal(engine.reconstruct(values, rows), expected.reconstruction)
            np.testing.assert_array_equal(engine.latent(values, rows), expected.latent)

    def test_another_operating_point_matters_to_verified_only(self):
        network = make_network()
        values, _, rows = dies_of(network)
        model = verified(both_precisions(network, values), 1e30, (0, 0), (0, 9e9))
        int8, fp32 = (ReferenceEngine(model, p) for p in ("int8", "fp32"))
        assert int8.at(0.02) is int8
        engine = ReferenceEngine(model, "verified")
        assert bits(engine.score(values, rows)) == bits(int8.score(values, rows))
        assert bits(engine.at(0.02).score(values, rows)) == bits(fp32.score(values, rows))
        with pytest.raises(OperatingPointError):
            engine.at(0.3)

    def test_refuses_what_it_cannot_do(self):
        network = make_network((12, 12))
        model = sealed_from(network)
        with pytest.raises(UsageError, match=r"no precision 'int8': it has fp32"):
            score_sealed(model, "int8", np.zeros((1, 12), F32))
        with pytest.raises(UsageError, match="no latent layer"):
            ReferenceEngine(model, "fp32").latent(np.zeros((1, 12), F32), None)
        foreign = replace(as_file(model), sealed=None, kind="onnx", path=Path("a.onnx"))
        with pytest.raises(UsageError, match=r"a\.onnx"):
            ReferenceEngine.open(foreign)

    def test_threads_share_it(self):
        network = make_network((40, 20, 6, 20, 40))
        values, _, rows = dies_of(network, 30)
        engine = ReferenceEngine(both_precisions(network, values), "int8")
        expected = engine.score(values, rows)
        found = [None] * 8

        def work(i: int) -> None:
            found[i] = engine.score(values[i:], rows[i:])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(8):
            np.testing.assert_array_equal(found[i], expected[i:])
