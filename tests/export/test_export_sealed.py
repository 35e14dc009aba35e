"""``.kgd`` files from the trainer: both precisions or one, baselines, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from correlated_dies import N_TESTS, correlated

import knowngood
from knowngood._errors import GateError, ModelFileError, UsageError
from knowngood._forward import forward
from knowngood._model_file import read_model
from knowngood._network import Dense
from knowngood.engines import open_engine
from knowngood_export import AutoencoderDetector, _drafts, _make_files, _sealing
from knowngood_export._fit import AutoencoderConfig, Part, with_thresholds
from knowngood_export._trained import Int8Dies
from knowngood_export.baselines import fit_baselines
from knowngood_export.export import export_trained
from knowngood_quantize.certificate import Certificate, CertificateGates, FormLimits
from knowngood_quantize.int8 import Int8Recipe

FPR = 0.02
NO_SCORE = 0x7FC00000


@pytest.fixture(scope="module")
def sealed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sealed")
    report = export_trained(trained, folder, ("kgd",))
    return folder / "model.kgd", report


@pytest.fixture(scope="module")
def with_baselines(trained):
    """The model with PAT, T² and PCA beside it, as ``train_lots`` leaves it."""
    scaler, schema = trained.network.screen.scaler, trained.network.screen.schema
    dies, config = trained.calibration, AutoencoderConfig(fpr=FPR)
    fitted = fit_baselines(correlated(1200, 5), None, scaler, schema)
    good = Part(dies.good, dies.good_group)
    return replace(trained, baselines=tuple(with_thresholds(b, good, config) for b in fitted))


def test_one_file_holds_both_precisions(sealed):
    path, report = sealed
    assert [(f.form, f.path) for f in report.forms] == [("kgd fp32", path), ("kgd int8", path)]
    model = read_model(path)
    assert model.precisions == ("verified", "int8", "fp32")
    assert model.sealed.drift == tuple(f.drift for f in report.forms)
    assert knowngood.load(path).precision == "verified"
    assert knowngood.load(path, precision="fp32").precision == "fp32"


def test_reconstructions_are_those_of_torch(autoencoder, sealed):
    module, scaler = autoencoder
    values = correlated(64, 3)
    u = scaler.standardise(values, np.zeros(64, np.int32))
    with torch.no_grad():
        expected = module(torch.from_numpy(u)).numpy()
    scorer = knowngood.load(sealed[0], precision="fp32")
    np.testing.assert_allclose(scorer.reconstruct(values), expected, atol=2e-6)


def test_each_precision_has_thresholds_of_its_own(trained, sealed):
    points = read_model(sealed[0]).sealed.points
    exact_scores = forward(trained.network, trained.calibration.good).scores
    float64 = trained.network.screen.operating_points
    for precision in ("fp32", "int8"):
        scorer = knowngood.load(sealed[0], precision=precision, engine="reference")
        scores = scorer.score(trained.calibration.good).scores
        for exact, point in zip(float64, points[precision], strict=True):
            rejected = (scores > point.threshold).sum()
            assert abs(rejected - (exact_scores > exact.threshold).sum()) <= 3  # of 1200
    for exact, point in zip(float64, points["fp32"], strict=True):
        assert point.threshold == pytest.approx(exact.threshold, rel=2e-5)
    assert points["int8"] != points["fp32"]


def test_both_precisions_are_compared_on_all_calibration_dies(trained, sealed):
    fp32, int8 = (form.drift for form in sealed[1].forms)
    engine = f"native {knowngood.__version__}"
    assert (fp32.form, int8.form) == (f"kgd fp32 ({engine})", f"kgd int8 ({engine})")
    assert fp32.error_worst < 5e-6
    assert fp32.flips_good == fp32.flips_defective == 0
    for drift in (fp32, int8):
        assert drift.n_good == len(trained.calibration.good)
        assert drift.n_defective == len(trained.calibration.defective)
    assert int8.error_median > 1e-4


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_one_precision_alone(trained, tmp_path, sealed, precision):
    (form,) = export_trained(trained, tmp_path, ("kgd",), (precision,)).forms
    alone, both = read_model(form.path).sealed, read_model(sealed[0]).sealed
    assert alone.layer_precisions == (precision,)
    assert alone.points == {precision: both.points[precision]}
    assert form.n_bytes < sealed[0].stat().st_size
    weights = sum(layer.weight.nbytes for layer in alone.layers(precision))
    assert weights < form.n_bytes_graph < form.n_bytes


def test_the_file_says_where_it_comes_from(trained, sealed):
    manifest = knowngood.load(sealed[0]).manifest
    assert manifest.provenance == trained.provenance
    assert manifest.screen.default_fpr == FPR
    assert manifest.widths == trained.network.widths
    assert manifest.latent_layer == trained.network.latent_layer
    assert manifest.screen.schema == trained.network.screen.schema


def test_the_same_model_gives_the_same_bytes(trained, sealed, tmp_path):
    export_trained(trained, tmp_path, ("kgd",))
    assert (tmp_path / "model.kgd").read_bytes() == sealed[0].read_bytes()


def test_baselines_are_files_of_the_same_kind(with_baselines, tmp_path):
    report = export_trained(with_baselines, tmp_path, ("kgd",), ("int8",), baselines=True)
    names = [f.path.name for f in report.forms]
    assert names == ["model.kgd", "pat.kgd", "t2.kgd", "pca.kgd"]
    assert [f.form for f in report.forms[1:]] == ["pat kgd fp32", "t2 kgd fp32", "pca kgd fp32"]
    values = correlated(2000, 7)
    values[3, 4:9] = np.nan
    for network in with_baselines.baselines:
        scorer = knowngood.load(tmp_path / f"{network.detector}.kgd")
        assert scorer.manifest.detector == network.detector
        expected = network.screen.operating_point(FPR).threshold
        assert scorer.threshold == pytest.approx(expected, rel=2e-5)
        expected = forward(network, values).scores
        result = scorer.score(values)
        np.testing.assert_allclose(result.scores, expected, rtol=1e-5)
        assert 0.005 < (result.verdicts == knowngood.Verdict.REJECT).mean() < 0.06


def test_pat_is_the_largest_weighted_robust_z(with_baselines, tmp_path):
    export_trained(with_baselines, tmp_path, ("kgd",), ("int8",), baselines=True)
    pat = with_baselines.baselines[0].screen
    values = correlated(50, 8)
    z = (values - pat.scaler.centre[0]) * pat.scaler.inv_scale[0] * pat.head.residual_weight
    scores = knowngood.load(tmp_path / "pat.kgd").score(values).scores
    np.testing.assert_allclose(scores, np.abs(z).max(axis=1), rtol=1e-6)


def test_baselines_that_are_not_there_are_refused(trained, tmp_path):
    with pytest.raises(UsageError, match="no baselines beside it"):
        export_trained(trained, tmp_path / "out", baselines=True)
    assert not (tmp_path / "out").exists()


def test_the_detector_writes_it_too(tmp_path):
    detector = AutoencoderDetector(hidden=(12,), latent=4, epochs=5, fpr=0.05, random_state=0)
    detector.fit(correlated(1200, 9))
    detector.export(tmp_path, formats=("kgd",))
    values = correlated(40, 10)
    scores = knowngood.load(tmp_path / "model.kgd", precision="fp32").score(values).scores
    np.testing.assert_allclose(scores, -detector.score_samples(values), rtol=5e-6)


def test_layers_that_score_otherwise_are_not_written(trained, tmp_path, monkeypatch):
    def unsealed(*arguments):
        model = original(*arguments)
        first = replace(model.fp32[0], bias=model.fp32[0].bias + np.float32(1e-4))
        return replace(model, fp32=(first, *model.fp32[1:]))

    original = _sealing.unsealed
    monkeypatch.setattr(_make_files, "unsealed", unsealed)
    with pytest.raises(GateError, match=r"kgd fp32 is too far .* worst relative score error is"):
        export_trained(trained, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_not_written(trained, tmp_path, monkeypatch):
    def encode(model):
        given = model.golden.score_bits
        bits = {p: np.where(b == NO_SCORE, b, b ^ np.uint32(1)) for p, b in given.items()}
        return original(replace(model, golden=replace(model.golden, score_bits=bits)))

    original = _drafts.encode
    monkeypatch.setattr(_drafts, "encode", encode)
    with pytest.raises(ModelFileError, match=r"model\.kgd"):
        export_trained(trained, tmp_path)
    assert not list(tmp_path.iterdir())


def test_int8_that_is_noise_is_refused_whatever_verified_mends(trained, tmp_path):
    dies = trained.int8_dies
    wild = dies.rounding.values * np.where(np.arange(N_TESTS) % 2, np.float32(1000), np.float32(1))
    in_other_units = Part(wild.astype(np.float32), dies.rounding.group)
    spoilt = replace(trained, int8_dies=Int8Dies(in_other_units, dies.bands))
    with pytest.raises(GateError, match=r"kgd int8: median relative score error of good dies"):
        export_trained(spoilt, tmp_path / "out", ("kgd",))
    assert not (tmp_path / "out").exists()


def test_a_breach_of_verified_writes_nothing(trained, tmp_path):
    (tmp_path / "model.kgd").write_bytes(b"older")
    gates = CertificateGates(rescoring=0.0)
    with pytest.raises(GateError, match=r"kgd verified: good dies scored again in fp32"):
        export_trained(trained, tmp_path, ("kgd",), gates=gates)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"older"]
    report = export_trained(trained, tmp_path, ("kgd",), gates=gates, fall_back=True)
    assert read_model(tmp_path / "model.kgd").precisions == ("fp32",)
    assert any("kgd fp32 takes its place" in note for note in report.notes)


@pytest.mark.parametrize(
    ("formats", "precisions", "forms"),
    [
        (("kgd",), ("fp32", "int8"), ("kgd verified", "kgd int8")),
        (("onnx",), ("int8",), ("onnx int8",)),
    ],
)
def test_one_scale_per_matrix_is_refused_by_its_steps(
    trained, tmp_path, formats, precisions, forms
):
    """Whatever verdicts the few dies show, and in the int8 of a verified file too."""
    coarse = _with_uneven_rows(trained)
    gates = CertificateGates(limits=(FormLimits("int8", 1000, 1, 10, -1, 1),), verified_flips=10**6)
    recipe = Int8Recipe(per_channel=False)
    with pytest.raises(GateError) as refused:
        export_trained(coarse, tmp_path, formats, precisions, recipe=recipe, gates=gates)
    for form in forms:
        assert re.search(
            rf"{form}: weights of layer \d: the largest of an output spans \d+ steps of int8, at "
            "least 64 are asked for", str(refused.value),
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
    export_trained(coarse, tmp_path, formats, precisions, gates=gates)
    found = Certificate.from_json((tmp_path / "certificate.json").read_bytes())
    assert len(found.weight_steps) == len(trained.network.layers)
    assert min(found.weight_steps) >= 118


def _with_uneven_rows(trained):
    """The same function of the dies, but for one hidden neuron that is scaled up and down again."""
    first, second, *rest = trained.network.layers
    up = np.ones(len(first.bias), np.float32)
    up[0] = 16
    first = replace(first, weight=first.weight * up[:, None], bias=first.bias * up)
    second = replace(second, weight=second.weight / up)
    return replace(trained, network=replace(trained.network, layers=(first, second, *rest)))


def test_the_certificate_is_in_the_file_and_beside_it(trained, sealed):
    text = read_model(sealed[0]).sealed.certificate
    certificate = Certificate.from_json(text)
    assert [f.form for f in certificate.forms] == ["kgd verified", "kgd int8"]
    assert certificate == sealed[1].certificate
    assert (sealed[0].parent / "certificate.json").read_text() == f"{text}\n"
    assert certificate.model_id == read_model(sealed[0]).model_id
    assert certificate.created == trained.provenance.created
    assert next(d.n for d in certificate.dies) == len(trained.calibration.good)


def test_static_ranges_have_no_place_in_it(trained, tmp_path):
    with pytest.raises(UsageError, match=r"ONNX only: leave the \.kgd out"):
        export_trained(trained, tmp_path, ("kgd",), recipe=Int8Recipe("static"))
    report = export_trained(trained, tmp_path, ("onnx",), ("int8",), recipe=Int8Recipe("static"))
    assert open_engine(read_model(report.forms[0].path)).name == "onnxruntime"


@pytest.mark.parametrize(
    ("formats", "precision", "form"),
    [(("kgd",), ("fp32",), "kgd fp32"), (("onnx",), ("fp32", "int8"), "onnx int8")],
)
def test_a_layer_too_wide_to_sum_exactly_is_refused(trained, tmp_path, formats, precision, form):
    wide = 66_001
    layers = (
        Dense(np.zeros((wide, N_TESTS), np.float32), np.zeros(wide, np.float32)),
        Dense(np.zeros((N_TESTS, wide), np.float32), np.zeros(N_TESTS, np.float32)),
    )
    network = replace(trained.network, layers=layers, latent_layer=None)
    with pytest.raises(UsageError, match=f"layer 66,001 wide, {form} holds at most 66,000"):
        export_trained(replace(trained, network=network), tmp_path, formats, precision)
    assert not list(tmp_path.iterdir())
