"""Certificates by engines: what they count, beside verdicts given one by one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from knowngood import SchemaMismatchError, Verdict
from knowngood._forward import forward
from knowngood._golden import with_golden
from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._network import Network
from knowngood._opening import open_scorer
from knowngood.engines._reference import score_sealed
from knowngood_quantize.certificate import (
    Certificate,
    CertificateGates,
    CertificationDies,
    Circumstances,
    DieValues,
    FormLimits,
    certificate_page,
    certificate_table,
    certify_scorers,
    digest_of,
)
from knowngood_quantize.certificate._run import MAX_EXPLAINED_DIES
from sealed_models import seal_up, varied_network
from tiny_models import tiny_network, tiny_onnx


def with_coarse_weights(model):
    """Few steps of an int8 weight, so that some verdicts flip."""
    layers = (replace(la, weight=(la.weight // 24 * 24).astype(np.int8)) for la in model.int8)
    return with_golden(replace(model, int8=tuple(layers)))


MODEL = with_coarse_weights(seal_up(varied_network((10, 5, 3, 5, 10), "relu", "topk", 2)))
FILE = parse_model(encode(MODEL), "model.kgd")


def drawn(n_dies, spread, seed):
    """Dies of all groups about their centres, some results missing, one die without any."""
    rng = np.random.default_rng(seed)
    scaler = MODEL.screen.scaler
    group = rng.choice(scaler.groups, n_dies).astype(np.int32)
    rows = scaler.rows(group, n_dies)
    u = spread * rng.normal(size=(n_dies, 10))
    values = (scaler.centre[rows] + u / scaler.inv_scale[rows]).astype(np.float32)
    values[rng.random(values.shape) < 0.02] = np.nan
    values[0] = np.nan
    return DieValues(values, group)


DIES = CertificationDies(
    drawn(600, 0.25, 1), {"wide": drawn(200, 0.8, 2), "odd": drawn(100, 0.5, 3)}, "drawn"
)
STRICT = CertificateGates(limits=(FormLimits("int8", 0, 0, 0, 1, 0),))
SETS = {"good": DIES.good, **DIES.defective}


def scorer(precision, fpr=None, **options):
    return open_scorer(FILE, precision=precision, fpr=fpr, extrapolate=True, **options)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    forms = {f"kgd {p}": scorer(p) for p in ("verified", "int8")}
    forms["kgd fp32"] = scorer("fp32", engine="reference")
    return certify_scorers(scorer("fp32"), forms, DIES)


def verdicts_of(precision, fpr, dies):
    return scorer(precision, fpr).score(dies.values, dies.group).verdicts


@pytest.mark.parametrize("precision", ["verified", "int8"])
def test_flips_are_those_of_the_verdicts_given(certificate, precision):
    form = next(f for f in certificate.forms if f.precision == precision)
    for point in form.points:
        differ = {
            name: np.count_nonzero(
                verdicts_of("fp32", point.fpr, d) != verdicts_of(precision, point.fpr, d)
            )
            for name, d in SETS.items()
        }
        assert point.flips_good.count == differ["good"]
        assert point.flips_defective.count == differ["wide"] + differ["odd"]


def test_int8_of_coarse_weights_does_flip(certificate):
    """Else the counts above would say nothing."""
    int8 = certificate.forms[1]
    assert sum(p.flips_good.count + p.flips_defective.count for p in int8.points) > 0
    assert all(p.supported == (p.fpr > 0.001) for p in int8.points)


def test_rejected_and_detected_dies(certificate):
    for form in certificate.forms:
        rejects = verdicts_of(form.precision, 0.005, DIES.defective["odd"]) == Verdict.REJECT
        assert form.point(0.005).detection["odd"].count == np.count_nonzero(rejects)
        good = verdicts_of(form.precision, 0.005, DIES.good) == Verdict.REJECT
        assert form.point(0.005).rejected.count == np.count_nonzero(good)


def test_rescored_dies_are_those_of_the_specification(certificate):
    verified = certificate.forms[0]
    rows = {n: MODEL.screen.scaler.rows(d.group, len(d)) for n, d in SETS.items()}
    for point in verified.points:
        rescored = {
            name: score_sealed(
                MODEL, "verified", d.values, rows[name], fpr=point.fpr
            ).rescored.sum()
            for name, d in SETS.items()
        }
        assert point.rescored_good.count == rescored["good"] > 0
        assert point.rescored_defective.count == rescored["wide"] + rescored["odd"]
        band = MODEL.band(point.fpr)
        assert (point.band_low, point.band_high) == (band.lo, band.hi)
        assert point.threshold_refitted == point.threshold


def test_the_engine_of_the_specification_has_the_same_bits(certificate):
    form = certificate.forms[2]
    assert (form.engine, form.cpu_path, certificate.reference.engine) == (
        "reference",
        None,
        "native",
    )
    assert (form.error.worst, form.spearman, form.top5_overlap) == (0, 1, 1)
    assert not any(p.flips_good.count or p.flips_defective.count for p in form.points)
    assert form.passed


def test_fp32_stands_beside_float64(certificate):
    network = Network(MODEL.screen, MODEL.fp32, MODEL.latent_layer, MODEL.detector)
    exact = forward(network, DIES.good.values, DIES.good.group, dtype=np.float64).scores
    single = scorer("fp32").score(DIES.good.values, DIES.good.group).scores
    error = np.abs(single.astype(float) - exact) / exact
    found = certificate.reference
    assert found.n_float64 == np.count_nonzero(~np.isnan(error)) >= 590
    assert found.float64_error_worst == pytest.approx(np.nanmax(error), rel=1e-5)
    assert found.float64_error_median == pytest.approx(np.nanmedian(error), rel=1e-5)
    assert 0 < found.float64_error_worst < 1e-5


def test_the_overlap_is_that_of_the_contributions_told(certificate):
    """Of each rejected die, the five tests that ``ScoreResult.top_tests`` names."""
    shares = []
    for dies in SETS.values():
        expected, found = (scorer(p).score(dies.values, dies.group) for p in ("fp32", "int8"))
        for die in np.flatnonzero(expected.verdicts == Verdict.REJECT):
            told = [{c.test.number for c in r.top_tests(die)} for r in (expected, found)]
            shares.append(len(told[0] & told[1]) / 5)
    assert 0 < len(shares) <= MAX_EXPLAINED_DIES
    int8 = certificate.forms[1]
    assert int8.n_overlap == len(shares)
    assert int8.top5_overlap == pytest.approx(np.mean(shares), rel=1e-5)
    assert int8.top5_overlap < 1


def test_digests_are_of_bits_and_every_nan_alike(certificate):
    dies = DIES.defective["odd"]
    values = dies.values.copy()
    values.view(np.uint32)[np.isnan(values)] = 0x7FC00000
    text = b"float32 100 10\n"
    expected = hashlib.sha256(text + values.astype("<f4").tobytes() + dies.group.tobytes())
    found = {d.name: d for d in certificate.dies}
    assert found["odd"].sha256 == expected.hexdigest()
    assert [(d.name, d.kind, d.n) for d in certificate.dies] == [
        ("good", "good", 600), ("wide", "defective", 200), ("odd", "defective", 100),
    ]  # fmt: skip
    other_nan = dies.values.copy()
    other_nan.view(np.uint32)[np.isnan(other_nan)] = 0xFFC12345
    assert digest_of(DieValues(other_nan, dies.group)) == expected.hexdigest()
    assert digest_of(DieValues(dies.values)) != expected.hexdigest()


def test_what_it_says_of_itself(certificate):
    assert certificate.model_id == FILE.model_id
    assert certificate.default_fpr == 0.005
    assert certificate.dies_note == "drawn"
    assert {"knowngood", "numpy", "python"} <= certificate.versions.keys()
    assert [f.model_id for f in certificate.forms] == [FILE.model_id] * 3
    assert certificate.forms[0].cpu_path == scorer("int8").cpu_path
    assert Certificate.from_json(certificate.to_json()) == certificate


def test_a_form_may_be_told_and_not_gated():
    circumstances = Circumstances(not_gated=("kgd int8",), notes=("a note",), recipe={"a": 1})
    told: list[str] = []
    found = certify_scorers(
        scorer("fp32"), {"kgd int8": scorer("int8")}, DIES, gates=STRICT,
        circumstances=circumstances, progress=told.append,
    )  # fmt: skip
    assert found.forms[0].breaches
    assert found.passed
    assert (found.notes, found.recipe) == (("a note",), {"a": 1})
    assert told == ["model.kgd", "kgd int8"]


def test_coarse_weights_count_in_a_form_that_is_not_gated():
    names = ("kgd verified", "kgd int8")
    found = certify_scorers(
        scorer("fp32"), {n: scorer(n.split()[1]) for n in names}, DIES,
        gates=CertificateGates(limits=(FormLimits("int8", 1000, 1, 10, -1, 1),)),
        circumstances=Circumstances(not_gated=names, weight_steps=(127.0, 7.0)),
    )  # fmt: skip
    assert not found.passed
    assert [f.is_gated for f in found.forms] == [True, True]
    told = "weights of layer 1: the largest of an output spans 7 steps of int8, at least 64"
    for name in names:
        assert any(b.startswith(f"{name}: {told}") for b in found.breaches)
    assert found.weight_steps == (127.0, 7.0)


def test_a_form_that_nothing_was_asked_of_is_noted():
    few = CertificateGates(fpr_low=1e-6, fpr_high=2e-6)
    found = certify_scorers(scorer("fp32"), {"kgd int8": scorer("int8")}, DIES, gates=few)
    (note,) = found.notes
    assert note.startswith(
        "verdicts of kgd int8 are not gated: none of the operating points from 0.0001 to 0.0002 % "
    )
    assert "verdicts of kgd int8 are not gated" in " ".join(certificate_table(found).split())
    assert "verdicts of kgd int8 are not gated" in certificate_page(found).decode()


def test_gates_tell_what_they_refuse():
    found = certify_scorers(scorer("fp32"), {"kgd int8": scorer("int8")}, DIES, gates=STRICT)
    assert not found.passed
    assert "median relative score error of good dies" in " ".join(found.breaches)


def test_a_graph_of_the_same_network():
    """Its digest covers the certificate that it may carry, so none is cited."""
    network = replace(tiny_network(), layers=tiny_network().layers)
    model = parse_model(encode(seal_up(network)), "model.kgd")
    graph = open_scorer(parse_model(tiny_onnx(network), "model.onnx"), extrapolate=True)
    rng = np.random.default_rng(0)
    scaler = network.screen.scaler
    values = scaler.centre[0] + rng.normal(size=(200, 6)) / scaler.inv_scale[0]
    dies = CertificationDies(DieValues(values.astype(np.float32)))
    reference = open_scorer(model, precision="fp32", extrapolate=True)
    (form,) = certify_scorers(reference, {"onnx fp32": graph}, dies).forms
    assert form.engine == "onnxruntime"
    assert form.model_id == ""
    assert form.error.worst < 1e-5
    assert (form.n_defective, form.auc_change, form.top5_overlap) == (0, None, 1)


def test_an_fp32_graph_as_reference_is_not_compared_with_float64():
    graph = open_scorer(parse_model(tiny_onnx(tiny_network()), "model.onnx"), extrapolate=True)
    values = tiny_network().screen.scaler.centre.repeat(30, axis=0).astype(np.float32)
    found = certify_scorers(graph, {"again": graph}, CertificationDies(DieValues(values)))
    assert (found.reference.form, found.reference.n_float64) == ("onnx fp32", 0)
    assert found.passed


def test_other_tests_are_refused():
    other = open_scorer(parse_model(encode(seal_up(tiny_network())), "o.kgd"), extrapolate=True)
    with pytest.raises(SchemaMismatchError, match=r"o\.kgd\) has other tests .* 6 and 10"):
        certify_scorers(scorer("fp32"), {"other": other}, DIES)
