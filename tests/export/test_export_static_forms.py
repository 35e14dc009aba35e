"""int16x8 and int8-full through the whole export: asked for, judged, written, loaded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from correlated_dies import correlated

import knowngood
from knowngood._errors import UsageError
from knowngood._forward import forward
from knowngood._network import Activation
from knowngood_export import _conversions, _make_files
from knowngood_export.export import export_trained
from knowngood_quantize.certificate import CertificateGates
from knowngood_quantize.int8 import Int8Recipe

PRECISIONS = ("int16x8", "int8-full")


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    return folder, export_trained(trained, folder, ("tflite",), PRECISIONS)


def test_both_files_are_written_with_their_drift(exported):
    folder, report = exported
    names = ["certificate.json", "model.int16x8.tflite", "model.int8-full.tflite"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert [f.form for f in report.forms] == [f"tflite {p}" for p in PRECISIONS]
    int16x8, full = (f.drift.error_median for f in report.forms)
    assert 0 < int16x8 < full < 0.25


@pytest.mark.parametrize("precision", PRECISIONS)
def test_load_gives_scores_near_the_trained_ones_and_the_yield_loss(exported, trained, precision):
    scorer = knowngood.load(exported[0] / f"model.{precision}.tflite")
    assert scorer.precision == precision
    values = correlated(5000, 4)
    result = scorer.score(values)
    expected = forward(trained.network, values).scores
    assert np.median(np.abs(result.scores - expected) / expected) < 0.1
    # 1,200 calibration and 5,000 new dies: a standard error of 0.0045
    assert 0.005 < np.mean(result.verdicts == knowngood.Verdict.REJECT) < 0.035


def test_they_are_tflite_only(trained, tmp_path):
    for precision in PRECISIONS:
        with pytest.raises(UsageError, match=f"{precision}' is written as tflite only"):
            export_trained(trained, tmp_path, ("onnx", "kgd"), (precision,))
    assert not list(tmp_path.iterdir())


def test_what_the_edge_tpu_cannot_run_is_refused_before_any_work(trained, tmp_path, monkeypatch):
    layers = tuple(
        replace(layer, activation=Activation("elu", 1.0)) for layer in trained.network.layers
    )
    elu = replace(trained, network=replace(trained.network, layers=layers))
    monkeypatch.setattr(_conversions, "quantize", None)
    monkeypatch.setattr(_make_files.TrainedScores, "of", None)
    with pytest.raises(UsageError, match="elu is not an operator of the Edge TPU"):
        export_trained(elu, tmp_path / "new", ("kgd", "tflite"), ("fp32", "int8-full"))
    assert not list(tmp_path.iterdir())


def test_one_scale_per_matrix_makes_int8_full_smaller(trained, exported, tmp_path):
    recipe, gates = Int8Recipe(per_channel=False), CertificateGates(weight_steps=0)
    report = export_trained(
        trained, tmp_path, ("tflite",), ("int8-full",), recipe=recipe, gates=gates
    )
    # of 55 output channels in 4 layers, each a float32 scale and an int64 zero point, twice
    saved = exported[1].forms[1].n_bytes_graph - report.forms[0].n_bytes_graph
    assert saved == pytest.approx((55 - 4) * 2 * 12, abs=200)
