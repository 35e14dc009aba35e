from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from knowngood._commands import main
from knowngood._kgd import encode
from knowngood._manifest import (
    Drift,
    Evaluation,
    HeadChoice,
    HeadTrial,
    Manifest,
    Provenance,
    Source,
)
from knowngood.stdf import write_lot
from sealed_models import tiny_sealed
from tiny_lots import tiny_lot
from tiny_models import tiny_network, tiny_onnx

NETWORK = tiny_network()


def full_manifest() -> Manifest:
    return Manifest(
        NETWORK.screen,
        "fp32",
        "autoencoder",
        NETWORK.widths,
        NETWORK.latent_layer,
        Provenance(
            created="2026-11-22T10:00:00+00:00",
            seed=7,
            sources=(Source("lot1.stdf", "ab" * 32, 500),),
            n_train=400,
            n_held_out=100,
            dropped={"failed at the tester": 12},
            hold_out="the last lot was held out",
            notes=("test 1050 T5 is constant and was dropped",),
        ),
        drift=(Drift("onnx fp32", 100, 50, 1e-7, 3e-7, 0, 0, 0, 0),),
    )


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx(NETWORK, full_manifest()))
    return path


def as_json(capsys, path):
    assert main(["inspect", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_how_the_head_was_chosen_is_shown(tmp_path, capsys):
    trials = (HeadTrial("topk", 3, {"block_shift": 0.75}, 0.02, 0.7),)
    choice = HeadChoice(
        "auto", "topk", 3, 0, 400, 3000, 0.005, 0.02, {"block_shift": 9}, trials,
        (HeadTrial("pca", 0, {"block_shift": 0.25}),),
    )  # fmt: skip
    manifest = replace(full_manifest(), evaluation=Evaluation(head_choice=choice))
    path = tmp_path / "chosen.onnx"
    path.write_bytes(tiny_onnx(NETWORK, manifest))
    facts = as_json(capsys, path)["evaluation"]["head_choice"]
    assert facts["trials"][0]["detection"] == {"block_shift": 0.75}
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("  head is"))
    assert "topk (k = 3), best of 1; fitted on 400 held-out good dies" in lines[first]
    assert "at 2.00% yield loss, the nearest to 0.50% that 400 allow:" in lines[first + 1]
    assert lines[first + 4].split() == ["PCA", "residual", "25.0%"]


def test_a_model_as_json(model, capsys):
    facts = as_json(capsys, model)
    assert (facts["kind"], facts["detector"], facts["precision"]) == ("onnx", "autoencoder", "fp32")
    assert facts["bytes"] == model.stat().st_size
    assert facts["widths"] == [6, 3, 6]
    assert facts["schema_digest"] == NETWORK.screen.schema.digest
    assert [t["number"] for t in facts["schema"]["tests"]] == [1000, 1010, 1020, 1030, 1040, 1050]
    assert facts["head"] == {"kind": "topk", "k": 3, "min_present": 3}
    assert [p["fpr"] for p in facts["operating_points"]] == [0.001, 0.005, 0.02]
    assert facts["engines"] == ["onnxruntime"]
    assert facts["provenance"]["sources"][0]["name"] == "lot1.stdf"
    assert facts["drift"][0]["form"] == "onnx fp32"
    assert facts["model_id"] == facts["sha256"]
    assert (facts["precisions"], facts["certificate"]) == (["fp32"], None)
    assert model.read_bytes().count(facts["sha256"].encode()) == 1


def test_a_model_in_words(model, capsys):
    assert main(["inspect", str(model)]) == 0
    text = capsys.readouterr().out
    for expected in (
        "autoencoder fp32",
        "6-3-6",
        "topk (k = 3), 3 tests needed",
        "0.10%: score ≤ 3 passes (2.5 to 3.5, 3,000 dies) — unsupported",
        "0.50%: score ≤ 2 passes (1.9 to 2.1, 3,000 dies) — default",
        "part type KG1",
        "400 trained on, 100 held out",
        "12 failed at the tester",
        "lot1.stdf (500 dies",
        "the last lot was held out",
        "1050 T5 is constant",
        "flips 0 of 100 good, 0 of 50 defective",
    ):
        assert expected in text


def test_inspecting_a_model_needs_no_engine(model, monkeypatch, capsys):
    assert as_json(capsys, model)["engines_missing"] == {}
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    facts = as_json(capsys, model)
    assert (facts["kind"], facts["engines"]) == ("onnx", ["onnxruntime"])
    assert facts["engines_missing"] == {"onnxruntime": "is not installed"}
    assert main(["inspect", str(model)]) == 0
    text = capsys.readouterr().out
    assert "engines     none that runs it on this machine\n" in text
    assert "onnxruntime is not installed\n" in text


@pytest.mark.parametrize("name", ["noext", "model.kgd.bak", "model.bin"])
@pytest.mark.parametrize("kind", ["kgd", "onnx", "tflite"])
def test_a_model_of_any_name(tmp_path, capsys, name, kind):
    if kind == "tflite":
        writer = pytest.importorskip("knowngood_export.tflite_writer")
        data = writer.network_to_tflite(NETWORK, full_manifest())
    else:
        data = tiny_onnx(NETWORK) if kind == "onnx" else encode(tiny_sealed())
    (tmp_path / name).write_bytes(data)
    facts = as_json(capsys, tmp_path / name)
    assert (facts["kind"], facts["schema_digest"]) == (kind, NETWORK.screen.schema.digest)


def test_what_is_neither_model_nor_lot(tmp_path, capsys):
    (tmp_path / "noext").write_bytes(b"neither of them")
    assert main(["inspect", str(tmp_path / "noext")]) == 3
    assert "cannot tell what this file is" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lot.stdf", "lot.std.gz"])
def test_an_stdf_lot(tmp_path, capsys, name):
    lot = tiny_lot(NETWORK)
    lot.values[3, 0] = 1
    write_lot(tmp_path / name, lot)
    facts = as_json(capsys, tmp_path / name)
    assert (facts["dies"], facts["fails"], facts["tests"]) == (40, 1, 6)
    assert facts["dies_without_data"] == 1
    assert facts["records"]["PRR"] == 40
    assert facts["byte_order"] == "little"
    assert facts["purpose"]["part_type"] == "KG1"
    assert main(["inspect", str(tmp_path / name)]) == 0
    text = capsys.readouterr().out
    assert "dies        40, 1 failed at the tester" in text
    assert "PRR 40" in text


def test_a_real_lot_as_three_readers_agree(shared_data, capsys):
    folder = shared_data / "stdf"
    expected = json.loads((folder / "expected.json").read_text())["galaxy_lot2.stdf"]
    facts = as_json(capsys, folder / "galaxy_lot2.stdf.gz")
    for ours, theirs in (
        ("dies", "dies"),
        ("fails", "fails"),
        ("dies_without_data", "dies_without_ptr"),
        ("records", "records"),
        ("byte_order", "endian"),
        ("tests", "distinct_num_name"),
    ):
        assert facts[ours] == expected[theirs], ours
    assert expected["tester"] in facts["tester"]


def test_a_table_and_a_bare_array(tmp_path, capsys):
    (tmp_path / "lot.csv").write_text("lot,x,y,1000 T0 [V],T1\nL1,0,0,1.5,\nL1,0,1,,\n")
    facts = as_json(capsys, tmp_path / "lot.csv")
    assert (facts["kind"], facts["dies"], facts["tests"]) == ("csv", 2, 2)
    assert (facts["results"], facts["dies_without_data"]) == (1, 1)
    assert facts["lots"] == ["L1"]
    np.save(tmp_path / "values.npy", np.zeros((3, 4), np.float32))
    assert as_json(capsys, tmp_path / "values.npy")["dies"] == 3


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("nothing.stdf", None, "nothing.stdf"),
        ("nothing.onnx", None, "nothing.onnx"),
        ("model.kgd", b"KGD", "magic"),
        ("model.pt", b"PK\x03\x04....", "knowngood export"),
        ("model.tflite", b"not a model", "model.tflite"),
        ("lot.stdf", b"not a lot", "lot.stdf"),
        ("picture.png", b"\x89PNG", "picture.png"),
    ],
)
def test_what_cannot_be_inspected(tmp_path, capsys, name, data, says):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert main(["inspect", str(tmp_path / name)]) == 3
    assert says in capsys.readouterr().err


def test_a_certificate_is_told_to_be_one(tmp_path, capsys):
    path = tmp_path / "certificate.json"
    path.write_text('{"forms":[],"knowngood_certificate":1}')
    assert main(["inspect", str(path)]) == 3
    assert f"is a certificate: 'knowngood certify {path}' shows it" in capsys.readouterr().err
