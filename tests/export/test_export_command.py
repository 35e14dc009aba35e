"""``knowngood export`` from the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from knowngood._commands import main
from knowngood._forward import forward
from knowngood._manifest import Evaluation, Provenance
from knowngood._model_file import read_model
from knowngood_export._fit import Part
from knowngood_export._trained import CalibrationSet, Int8Dies, TrainedModel, save_model
from knowngood_quantize.int8 import Int8Recipe
from knowngood_quantize.thresholds import fit_operating_points
from random_networks import make_dies, make_network


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    network = make_network((24, 12, 5, 12, 24))
    good, group = make_dies(network, 1000, missing=0.02)
    defective, defective_group = make_dies(network, 100, seed=9)
    points = fit_operating_points(forward(network, good).scores)
    network = replace(network, screen=network.screen.with_operating_points(points))
    calibration = CalibrationSet(
        good, group, defective, defective_group, np.arange(100, dtype=np.int32) % 3,
        np.arange(1000, dtype=np.int32) % 4,
    )  # fmt: skip
    part = Part(*make_dies(network, 600, missing=0.02, seed=3))
    int8_dies = Int8Dies.of(part, part)
    provenance = Provenance(notes=("three constant tests were left out",))
    path = tmp_path_factory.mktemp("trained") / "model.pt"
    save_model(path, TrainedModel(network, (), calibration, int8_dies, provenance, Evaluation()))
    return str(path)


def test_writes_all_forms_and_prints_a_table(model_path, tmp_path, capsys):
    assert main(["export", model_path, "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["export", model_path, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == 6
    for name in ("model.kgd", "model.onnx", "model.int8.onnx", "model.tflite", "model.int8.tflite"):
        assert name in printed
    assert "note: three constant tests were left out" in printed


def test_json_choice_of_forms_and_operating_point(model_path, tmp_path, capsys):
    arguments = ["export", model_path, "-o", str(tmp_path), "--json", "--fpr", "0.03"]
    assert main([*arguments, "--formats", "tflite", "--precision", "int8"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [f["form"] for f in report["forms"]] == ["tflite int8"]
    screen = read_model(report["forms"][0]["path"]).manifest.screen
    assert screen.default_fpr == 0.03
    assert screen.operating_point(0.03).threshold > screen.operating_point(0.05).threshold


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--formats", "pb,onnx"], "this version of knowngood writes kgd, onnx, tflite"),
        (["--precision", "fp16"], "this version of knowngood writes fp32, int8"),
        (["--baselines"], "the model has no baselines beside it"),
        (["--formats", ""], "unknown format none"),
        (["--fpr", "1.5"], "a yield loss lies between 0 and 1"),
    ],
)
def test_wrong_use_is_exit_code_2(model_path, tmp_path, capsys, arguments, message):
    assert main(["export", model_path, "-o", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))


def test_a_model_that_is_no_model_is_exit_code_3(tmp_path, capsys):
    (tmp_path / "model.pt").write_bytes(b"not a model")
    assert main(["export", str(tmp_path / "model.pt"), "-o", str(tmp_path)]) == 3
    assert "model.pt" in capsys.readouterr().err
    assert np.all([p.name == "model.pt" for p in tmp_path.iterdir()])


def test_the_recipe_is_read_from_a_file_or_chosen_by_its_flips(model_path, tmp_path, capsys):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(Int8Recipe(rounding="nearest", smoothing=0.25).to_json())
    order = ["export", model_path, "--formats", "onnx", "--precision", "int8", "--json"]
    assert main([*order, "-o", str(tmp_path / "a"), "--recipe", str(recipe)]) == 0
    told = json.loads(capsys.readouterr().out)["certificate"]["recipe"]
    assert (told["rounding"], told["smoothing"]) == ("nearest", 0.25)
    assert main([*order, "-o", str(tmp_path / "b"), "--recipe", "auto"]) == 0
    told = json.loads(capsys.readouterr().out)["certificate"]["recipe"]
    assert len(told["trials"]) >= 4
    assert told["rounding"] in {trial["recipe"]["rounding"] for trial in told["trials"]}


@pytest.mark.parametrize(
    ("text", "message"), [("{}x", "not an int8 recipe"), (None, "cannot read the recipe")]
)
def test_a_recipe_that_is_none_is_refused(model_path, tmp_path, capsys, text, message):
    recipe = tmp_path / "recipe.json"
    if text is not None:
        recipe.write_text(text)
    code = main(["export", model_path, "-o", str(tmp_path / "a"), "--recipe", str(recipe)])
    assert code in (2, 3)
    assert message in capsys.readouterr().err
