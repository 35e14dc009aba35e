"""The engine around a full-integer file: everything but the layers is its own."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import knowngood
from knowngood import Reason, Verdict
from knowngood._errors import ModelFileError
from knowngood._forward import forward, score_residual
from knowngood._model_file import ModelFile, parse_model
from knowngood._network import Network
from knowngood.engines import open_engine
from knowngood_export.tflite_full_int8 import INT8_WIDENING, network_to_full_int8
from knowngood_export.tflite_writer import network_to_tflite
from knowngood_quantize.int8 import quantize
from knowngood_quantize.static_ranges import RangedNetwork, with_static_ranges
from random_networks import make_dies, make_manifest, make_network
from static_integers import full_int8, int8_step

pytest.importorskip("ai_edge_litert")
WIDTHS = (48, 24, 8, 24, 48)


def make_ranged(**network) -> tuple[RangedNetwork, NDArray[np.float32], NDArray[np.int32]]:
    plain = make_network(WIDTHS, **network)
    values, group = make_dies(plain, 200)
    return with_static_ranges(quantize(plain, values, group), values, group), values, group


def as_model(ranged: RangedNetwork, network: Network | None = None) -> ModelFile:
    manifest = make_manifest(network or ranged.network, "int8-full")
    return parse_model(network_to_full_int8(ranged, manifest), "model.int8-full.tflite")


@pytest.mark.parametrize("head", ["topk", "mse", "normalized", "mahalanobis"])
@pytest.mark.parametrize("n_groups", [1, 3])
def test_the_score_is_that_of_the_float_residual(head, n_groups):
    ranged, values, group = make_ranged(head=head, n_groups=n_groups)
    network = ranged.network
    engine = open_engine(as_model(ranged))
    rows = network.screen.scaler.rows(group, len(values)) if n_groups > 1 else None
    plain = forward(network, values, group)
    y = engine.reconstruct(values, rows)
    simulated = full_int8(ranged, plain.standardised, INT8_WIDENING)
    reach = ranged.ranges[-1].widened(INT8_WIDENING)
    assert np.abs(y - simulated).max() < 6 * int8_step(reach.low, reach.high)
    expected = score_residual(network.screen.head, plain.standardised - y, plain.present)
    np.testing.assert_allclose(engine.score(values, rows), expected, rtol=2e-6)
    assert np.isfinite(expected).sum() > 150


def test_a_wild_test_keeps_its_residual():
    ranged, _, _ = make_ranged(head="mse")
    scaler = ranged.network.screen.scaler
    wild = np.tile(scaler.centre[0].astype(np.float32), (2, 1))
    wild[1, 5] += np.float32(1000 / scaler.inv_scale[0, 5])
    scores = open_engine(as_model(ranged)).score(wild, None)
    # Σ r² over 48 tests: the reconstruction of a held input is at most some tens of sigma
    assert scores[1] == pytest.approx(1000**2 / 48, rel=0.1)
    assert scores[0] < 10


def test_dies_without_a_score():
    ranged, _, _ = make_ranged()
    screen = ranged.network.screen
    centre, inv_scale = screen.scaler.centre[0], screen.scaler.inv_scale[0]
    dies = np.tile(centre.astype(np.float32), (6, 1))
    dies[0] = np.nan
    dies[1, screen.head.min_present - 1 :] = np.nan
    dies[2, 3] = np.inf
    dies[3, 0] = centre[0] + 1.1 * 2.0**30 / inv_scale[0]
    dies[4, 0] = centre[0] + 0.9 * 2.0**30 / inv_scale[0]
    engine = open_engine(as_model(ranged))
    scores = engine.score(dies, None)
    np.testing.assert_array_equal(np.isnan(scores), [True] * 4 + [False] * 2)
    assert set(scores.view(np.uint32)[:4]) == {0x7FC00000}
    y = engine.reconstruct(dies, None)
    np.testing.assert_array_equal(np.isnan(y).all(axis=1), [False, False, True, True, False, False])


def test_load_and_verdicts(tmp_path: Path):
    ranged, values, _ = make_ranged()
    path = tmp_path / "model.int8-full.tflite"
    path.write_bytes(as_model(ranged).data)
    scorer = knowngood.load(path)
    assert (scorer.precision, scorer.engine_name) == ("int8-full", "litert")
    values[0] = np.nan
    result = scorer.score(values)
    expected = open_engine(as_model(ranged)).score(values, None)
    np.testing.assert_array_equal(result.scores, expected)
    assert result.verdicts[0] == Verdict.UNSCORED
    assert result.reasons[0] == Reason.NO_DATA
    passed = result.verdicts[1:] == Verdict.PASS
    np.testing.assert_array_equal(passed, expected[1:] <= np.float32(2.0))
    weight = ranged.network.screen.head.residual_weight
    u = forward(ranged.network, values[1:2]).standardised
    z = np.where(np.isnan(values[1:2]), 0, (u - scorer.reconstruct(values[1:2])) * weight)
    top = scorer.explain(values[1:2], k=1)[0]
    assert top.test == scorer.schema.tests[int(np.abs(z).argmax())]


def test_batch_sizes_may_change_from_call_to_call():
    ranged, values, _ = make_ranged()
    engine = open_engine(as_model(ranged))
    expected = engine.score(values, None)
    for n_dies in (1, 64, 2, 2, 33, 1):
        np.testing.assert_array_equal(engine.score(values[:n_dies], None), expected[:n_dies])


def test_eight_threads_on_one_engine():
    ranged, values, _ = make_ranged()
    engine = open_engine(as_model(ranged))
    expected = engine.score(values, None)
    wrong: list[str] = []

    def work(offset: int) -> None:
        for i in range(30):
            rows = slice(offset, offset + 1 + (offset + i) % 5)
            if not np.array_equal(engine.score(values[rows], None), expected[rows], equal_nan=True):
                wrong.append(f"{offset} {i}")

    threads = [threading.Thread(target=work, args=(7 * t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_complete_graph_that_says_it_is_int8_full_is_refused():
    network = make_network(WIDTHS)
    data = network_to_tflite(network, make_manifest(network, "int8-full"))
    with pytest.raises(ModelFileError, match=r"inputs are values float32 \(n, 48\).*standardised"):
        open_engine(parse_model(data, "model.int8-full.tflite"))


def test_layers_alone_that_say_they_are_complete_are_refused():
    ranged, _, _ = make_ranged()
    data = network_to_full_int8(ranged, make_manifest(ranged.network, "int8"))
    with pytest.raises(ModelFileError, match=r"inputs are standardised int8 \(n, 48\)"):
        open_engine(parse_model(data, "model.int8.tflite"))


def test_a_graph_of_another_width_than_its_schema_is_refused():
    ranged, _, _ = make_ranged()
    other = replace(make_network((12, 4, 12)), latent_layer=None)
    with pytest.raises(ModelFileError, match=r"\(n, 48\).*promises standardised int8 \(n, 12\)"):
        open_engine(as_model(ranged, other))
