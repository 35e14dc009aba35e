"""``knowngood certify``: what it compares, writes and refuses, and its exit codes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from certified_scores import usual_certificate
from knowngood import load
from knowngood._commands import main
from knowngood._golden import with_golden
from knowngood._good_dies import select_good_dies
from knowngood._kgd import encode
from knowngood._manifest import Provenance, Source
from knowngood._read_lot import read_lot
from knowngood.stdf import write_lot
from knowngood_quantize.certificate import Certificate, CertificateGates, FormLimits
from knowngood_quantize.int8 import Int8Recipe, quantize, weight_steps
from sealed_models import seal_up
from tiny_lots import tiny_lot
from tiny_models import tiny_manifest, tiny_network, tiny_onnx

NETWORK = tiny_network(threshold=2.5)
MODEL = seal_up(NETWORK)
LOOSE = CertificateGates(
    rescoring=1, verified_flips=9, limits=(FormLimits("int8", 1000, 1, 10, -1, 1),)
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.kgd").write_bytes(encode(MODEL))
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(NETWORK))
    (tmp_path / "gates.json").write_text(LOOSE.to_json())
    write_lot(tmp_path / "good.stdf", tiny_lot(NETWORK, 300))
    lot = tiny_lot(NETWORK, 60, lot="BAD", seed=9)
    write_lot(tmp_path / "odd.stdf", replace(lot, values=lot.values * np.float32(1.4)))
    return tmp_path


def run(folder, model, *arguments):
    paths = [str(folder / a) if "." in a else a for a in arguments]
    return main(["certify", str(folder / model), *paths])


def certified(folder, capsys, model, *arguments) -> tuple[int, Certificate]:
    code = run(folder, model, *arguments, "--json")
    return code, Certificate.from_json(capsys.readouterr().out)


def error_of(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_kgd_is_held_against_its_own_fp32(folder, capsys):
    code, found = certified(
        folder, capsys, "model.kgd", "--good", "good.stdf", "--gates", "gates.json"
    )
    assert code == 0
    assert (found.reference.form, found.reference.engine) == ("kgd fp32", "native")
    assert [form.form for form in found.forms] == ["kgd verified", "kgd int8"]
    assert [form.is_gated for form in found.forms] == [True, False]
    assert found.gates == LOOSE
    assert found.model_id == load(folder / "model.kgd").model_id


def test_a_precision_that_is_asked_for_is_gated(folder, capsys):
    strict = CertificateGates(limits=(FormLimits("int8", 0, 0, 0, 1, 0),))
    (folder / "gates.json").write_text(strict.to_json())
    arguments = ("--good", "good.stdf", "--gates", "gates.json", "--precision", "int8")
    code, found = certified(folder, capsys, "model.kgd", *arguments)
    assert code == 1
    assert [(f.form, f.is_gated) for f in found.forms] == [("kgd int8", True)]


def test_coarse_weights_of_a_file_are_a_breach(folder, capsys):
    """One scale per matrix, counted in the file, which has no certificate to tell it."""
    uneven = NETWORK.layers[0].weight * np.float32([[20], [1], [1]])
    network = replace(
        NETWORK, layers=(replace(NETWORK.layers[0], weight=uneven), *NETWORK.layers[1:])
    )
    coarse = quantize(network, recipe=Int8Recipe(per_channel=False))
    model = with_golden(replace(seal_up(network), int8=coarse.layers))
    (folder / "model.kgd").write_bytes(encode(model))
    arguments = ("--good", "good.stdf", "--gates", "gates.json")
    code, found = certified(folder, capsys, "model.kgd", *arguments)
    assert code == 1
    assert found.weight_steps == weight_steps(coarse)
    assert min(found.weight_steps) < 64
    for form in ("kgd verified", "kgd int8"):
        assert any(b.startswith(f"{form}: weights of layer 0: ") for b in found.breaches)


def test_weights_of_a_graph_are_those_of_its_certificate(folder, capsys):
    carried = replace(usual_certificate().only("tflite int8"), weight_steps=(100.0, 12.0))
    manifest = replace(tiny_manifest(NETWORK, "int8"), certificate=carried.to_json())
    (folder / "model.onnx").write_bytes(tiny_onnx(NETWORK, manifest))
    arguments = ("--good", "good.stdf", "--reference", "model.kgd", "--gates", "gates.json")
    code, found = certified(folder, capsys, "model.onnx", *arguments)
    assert (code, found.weight_steps) == (1, (100.0, 12.0))
    assert found.breaches[0].startswith("onnx int8: weights of layer 1: ")


def test_good_dies_are_those_of_training(folder, capsys):
    """Untrimmed: what fails at the tester, has no data or is infinite is left out and counted."""
    _, found = certified(folder, capsys, "model.kgd", "--good", "good.stdf")
    chosen = select_good_dies(read_lot(folder / "good.stdf"), trim=False)
    assert found.dies[0].n == np.count_nonzero(chosen.rows) < 300
    note = next(n for n in found.notes if "good dies; left out: " in n)
    assert "1 tester fail" in note
    assert "1 no data" in note


def test_defects_are_injected_unless_given(folder, capsys):
    _, found = certified(folder, capsys, "model.kgd", "--good", "good.stdf")
    assert "injected" in found.dies_note
    assert found.dies[1].name == "single_test"
    arguments = ("--good", "good.stdf", "--defects", "odd.stdf")
    _, found = certified(folder, capsys, "model.kgd", *arguments)
    assert "injected" not in found.dies_note
    assert [(d.name, d.kind, d.n) for d in found.dies[1:]] == [("odd", "defective", 59)]


def test_a_breach_is_written_and_is_exit_code_one(folder, capsys):
    strict = CertificateGates(rescoring=0.0)
    (folder / "gates.json").write_text(strict.to_json())
    arguments = ("--good", "good.stdf", "--gates", "gates.json", "-o", "certificate.json")
    assert run(folder, "model.kgd", *arguments, "--html", "page.html") == 1
    text = capsys.readouterr().out
    assert text.startswith("certificate  BREACHED")
    assert "good dies scored again in fp32" in " ".join(text.split())
    assert f"written   {folder / 'certificate.json'}, {folder / 'page.html'}" in text
    found = Certificate.from_json((folder / "certificate.json").read_bytes())
    assert not found.passed
    assert "<title>Certificate: breached" in (folder / "page.html").read_text("utf-8")


def test_a_certificate_is_shown_again(folder, capsys):
    (folder / "certificate.json").write_text(usual_certificate().to_json())
    assert run(folder, "certificate.json", "--html", "page.html") == 1
    assert capsys.readouterr().out.startswith("certificate  BREACHED, model abab")
    assert (folder / "page.html").exists()


def test_control_codes_of_a_certificate_do_not_reach_the_terminal(folder, capsys):
    told = replace(usual_certificate(), notes=("\x1b[2Jcleared",), dies_note="\u202eturned")
    (folder / "certificate.json").write_text(told.to_json())
    run(folder, "certificate.json")
    text = capsys.readouterr().out
    assert "\\x1b[2Jcleared" in text
    assert not {"\x1b", "\u202e"} & set(text)


def test_a_model_shows_the_certificate_it_carries(folder, capsys):
    carried = usual_certificate().only("kgd verified")
    (folder / "model.kgd").write_bytes(encode(replace(MODEL, certificate=carried.to_json())))
    code, found = certified(folder, capsys, "model.kgd")
    assert (code, found) == (0, carried)
    _, found = certified(folder, capsys, "model.kgd", "--good", "good.stdf")
    assert (found.recipe, found.band_evidence) == ({"rounding": "gptq"}, {"margin": 1.5})


def test_a_graph_needs_a_reference(folder, capsys):
    arguments = ("--good", "good.stdf", "--reference", "model.kgd")
    code, found = certified(folder, capsys, "model.onnx", *arguments)
    assert code == 0
    assert [(f.form, f.engine) for f in found.forms] == [("onnx fp32", "onnxruntime")]
    assert found.forms[0].model_id == load(folder / "model.onnx").model_digest
    assert found.forms[0].error.worst < 1e-5


def test_any_engine_and_kernels_may_be_certified(folder, capsys):
    for option in (("--engine", "reference"), ("--cpu-path", "scalar")):
        arguments = ("--good", "good.stdf", "--precision", "fp32", *option)
        code, found = certified(folder, capsys, "model.kgd", *arguments)
        assert code == 0
        assert [(f.form, f.error.worst) for f in found.forms] == [("kgd fp32", 0)]


def test_quiet_prints_nothing(folder, capsys):
    arguments = ("--good", "good.stdf", "--gates", "gates.json", "--quiet")
    assert run(folder, "model.kgd", *arguments) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    ("model", "arguments", "code", "told"),
    [
        ("model.kgd", (), 2, "carries no certificate: name good dies"),
        ("model.kgd", ("--engine", "native"), 2, "--engine without --good"),
        ("model.kgd", ("--good", "good.stdf", "--precision", "fp32"), 2, "nothing but the"),
        ("model.kgd", ("--good", "good.stdf", "--precision", "int4"), 2, "no precision 'int4'"),
        ("model.kgd", ("--good", "good.stdf", "-o", "page.html"), 2, "is written as .json"),
        ("model.kgd", ("--good", "good.stdf", "--html", "page.json"), 2, "is written as .html"),
        ("model.kgd", ("--good", "good.stdf", "-o", "gates.json", "--gates", "gates.json"), 2,
         "is also what is read"),
        ("model.kgd", ("--good", "good.stdf", "--gates", "good.stdf"), 3, "gates: expected JSON"),
        ("model.kgd", ("--good", "good.stdf", "--gates", "no.json"), 3, "cannot read"),
        ("model.kgd", ("--good", "missing.stdf"), 3, "cannot read"),
        ("missing.json", (), 3, "cannot read"),
        ("gates.json", (), 3, "gates.json: not a certificate of knowngood"),
        ("good.stdf", ("--good", "good.stdf"), 3, "is an STDF lot, not a model"),
    ],
)  # fmt: skip
def test_wrong_use_is_told(folder, capsys, model, arguments, code, told):
    assert run(folder, model, *arguments) == code
    assert told in error_of(capsys)


def test_int8_alone_needs_a_reference(folder, capsys):
    model = seal_up(NETWORK, precisions=("int8",))
    (folder / "int8.kgd").write_bytes(encode(model))
    assert run(folder, "int8.kgd", "--good", "good.stdf") == 2
    assert "holds int8 and no fp32 to compare with" in error_of(capsys)
    arguments = ("--good", "good.stdf", "--reference", "model.kgd")
    _, found = certified(folder, capsys, "int8.kgd", *arguments)
    assert [form.is_gated for form in found.forms] == [True]


def test_a_handful_of_good_dies_is_refused(folder, capsys):
    write_lot(folder / "few.stdf", tiny_lot(NETWORK, 300).select(np.arange(20)))
    assert run(folder, "model.kgd", "--good", "few.stdf") == 3
    assert "are too few to certify on" in error_of(capsys)


def test_a_form_of_another_model_is_refused(folder, capsys):
    scaler = NETWORK.screen.scaler
    moved = replace(scaler, centre=scaler.centre + 1)
    other = replace(NETWORK, screen=replace(NETWORK.screen, scaler=moved))
    (folder / "other.onnx").write_bytes(tiny_onnx(other))
    assert run(folder, "other.onnx", "--good", "good.stdf", "--reference", "model.kgd") == 2
    assert "scalers differ" in error_of(capsys)


def test_a_graph_by_itself_is_told_what_to_compare_with(folder, capsys):
    assert run(folder, "model.onnx", "--good", "good.stdf") == 2
    told = error_of(capsys)
    assert "name the .kgd that was exported with it (--reference model.kgd), or" in told


def test_lots_of_training_are_noted(folder, capsys):
    digest = hashlib.sha256((folder / "good.stdf").read_bytes()).hexdigest()
    provenance = Provenance(sources=(Source("good.stdf", digest, 300),))
    (folder / "model.kgd").write_bytes(encode(replace(MODEL, provenance=provenance)))
    _, found = certified(folder, capsys, "model.kgd", "--good", "good.stdf", "odd.stdf")
    assert any(n.startswith("good.stdf was used to train the model") for n in found.notes)
    assert not any(n.startswith("odd.stdf was used") for n in found.notes)


def test_no_good_die_is_told_with_the_reasons(folder, capsys):
    lot = tiny_lot(NETWORK, 300).select(np.array([0, 2]))
    write_lot(folder / "none.stdf", lot)
    assert run(folder, "model.kgd", "--good", "none.stdf") == 3
    assert "no good die in" in error_of(capsys)
