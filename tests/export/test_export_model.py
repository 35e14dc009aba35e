"""The whole export: files on disk against torch, gates, and what a failure leaves behind."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from correlated_dies import N_TESTS, correlated
from torch import nn

from knowngood._errors import GateError, NotEnoughDataError, UsageError
from knowngood._manifest import Drift
from knowngood._model_file import read_model
from knowngood._network import POOLED_GROUP
from knowngood._schema import Purpose, Schema, Test
from knowngood.engines import open_engine
from knowngood_export import _forms
from knowngood_export._foreign import Request, trained_from_module
from knowngood_export._forms import Form
from knowngood_export._gates import require_fp32
from knowngood_export.export import export_model, export_trained
from knowngood_quantize.certificate import CertificateGates, FormLimits
from knowngood_quantize.scaling import fit_scaler

MODELS = ["model.int8.onnx", "model.int8.tflite", "model.kgd", "model.onnx", "model.tflite"]
FILES = ["certificate.json", *MODELS]


@pytest.fixture(scope="module")
def exported(autoencoder, good, tmp_path_factory):
    module, scaler = autoencoder
    folder = tmp_path_factory.mktemp("exported") / "new" / "folder"
    report = export_model(module, good, folder, scaler=scaler, fpr=0.02)
    return folder, report


def test_writes_every_form_and_nothing_else(exported):
    folder, report = exported
    assert sorted(p.name for p in folder.iterdir()) == FILES
    assert [f.form for f in report.forms] == [
        "kgd fp32",
        "kgd int8",
        "onnx fp32",
        "onnx int8",
        "tflite fp32",
        "tflite int8",
    ]
    for form in report.forms:
        assert form.path.stat().st_size == form.n_bytes > form.n_bytes_graph > 1000
        assert form.conversion_s < 1
        assert form.precision == form.form.split()[1]
        assert form.precision in read_model(form.path).precisions
    assert sorted(p.name for p in report.paths) == MODELS
    assert report.notes == ()


def test_reconstructions_are_those_of_torch(autoencoder, exported):
    module, scaler = autoencoder
    values = correlated(64, 3)
    u = scaler.standardise(values, np.zeros(64, np.int32))
    with torch.no_grad():
        expected = module(torch.from_numpy(u)).numpy()
    for name in ("model.onnx", "model.tflite"):
        engine = open_engine(read_model(exported[0] / name))
        np.testing.assert_allclose(engine.reconstruct(values, None), expected, atol=2e-6)


def test_every_form_rejects_its_yield_loss_of_unseen_good_dies(exported):
    folder, _ = exported
    values = correlated(5000, 4)
    for name in MODELS:
        model = read_model(folder / name)
        point = model.manifest.screen.operating_point(0.02)
        rejected = (open_engine(model).score(values, None) > point.threshold).mean()
        # 1,200 calibration and 5,000 new dies: a standard error of 0.0045
        assert 0.005 < rejected < 0.035
        assert model.manifest.screen.default_fpr == 0.02


def test_each_form_has_thresholds_and_drift_of_its_own(exported):
    folder, report = exported
    thresholds, drifts = set(), {}
    forms = [f for f in report.forms if f.path.suffix == ".onnx"]
    for name, form in zip(("model.onnx", "model.int8.onnx"), forms, strict=True):
        manifest = read_model(folder / name).manifest
        thresholds.add(manifest.screen.operating_point(0.02).threshold)
        (drifts[form.form],) = manifest.drift
        assert manifest.drift == (form.drift,)
        assert form.drift.form.startswith(f"{form.form} (onnxruntime ")
        assert form.drift.n_good == 1200
        assert form.drift.n_defective > 1000
    assert len(thresholds) == 2
    assert drifts["onnx fp32"].error_worst <= 5e-6
    assert drifts["onnx int8"].error_median > 1e-4


def test_only_what_is_asked_for_is_written(trained, tmp_path):
    export_trained(trained, tmp_path, ["tflite"], ["int8"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["certificate.json", "model.int8.tflite"]


def test_schema_and_groups_go_into_the_files(autoencoder, good, tmp_path):
    tests = tuple(Test(1000 + i, f"VDD_{i}", units="V") for i in range(N_TESTS))
    schema = Schema(tests, Purpose(part_type="K7"))
    site = (np.arange(1200) % 2).astype(np.int32)
    shifted = good[:1200] + 40 * site[:, None].astype(np.float32)
    report = export_model(
        autoencoder[0], shifted, tmp_path, schema=schema, group=site, head="normalized", fpr=0.02
    )
    screen = read_model(tmp_path / "model.onnx").manifest.screen
    assert screen.schema == schema
    assert screen.scaler.groups.tolist() == [-1, 0, 1]
    assert screen.head.kind == "normalized"
    assert max(f.drift.error_worst for f in report.forms if "fp32" in f.form) <= 5e-6


def test_identity_scaler_gives_the_module_raw_values(good, tmp_path):
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(N_TESTS, 5), nn.Tanh(), nn.Linear(5, N_TESTS))
    export_model(module, good, tmp_path, scaler="identity", precision=("fp32",), fpr=0.02)
    engine = open_engine(read_model(tmp_path / "model.onnx"))
    with torch.no_grad():
        expected = module(torch.from_numpy(good[:8])).numpy()
    np.testing.assert_allclose(engine.reconstruct(good[:8], None), expected, atol=2e-6)


def test_dies_out_of_range_take_no_part(autoencoder, good, tmp_path):
    odd = good.copy()
    odd[-2, 4], odd[-1, 5] = np.inf, 1e20
    report = export_model(autoencoder[0], odd, tmp_path, fpr=0.02)
    assert report.notes == ()
    assert len(report.forms) == 6


def test_dies_without_a_site_are_scaled_by_all_sites(autoencoder, good, tmp_path):
    scaler = fit_scaler(good + (np.arange(len(good)) % 2)[:, None], (np.arange(len(good)) % 2))
    request = Request(None, scaler, "topk", 5, 0.02)
    trained = trained_from_module(autoencoder[0], good, None, request)
    assert set(trained.calibration.good_group.tolist()) == {POOLED_GROUP}


def test_a_module_that_predicts_nothing_is_noted(good, tmp_path):
    module = nn.Linear(N_TESTS, N_TESTS)
    nn.init.normal_(module.weight)
    report = export_model(module, 9 + good, tmp_path, precision=("fp32",), fpr=0.02)
    assert "no better than a constant" in report.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formats": ("pb",)}, "unknown format 'pb': this version .* writes kgd, onnx, tflite"),
        ({"precision": ("int4",)}, "unknown precision 'int4'"),
        ({"formats": ()}, "unknown format none"),
        ({"scaler": "robust"}, "'fit', 'identity' or a Scaler"),
        ({"schema": Schema.anonymous(7)}, "20 columns, the schema has 7 tests"),
        ({"group": np.zeros(5, np.int32)}, "group must be integers .* one per die"),
        ({"head": "mean"}, "head must be"),
    ],
)  # fmt: skip
def test_wrong_use_is_refused_and_writes_nothing(autoencoder, good, tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        export_model(autoencoder[0], good, tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_values_must_be_a_matrix_with_enough_dies(autoencoder, good, tmp_path):
    with pytest.raises(NotEnoughDataError, match="has 79 dies"):
        export_model(autoencoder[0], good[:79], tmp_path)
    with pytest.raises(UsageError, match="must be numbers"):
        export_model(autoencoder[0], good[0], tmp_path)
    with pytest.raises(UsageError, match="must be numbers"):
        export_model(autoencoder[0], good.astype(str), tmp_path)


def test_a_form_that_scores_otherwise_is_not_written(trained, tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"older")

    def write_wrong_weights(form, network, manifest):
        first = replace(network.layers[0], bias=network.layers[0].bias + np.float32(1e-4))
        network = replace(network, layers=(first, *network.layers[1:]))
        return original(form, network, manifest)

    original = Form.write_graph
    monkeypatch.setattr(Form, "write_graph", write_wrong_weights)
    with pytest.raises(GateError, match=r"onnx fp32 is too far .* worst relative score error is"):
        export_trained(trained, tmp_path, ("kgd", "onnx"), precision=("fp32",))
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"older"


@pytest.mark.parametrize("no_score", [np.nan, np.inf])
def test_a_form_that_scores_other_dies_is_not_written(trained, tmp_path, monkeypatch, no_score):
    def score_all_but_one(form, data, dies):
        scores = original(form, data, dies)
        scores.good[3] = no_score
        return scores

    original = _forms.score_in_engine
    monkeypatch.setattr("knowngood_export._make_files.score_in_engine", score_all_but_one)
    with pytest.raises(GateError, match="1 of 1200 good dies"):
        export_trained(trained, tmp_path)
    assert not list(tmp_path.iterdir())


STRICT = FormLimits("int8", flips_good=1, flips_defective=1, bias=1e-6, spearman=0, auc_change=1)


def test_a_breach_of_the_gates_writes_nothing_and_tells_the_figures(trained, tmp_path):
    gates = CertificateGates(limits=(STRICT,))
    with pytest.raises(GateError) as caught:
        export_trained(trained, tmp_path / "new", ("onnx",), gates=gates)
    assert re.search(
        r"onnx int8: too far from fp32 on 1,200 good dies held out.*:\n  onnx int8: median "
        r"relative score error of good dies: [\d.e-]+, at most 1e-06 is allowed\nNothing was",
        str(caught.value),
    )
    assert "onnx fp32" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_finer_form_takes_the_place_of_a_refused_one(trained, tmp_path):
    gates = CertificateGates(limits=(STRICT, replace(STRICT, precision="int16x8", bias=1)))
    report = export_trained(
        trained, tmp_path, ("onnx", "tflite"), ("int8",), gates=gates, fall_back=True
    )
    assert [f.form for f in report.forms] == ["onnx fp32", "tflite int16x8"]
    names = ["certificate.json", "model.int16x8.tflite", "model.onnx"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    told = [note for note in report.notes if "takes its place" in note]
    assert re.match(r"onnx int8 left out, onnx fp32 takes its place: median .* 1e-06", told[0])
    assert re.match(r"tflite int8 left out, tflite int16x8 takes its place: median", told[1])
    assert report.certificate.passed
    assert [n for n in report.certificate.notes if "takes its place" in n] == told
    carried = read_model(tmp_path / "model.onnx").manifest.certificate
    assert "onnx int8 left out" in carried


def test_a_refused_form_gives_way_until_fp32(trained, tmp_path):
    gates = CertificateGates(limits=(STRICT, replace(STRICT, precision="int16x8")))
    report = export_trained(trained, tmp_path, ("tflite",), gates=gates, fall_back=True)
    assert [f.form for f in report.forms] == ["tflite fp32"]
    assert sum("left out" in note for note in report.notes) == 2


def test_fp32_that_is_refused_has_nothing_finer(trained, tmp_path):
    gates = CertificateGates(fp32_error=0.0, float32_allowance=0.0)
    with pytest.raises(GateError, match=r"fp32 is too far from the trained model"):
        export_trained(trained, tmp_path, ("onnx",), ("fp32",), gates=gates, fall_back=True)
    assert not list(tmp_path.iterdir())


def test_an_fp32_form_may_err_as_float32_does(trained):
    drift = Drift("x", 10_000, 1000, 0.25, 4e-6, 80, 205, 0, 0)
    form, gates = Form("onnx", "fp32"), CertificateGates()
    require_fp32(form, drift, gates, 1e-6)
    drift = replace(drift, error_worst=8e-6)
    require_fp32(form, drift, gates, 2.1e-6)
    with pytest.raises(GateError, match="8e-06"):
        require_fp32(form, drift, gates, 1.9e-6)


def test_a_full_disk_changes_no_file(trained, tmp_path, monkeypatch):
    for name in FILES:
        (tmp_path / name).write_bytes(b"older")
    written = []

    def fill_disk(descriptor):
        written.append(descriptor)
        if len(written) > 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_disk)
    with pytest.raises(UsageError, match="No space left on device"):
        export_trained(trained, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES
    assert {p.read_bytes() for p in tmp_path.iterdir()} == {b"older"}


def test_a_file_in_the_folders_place_is_told(trained, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="cannot make the folder"):
        export_trained(trained, tmp_path / "out")


def test_too_many_inputs_for_int8_are_refused_before_any_work(tmp_path):
    values = np.zeros((100, 70_000), dtype=np.float32)
    with pytest.raises(UsageError, match=r"70,000 wide, onnx int8 holds at most 66,000: beyond"):
        export_model(
            nn.Linear(1, 1), values, tmp_path / "out", formats=("onnx",), precision=("int8",)
        )
    assert not (tmp_path / "out").exists()
