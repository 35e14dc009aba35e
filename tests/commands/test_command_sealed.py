"""``inspect``, ``unpack`` and ``selftest`` of a sealed file."""

from __future__ import annotations

import csv
import json
import os
import struct
from dataclasses import replace

import numpy as np
import pytest

from knowngood import OperatingPointError, load
from knowngood._commands import main
from knowngood._kgd import encode
from knowngood._schema import Schema
from knowngood._sealed import SealedModel
from sealed_models import HISTORY, operating_points, seal_up, tiny_sealed, varied_network
from tiny_models import tiny_network, tiny_onnx

MODEL = tiny_sealed(**HISTORY, certificate='{"flips":{"good":0}}')


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.kgd"
    path.write_bytes(encode(MODEL))
    return path


def as_json(capsys, *arguments):
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def digests() -> dict[str, str]:
    """Of the golden reconstructions: the last 32 bytes of the fifth section, and 56 before them."""
    data = encode(MODEL)
    tag, at, size = struct.unpack_from("<16sQQ", data, 96 + 32 * 4)
    assert tag.rstrip(b"\0") == b"golden"
    section = data[at : at + size]
    return {"fp32": section[-88:-56].hex(), "int8": section[-32:].hex()}


def edited(path) -> SealedModel:
    """A weight is another, and the golden scores are still the old ones."""
    weight = -MODEL.int8[0].weight
    layers = (replace(MODEL.int8[0], weight=weight), MODEL.int8[1])
    path.write_bytes(encode(replace(MODEL, int8=layers)))


def test_inspect_as_json(path, capsys):
    code, facts = as_json(capsys, "inspect", path)
    assert code == 0
    assert (facts["kind"], facts["precision"]) == ("kgd", "verified")
    assert facts["precisions"] == ["verified", "int8", "fp32"]
    data = path.read_bytes()
    assert facts["sha256"] == data[32:64].hex()
    assert facts["model_id"] == data[64:96].hex()
    assert "not a certificate that this version" in facts["certificate"]["unreadable"]
    assert facts["golden"]["n_dies"] == 6
    assert facts["golden"]["scores"]["fp32"][4:] == ["0x7FC00000"] * 2
    assert facts["golden"]["reconstruction_sha256"] == digests()
    assert facts["bands"][1] == {"lo": 1.75, "hi": 2.25}
    assert [p["threshold"] for p in facts["thresholds"]["int8"]] == [3, 2, 1.5]
    assert facts["scale_limits"] == [64, 64]
    assert list(facts["sections"])[:2] == ["schema", "program"]
    assert sum(facts["sections"].values()) < facts["bytes"]
    assert len(facts["programs"]["fp32"]) == len(facts["programs"]["int8"]) == 4
    assert facts["provenance"]["seed"] == 7


def test_inspect_in_words(path, capsys):
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    for expected in (
        "autoencoder, .kgd (verified, int8, fp32)",
        "yield loss  verified   0.50%: score ≤ 2 passes",
        f"model_id    {path.read_bytes()[64:96].hex()}",
        "precisions  verified, int8, fp32",
        "golden      6 dies",
        f"int8 reconstruction {digests()['int8']}",
        "certificate not a certificate that this version of knowngood knows",
        "thresholds  int8: 0.10% 3, 0.50% 2, 2.00% 1.5",
        "2.75 to 3.25, 1.75 to 2.25, 1.25 to 1.75",
        "above which a die is scored again in fp32: 64, 64",
        "b2[3] = DENSE_INT8 relu (b1[6]; int8.1.weight int8[3, 6]",
        "b4[1] = SCORE topk k=3 min_present=3 (b1[6], b3[6];",
        "the last lot",
    ):
        assert expected in text
    assert "thresholds  fp32" not in text


def test_inspect_says_what_a_default_of_too_few_dies_means(tmp_path, capsys):
    doubtful = replace(MODEL, screen=replace(MODEL.screen, default_fpr=0.001))
    path = tmp_path / "model.kgd"
    path.write_bytes(encode(doubtful))
    assert main(["inspect", str(path)]) == 0
    points = [line for line in capsys.readouterr().out.splitlines() if "yield loss" in line]
    marks = [line.partition(" — ")[2] for line in points]
    says = "unsupported, default: refused unless asked for by extrapolate=True (--extrapolate)"
    assert (marks[0][: len(says)], marks[1:]) == (says, ["", ""])
    with pytest.raises(OperatingPointError, match="extrapolate=True"):
        load(path)
    assert load(path, extrapolate=True).fpr == 0.001


def test_inspect_shows_a_limit_that_limits_nothing_as_none(tmp_path, capsys):
    limits = np.array([np.finfo(np.float32).max, 7.5], np.float32)
    path = tmp_path / "model.kgd"
    path.write_bytes(encode(replace(MODEL, scale_limits=limits)))
    assert main(["inspect", str(path)]) == 0
    assert "scored again in fp32: none, 7.5\n" in capsys.readouterr().out


def test_inspect_gives_the_thresholds_of_each_precision_once(tmp_path, capsys):
    points = operating_points()
    model = tiny_sealed(with_bands=False)
    lower = tuple(replace(point, threshold=point.threshold - 0.5) for point in points)
    path = tmp_path / "model.kgd"
    path.write_bytes(encode(replace(model, points={"fp32": points, "int8": lower})))
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "autoencoder, .kgd (int8, fp32)" in text
    assert "yield loss  int8   0.50%: score ≤ 1.5 passes" in text
    assert "thresholds  fp32: 0.10% 3, 0.50% 2, 2.00% 1.5" in text
    assert "thresholds  int8" not in text


def test_inspect_tells_what_another_model_is(tmp_path, capsys):
    network = varied_network((7, 4, 7), "leaky_relu", "mahalanobis", 1)
    path = tmp_path / "m.kgd"
    path.write_bytes(encode(seal_up(network, precisions=("int8",))))
    code, facts = as_json(capsys, "inspect", path)
    assert (code, facts["precisions"], facts["certificate"]) == (0, ["int8"], None)
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "leaky_relu alpha=0.0199999996" in text
    assert "score.project float32[2, 7]" in text
    assert "bands" not in text


def test_control_codes_of_a_name_do_not_reach_the_terminal(tmp_path, capsys):
    notes = ("red \x1b[31m note\nand a second line",)
    provenance = replace(HISTORY["provenance"], notes=notes)
    path = tmp_path / "m.kgd"
    path.write_bytes(encode(tiny_sealed(provenance=provenance)))
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert r"red \x1b[31m note\nand a second line" in text


def test_unpack_lays_everything_out(path, tmp_path, capsys):
    folder = tmp_path / "out"
    code, facts = as_json(capsys, "unpack", path, "-o", folder)
    assert code == 0
    found = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    assert sorted(found) == facts["files"]
    assert json.loads((folder / "schema.json").read_text())["purpose"]["part_type"] == "KG1"
    points = json.loads((folder / "points.json").read_text())
    assert points["default_fpr"] == 0.005
    assert points["points"]["fp32"][1]["threshold"] == 2
    assert json.loads((folder / "manifest.json").read_text())["provenance"]["seed"] == 7
    assert json.loads((folder / "certificate.json").read_text()) == {"flips": {"good": 0}}
    program = (folder / "program.txt").read_text().splitlines()
    assert program[0] == f"model_id    {path.read_bytes()[64:96].hex()}"
    assert sum("DENSE_INT8" in line for line in program) == 2
    tensors = sorted((folder / "tensors").iterdir())
    assert tensors[3].name == "003.fp32.1.weight.npy"
    assert tensors[11].name == "011.int8.1.weight.npy"
    np.testing.assert_array_equal(np.load(tensors[3]), MODEL.fp32[0].weight)
    np.testing.assert_array_equal(np.load(tensors[11]), MODEL.int8[0].weight)


def test_unpacked_golden_dies_are_exact(path, tmp_path):
    assert main(["unpack", str(path), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    with (tmp_path / "out" / "golden.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for die, row in enumerate(rows):
        cells = [row[f"test {t.label}"] for t in MODEL.screen.schema.tests]
        values = [np.float32(cell or "nan") for cell in cells]
        assert "nan" not in cells
        np.testing.assert_array_equal(values, MODEL.golden.values[die])
        assert int(row["group"]) == MODEL.golden.group[die]
        bits = int(MODEL.golden.score_bits["int8"][die])
        assert row["score_bits_int8"] == f"0x{bits:08X}"
        assert np.float32(row["score_int8"]).view(np.uint32) == bits
    assert len(rows) == 6
    golden = json.loads((tmp_path / "out" / "golden.json").read_text())
    assert golden == {"reconstruction_sha256": digests()}


def test_unpack_takes_an_empty_folder_and_no_other(path, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["unpack", str(path), "-o", str(tmp_path / "empty"), "--quiet"]) == 0
    before = sorted(p.name for p in tmp_path.iterdir())
    for output in ("empty", "model.kgd", "no/folder"):
        assert main(["unpack", str(path), "-o", str(tmp_path / output)]) == 2
        assert output in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_unpack_fills_the_folder_that_it_is_run_in(path, tmp_path, monkeypatch):
    """The folder stays itself, with its mode, and nothing is made beside it."""
    folder = tmp_path / "here"
    folder.mkdir(mode=0o750)
    monkeypatch.chdir(folder)
    before = folder.stat()
    assert main(["unpack", str(path), "-o", ".", "--quiet"]) == 0
    after = folder.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert "golden.csv" in os.listdir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["here", "model.kgd"]


@pytest.mark.skipif(os.name != "posix", reason="the modes of folders are POSIX's")
@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() == 0, reason="the superuser may write everywhere"
)
def test_unpack_needs_no_leave_to_write_beside_an_empty_folder(path, tmp_path, capsys):
    parent = tmp_path / "parent"
    for name, mode in (("open", 0o755), ("closed", 0o555)):
        (parent / name).mkdir(parents=True)
        (parent / name).chmod(mode)
    parent.chmod(0o555)
    try:
        assert main(["unpack", str(path), "-o", str(parent / "open"), "--quiet"]) == 0
        assert main(["unpack", str(path), "-o", str(parent / "closed")]) == 2
    finally:
        parent.chmod(0o755)
    assert "closed" in capsys.readouterr().err
    assert not list((parent / "closed").iterdir())


@pytest.mark.parametrize("is_there", [False, True])
def test_unpack_leaves_nothing_behind_when_it_fails(path, tmp_path, monkeypatch, capsys, is_there):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    if is_there:
        out.mkdir()
    monkeypatch.setattr(os, "fsync", full)
    assert main(["unpack", str(path), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"cannot write {out}" in said
    assert "No space left" in said
    assert "/." not in said
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert found == (["model.kgd", "out"] if is_there else ["model.kgd"])


def test_names_of_tests_are_no_paths(tmp_path):
    """Whatever the tests are called, only the format's own names become files."""
    tests = list(MODEL.screen.schema.tests)
    tests[0] = replace(tests[0], name="../../evil", pin="/etc/passwd")
    screen = replace(MODEL.screen, schema=Schema(tuple(tests)))
    path = tmp_path / "m.kgd"
    path.write_bytes(encode(replace(MODEL, screen=screen)))
    assert main(["unpack", str(path), "-o", str(tmp_path / "a"), "--quiet"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "m.kgd"]
    assert not [p for p in (tmp_path / "a").rglob("*") if "evil" in p.name or "passwd" in p.name]


def test_unpack_is_for_sealed_files(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx(tiny_network()))
    assert main(["unpack", str(path), "-o", str(tmp_path / "out")]) == 2
    assert "unpack takes a .kgd" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_selftest_passes(path, capsys):
    code, facts = as_json(capsys, "selftest", path)
    assert (code, facts["passed"], facts["kind"]) == (0, True, "kgd")
    assert facts["engine"].startswith("native ")
    precisions = [g["precision"] for g in facts["golden"]]
    assert precisions == ["verified"] * 6 + ["int8"] * 6 + ["fp32"] * 6
    assert all(g["passed"] and g["found"] in g["expected"] for g in facts["golden"])
    for found, (precision, digest) in zip(facts["reconstructions"], digests().items(), strict=True):
        wanted = {"precision": precision, "expected": digest, "found": digest, "passed": True}
        assert found == wanted
    assert main(["selftest", str(path), "--engine", "reference"]) == 0
    text = capsys.readouterr().out
    assert "self-test passed, reference" in text
    bits = int(MODEL.golden.score_bits["int8"][0])
    assert f"int8      die 0: {facts['golden'][6]['found']}  equal" in text
    assert f"(0x{bits:08X})" in facts["golden"][6]["found"]
    assert "fp32      reconstruction of all dies  equal\n  int8      reconstruction" in text


def test_selftest_fails_and_says_where(path, capsys):
    edited(path)
    code, facts = as_json(capsys, "selftest", path)
    assert (code, facts["passed"]) == (1, False)
    assert [g["passed"] for g in facts["golden"] if g["precision"] == "fp32"] == [True] * 6
    assert not all(g["passed"] for g in facts["golden"] if g["precision"] == "int8")
    assert main(["selftest", str(path)]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert main(["selftest", str(path), "--quiet"]) == 1
    assert capsys.readouterr().out == ""


def test_selftest_fails_where_only_a_reconstruction_differs(path, capsys):
    wrong = {**MODEL.golden.reconstruction_digest, "int8": bytes(32)}
    golden = replace(MODEL.golden, reconstruction_digest=wrong)
    path.write_bytes(encode(replace(MODEL, golden=golden)))
    code, facts = as_json(capsys, "selftest", path)
    assert (code, facts["passed"]) == (1, False)
    assert all(g["passed"] for g in facts["golden"])
    assert [(r["precision"], r["passed"]) for r in facts["reconstructions"]] == [
        ("fp32", True),
        ("int8", False),
    ]
    assert main(["selftest", str(path)]) == 1
    text = capsys.readouterr().out
    assert "self-test FAILED" in text
    assert "fp32      reconstruction of all dies  equal" in text
    assert "int8      reconstruction of all dies  DIFFERS" in text


def test_selftest_of_an_onnx(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx(tiny_network()))
    code, facts = as_json(capsys, "selftest", path)
    assert (code, facts["passed"]) == (0, True)
    assert facts["engine"].startswith("onnxruntime ")
    assert "a die at every centre is scored" in facts["behaviour"]
    assert main(["selftest", str(path)]) == 0
    text = capsys.readouterr().out
    assert "behaviour passed (this kind of file carries no golden dies), onnxruntime" in text
    assert "self-test passed" not in text


def test_selftest_of_an_onnx_that_misbehaves(tmp_path, capsys):
    """Its bias is infinite: no die gets a score."""
    network = tiny_network()
    bias = np.full(6, np.inf, np.float32)
    layers = (network.layers[0], replace(network.layers[1], bias=bias))
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx(replace(network, layers=layers)))
    code, facts = as_json(capsys, "selftest", path)
    assert (code, facts["passed"]) == (1, False)
    assert "no finite score" in facts["behaviour"]
    assert main(["selftest", str(path)]) == 1
    assert "behaviour FAILED" in capsys.readouterr().out


def test_selftest_refuses_what_is_no_model(tmp_path, path, capsys):
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["selftest", str(path)]) == 3
    assert "truncated" in capsys.readouterr().err
    assert main(["selftest", str(tmp_path / "no.kgd")]) == 3
    path.write_bytes(encode(MODEL))
    assert main(["selftest", str(path), "--engine", "litert"]) == 2
