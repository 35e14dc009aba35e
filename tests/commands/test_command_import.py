"""``knowngood import`` from the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import knowngood
from knowngood._commands import main
from knowngood._model_file import read_model
from knowngood_quantize.certificate import DEFAULT_GATES
from knowngood_quantize.int8 import Int8Recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with model.onnx, 8-2-8 with tanh, and good dies in good.npy and good.csv."""
    folder, rng = tmp_path_factory.mktemp("import"), np.random.default_rng(0)
    weight = (rng.normal(size=(8, 2)) / 3).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "w1"], ["y"]),
    ]
    values = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 8]) for n in "xy")
    constants = {"w0": weight, "w1": np.linalg.pinv(weight).astype(np.float32)}
    graph = helper.make_graph(
        nodes, "g", [next(values)], [next(values)],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save_model(model, str(folder / "model.onnx"))
    latent = rng.normal(size=(900, 2)) / 3
    dies = latent @ np.linalg.pinv(weight) + rng.normal(size=(900, 8)) / 50
    np.save(folder / "good.npy", dies.astype(np.float32))
    bins = np.where(np.arange(900) % 9 == 8, 7, 1)
    rows = [",".join([str(b), *(f"{v:.6f}" for v in row)])
            for b, row in zip(bins, dies, strict=True)]  # fmt: skip
    header = "hard_bin," + ",".join(f"t{i}" for i in range(8))
    (folder / "good.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def run(place, *arguments, model="model.onnx", good="good.npy"):
    return main(["import", str(place / model), "--good", str(place / good), *map(str, arguments)])


def test_writes_one_sealed_file_and_says_what_it_holds(place, tmp_path, capsys):
    assert run(place, "-o", tmp_path / "ae.kgd") == 0
    printed = capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["ae.kgd"]
    for words in ("8 → 2 → 8, head mse", "too few dies, extrapolated", "imported from model.onnx",
                  "kgd fp32", "kgd int8", "ae.kgd"):  # fmt: skip
        assert words in printed
    scorer = knowngood.load(tmp_path / "ae.kgd", fpr=0.05)
    dies = np.load(place / "good.npy")
    assert (scorer.score(dies).verdicts == knowngood.Verdict.REJECT).mean() < 0.12


def test_json_of_dies_chosen_by_a_condition(place, tmp_path, capsys):
    arguments = ["-o", tmp_path / "ae.kgd", "--good-if", "hard_bin == 1", "--fpr", "0.03"]
    assert run(place, *arguments, "--json", "--precision", "fp32", good="good.csv") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["dropped"]["tester fail"] == 100
    assert record["widths"] == [8, 2, 8]
    assert [f["form"] for f in record["export"]["forms"]] == ["kgd fp32"]
    assert {p["fpr"]: p["supported"] for p in record["operating_points"]}[0.03]
    manifest = read_model(tmp_path / "ae.kgd").manifest
    assert manifest.screen.default_fpr == 0.03
    assert [t.name for t in manifest.screen.schema.tests] == [f"t{i}" for i in range(8)]


def test_a_trained_model_for_the_other_formats(place, tmp_path, capsys):
    assert run(place, "-o", tmp_path / "ae.pt", "--quiet", "--scaler", "fit") == 0
    assert capsys.readouterr().out == ""
    out = str(tmp_path / "out")
    arguments = [str(tmp_path / "ae.pt"), "-o", out, "--formats", "onnx", "--precision", "fp32"]
    assert main(["export", *arguments, "--quiet"]) == 0
    assert (tmp_path / "out" / "model.onnx").exists()


def test_gates_refuse_int8_and_the_fallback_seals_fp32_in_its_place(place, tmp_path, capsys):
    gates = tmp_path / "gates.json"  # int8 has 127 steps to either side
    gates.write_text(replace(DEFAULT_GATES, weight_steps=1000.0).to_json())
    sealed = tmp_path / "ae.kgd"
    assert run(place, "-o", sealed, "--gates", gates, "--fpr", "0.05") == 1
    assert "--fallback" in capsys.readouterr().err
    assert not sealed.exists()
    arguments = ["--gates", gates, "--fpr", "0.05", "--fallback", "--json"]
    assert run(place, "-o", sealed, *arguments) == 0
    record = json.loads(capsys.readouterr().out)
    assert [f["form"] for f in record["export"]["forms"]] == ["kgd fp32"]


def test_the_recipe_is_read_from_a_file(place, tmp_path, capsys):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(Int8Recipe(rounding="nearest").to_json())
    arguments = ["-o", tmp_path / "ae.kgd", "--json", "--fpr", "0.05"]
    assert run(place, *arguments, "--recipe", recipe) == 0
    told = json.loads(capsys.readouterr().out)["export"]["certificate"]["recipe"]
    assert told["rounding"] == "nearest"


@pytest.mark.parametrize("option", [["--fallback"], ["--gates", "g.json"], ["--recipe", "auto"]])
def test_options_of_int8_are_for_sealed_files(place, tmp_path, capsys, option):
    assert run(place, "-o", tmp_path / "ae.pt", *option) == 2
    assert "give them to 'knowngood export'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [b"", b"TFL3 and more", b"\x08\x01", b"\x89HDF\r\n\x1a\n"])
@pytest.mark.parametrize("name", ["bad.onnx", "bad.tflite", "bad.h5"])
def test_damaged_files_end_with_exit_code_3(place, tmp_path, capsys, name, data):
    (place / name).write_bytes(data)
    assert run(place, "-o", tmp_path / "ae.kgd", model=name) == 3
    assert f"{name} cannot be imported" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_wrong_use_ends_with_exit_code_2(place, tmp_path, capsys):
    assert run(place, "-o", tmp_path / "model.onnx") == 2
    assert "ends in .kgd or .pt" in capsys.readouterr().err
    assert run(place, "-o", tmp_path / "no" / "ae.kgd") == 2
    assert run(place, "-o", tmp_path / "ae.kgd", model="good.csv") == 2
    assert "expected a name ending in .onnx" in capsys.readouterr().err
    assert run(place, "-o", tmp_path / "ae.kgd", "--precision", "int4") == 2
    assert not list(tmp_path.iterdir())
