"""A scorer of a ``.kgd``: precisions, operating points with bands, latent codes, memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from knowngood import OperatingPointError, Scorer, UsageError, Verdict
from knowngood._blocks import BLOCK
from knowngood._forward import forward
from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._network import Network
from knowngood._opening import open_scorer
from knowngood._sealed import Band, SealedModel
from knowngood_export.tflite_full_int8 import network_to_full_int8
from knowngood_export.tflite_writer import network_to_tflite
from knowngood_quantize.int8 import quantize
from knowngood_quantize.static_ranges import with_static_ranges
from random_networks import without_layers
from sealed_models import seal_up
from tiny_models import tiny_manifest, tiny_network, tiny_onnx

NETWORK = tiny_network(groups=(-1, 256, 257))
GROUP = np.array([256, 257, 9, -1], dtype=np.int32)


def scorer_of(sealed: SealedModel, **options: object) -> Scorer:
    return open_scorer(parse_model(encode(sealed), "tiny.kgd"), **options)  # type: ignore[arg-type]


def some_dies(network: Network, n_dies: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    scaler = network.screen.scaler
    z = np.random.default_rng(seed).normal(size=(n_dies, network.screen.schema.n_tests))
    values = (scaler.centre[0] + z / scaler.inv_scale[0]).astype(np.float32)
    return values, np.resize(GROUP, n_dies)


def test_the_first_precision_of_the_file_is_taken_unless_another_is_asked_for() -> None:
    sealed = seal_up(NETWORK)
    values, group = some_dies(NETWORK, 200)
    expected = forward(NETWORK, values, group).scores
    scores = {}
    for precision in ("verified", "int8", "fp32"):
        scorer = scorer_of(sealed, precision=precision)
        assert (scorer.precision, scorer.engine_name) == (precision, "native")
        assert scorer.precisions == ("verified", "int8", "fp32")
        assert scorer.format == "kgd 1.0"
        scores[precision] = scorer.score(values, group).scores
    assert scorer_of(sealed).precision == "verified"
    np.testing.assert_allclose(scores["fp32"], expected, rtol=2e-6)
    assert (scores["int8"] != scores["fp32"]).mean() > 0.5
    np.testing.assert_allclose(scores["int8"], expected, rtol=0.1)
    is_int8 = scores["verified"] == scores["int8"]
    assert 0 < is_int8.sum() < 200
    np.testing.assert_array_equal(scores["verified"][~is_int8], scores["fp32"][~is_int8])


@pytest.mark.parametrize(
    ("precisions", "first", "refused"),
    [(("int8",), "int8", "verified"), (("fp32",), "fp32", "int8")],
)
def test_a_precision_that_is_not_in_the_file_is_refused(precisions, first, refused) -> None:
    sealed = seal_up(NETWORK, precisions=precisions)
    assert scorer_of(sealed).precision == first
    with pytest.raises(UsageError, match=rf"tiny\.kgd offers no precision '{refused}'.* {first}"):
        scorer_of(sealed, precision=refused)


def test_another_operating_point_rescores_in_its_own_band() -> None:
    """At 0.5 % every die lies in the band, at 2 % none: the first gives fp32, the other int8."""
    everywhere, nowhere = Band(-1.0, 1e6), Band(1.5, 1.5)
    bands = (everywhere, everywhere, nowhere)
    sealed = replace(seal_up(NETWORK), bands=bands, scale_limits=np.full(2, 1e6, np.float32))
    values, group = some_dies(NETWORK, 50)
    of = {p: scorer_of(sealed, precision=p).score(values, group).scores for p in ("int8", "fp32")}
    verified = scorer_of(sealed)
    assert verified.fpr == 0.005
    np.testing.assert_array_equal(verified.score(values, group).scores, of["fp32"])
    other = verified.at(0.02)
    np.testing.assert_array_equal(other.score(values, group).scores, of["int8"])
    np.testing.assert_array_equal(other.at(0.005).score(values, group).scores, of["fp32"])
    assert (other.precision, other.model_id) == ("verified", verified.model_id)
    with pytest.raises(OperatingPointError, match="no operating point"):
        verified.at(0.1)


def latent_oracle(network: Network, values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The first layer in float64; the tiny network's second layer is its last."""
    scaler, layer = network.screen.scaler, network.layers[0]
    row = [{256: 1, 257: 2}.get(g, 0) if len(scaler.groups) > 1 else 0 for g in group.tolist()]
    u = (values.astype(np.float64) - scaler.centre[row]) * scaler.inv_scale[row]
    x = np.where(np.isnan(u), 0, u) @ layer.weight.T.astype(np.float64) + layer.bias
    return np.maximum(x, 0)


@pytest.mark.parametrize("network", [NETWORK, tiny_network()], ids=["groups", "pooled"])
@pytest.mark.parametrize("kind", ["kgd", "onnx", "tflite"])
def test_encode_gives_the_latent_code(kind: str, network: Network) -> None:
    if kind == "kgd":
        scorer = scorer_of(seal_up(network), precision="fp32")
    else:
        write = tiny_onnx if kind == "onnx" else network_to_tflite
        scorer = open_scorer(parse_model(write(network, tiny_manifest(network)), f"tiny.{kind}"))
    values, group = some_dies(network, 40)
    values[1, 2] = values[2] = np.nan
    codes = scorer.encode(values, group)
    assert (codes.dtype, codes.shape) == (np.float32, (40, 3))
    np.testing.assert_allclose(codes, latent_oracle(network, values, group), rtol=1e-5, atol=1e-6)
    values[0, 0], values[3, 1] = np.inf, 1e20
    codes = scorer.encode(values, group)
    assert np.flatnonzero(np.isnan(codes).all(axis=1)).tolist() == [0, 3]
    assert np.flatnonzero(np.isnan(codes).any(axis=1)).tolist() == [0, 3]


def test_encode_takes_what_score_takes() -> None:
    scorer = scorer_of(seal_up(NETWORK), precision="int8")
    assert scorer.encode(np.empty((0, 6), np.float32)).shape == (0, 3)
    values, group = some_dies(NETWORK, BLOCK + 3)
    codes = scorer.encode(values, group)
    np.testing.assert_array_equal(codes[BLOCK:], scorer.encode(values[BLOCK:], group[BLOCK:]))
    np.testing.assert_array_equal(codes[:4], scorer.encode(values[:4].astype(">f8"), group[:4]))
    with pytest.raises(UsageError, match="5 tests, the model has 6"):
        scorer.encode(values[:, :5])


def test_a_full_integer_file_gives_no_latent_code() -> None:
    network = tiny_network()
    values, group = some_dies(network, 50)
    quantized = with_static_ranges(quantize(network, values, group), values, group)
    data = network_to_full_int8(quantized, tiny_manifest(network, "int8-full"))
    scorer = open_scorer(parse_model(data, "model.int8-full.tflite"))
    assert np.isfinite(scorer.score(values).scores).all()
    with pytest.raises(UsageError, match=r"int8-full\.tflite gives .* no latent code"):
        scorer.encode(values)


def test_a_model_without_a_latent_layer_says_so() -> None:
    pat = replace(without_layers(tiny_network()), detector="pat")
    scorer = scorer_of(seal_up(pat, precisions=("fp32",)))
    with pytest.raises(UsageError, match=r"tiny\.kgd has no latent layer.*'pat'"):
        scorer.encode(np.zeros((1, 6), np.float32))


@pytest.mark.parametrize("kind", ["kgd", "onnx"])
def test_score_into_needs_memory_for_a_block_and_not_for_the_lot(kind: str) -> None:
    network = tiny_network()
    data = tiny_onnx(network) if kind == "onnx" else encode(seal_up(network))
    scorer = open_scorer(parse_model(data, f"tiny.{kind}"))
    peaks = []
    for n_dies in (BLOCK, 8 * BLOCK):
        values, _ = some_dies(network, n_dies)
        scores, verdicts = np.empty(n_dies, np.float32), np.empty(n_dies, np.int8)
        reasons = np.empty(n_dies, np.int8)
        scorer.score_into(values, scores, verdicts, reasons)
        tracemalloc.start()
        scorer.score_into(values, scores, verdicts, reasons)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert set(verdicts.tolist()) == {Verdict.PASS, Verdict.REJECT}
    assert peaks[1] < 1.1 * peaks[0] + 2000
