"""``knowngood bench``: which models it takes and what it writes down; never how long they took."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import knowngood
from knowngood._commands import main
from knowngood._kgd import encode
from knowngood.latency import BenchPlan
from knowngood.latency._plan import MAX_BATCH, MAX_SECONDS
from sealed_models import seal_up
from tiny_models import tiny_network, tiny_onnx

QUICK = ("--batches", "1,4", "--seconds", "0.001")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.kgd").write_bytes(encode(seal_up(tiny_network())))
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(tiny_network()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sealed_model_is_timed_beside_another(folder: Path, capsys) -> None:
    assert main(["bench", "model.kgd", "model.onnx", *QUICK, "--json", "b.json"]) == 0
    out = capsys.readouterr().out
    assert f"model 1: model.kgd [verified, {knowngood.load('model.kgd').engine_name} " in out
    assert "model 2: model.onnx [fp32, onnxruntime " in out
    assert "Host interrupts:" in out
    rows = json.loads((folder / "b.json").read_text())["latency_us"]
    assert [row["batch"] for row in rows] == [1, 1, 1, 4, 4, 4]
    assert all(row["p50_us"] > 0 and row["n_calls"] >= 200 for row in rows)
    assert [row["condition"] for row in rows] == ["hot", "hot", "rescored"] * 2


def test_the_precision_can_be_chosen(folder: Path, capsys) -> None:
    assert main(["bench", "model.kgd", *QUICK, "--precision", "fp32"]) == 0
    assert "[fp32, " in capsys.readouterr().out
    assert main(["bench", "model.kgd", *QUICK, "--precision", "int4"]) == 2
    assert "no precision 'int4'" in capsys.readouterr().err


def test_each_engine_in_each_precision(folder: Path, capsys) -> None:
    choices = ("--engine", "reference,native", "--precision", "int8,fp32")
    assert main(["bench", "model.kgd", *QUICK, *choices, "--json", "-"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [(model["engine"], model["precision"]) for model in models] == [
        ("reference", "int8"),
        ("reference", "fp32"),
        ("native", "int8"),
        ("native", "fp32"),
    ]


def test_each_path_of_the_processor(folder: Path, capsys) -> None:
    paths = knowngood.cpu_paths()
    arguments = ("--cpu-path", ",".join(paths), "--batches", "1", "--seconds", "0.001")
    assert main(["bench", "model.kgd", *arguments, "--json", "-"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [model["cpu_path"] for model in models] == list(paths)
    assert main(["bench", "model.kgd", *QUICK, "--cpu-path", "mmx"]) == 2
    assert "'mmx'" in capsys.readouterr().err


def test_paths_are_for_the_native_engine_alone(folder: Path, capsys) -> None:
    path = knowngood.cpu_paths()[-1]
    arguments = ("--batches", "1", "--seconds", "0.001", "--json", "-", "--cpu-path", path)
    models = ("model.kgd", "model.onnx")
    assert main(["bench", *models, *arguments]) == 0
    found = json.loads(capsys.readouterr().out)["models"]
    assert [(m["engine"], m["cpu_path"]) for m in found] == [
        ("native", path),
        ("onnxruntime", None),
    ]
    assert main(["bench", "model.kgd", *arguments, "--engine", "reference,native"]) == 0
    found = json.loads(capsys.readouterr().out)["models"]
    assert [(m["engine"], m["cpu_path"]) for m in found] == [("reference", None), ("native", path)]
    assert main(["bench", "model.onnx", *arguments]) == 2
    assert f"--cpu-path {path}: only engine native" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("./model.kgd",), "model.kgd twice"),
        (("--batches", "1,4,1"), "--batches) has 1 twice"),
        (("--engine", "native,native"), "--engine has native twice"),
        (("--precision", "int8,fp32,int8"), "--precision has int8 twice"),
        (("--cpu-path", "scalar,scalar"), "--cpu-path has scalar twice"),
        (("--engine", "native,"), "--engine takes names with commas between, found 'native,'"),
        (("--quiet",), "--quiet prints nothing: give --json FILE too"),
    ],
)
def test_what_would_be_timed_twice_or_in_vain_is_refused(
    folder: Path, capsys, arguments: tuple[str, ...], says: str
) -> None:
    assert main(["bench", "model.kgd", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err


def test_help_says_the_defaults_and_the_limits(capsys) -> None:
    assert main(["bench", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    plan = BenchPlan()
    assert f"default: {','.join(map(str, plan.batches))})" in said
    assert f"default: {plan.seconds:g})" in said
    assert f"up to {MAX_BATCH:,} " in said
    assert f"up to {MAX_SECONDS:,.0f} " in said


def test_models_of_different_widths_get_dies_of_their_own(folder: Path, capsys) -> None:
    (folder / "wide.kgd").write_bytes(encode(seal_up(tiny_network(n_tests=9))))
    assert main(["bench", "model.kgd", "wide.kgd", *QUICK, "--json", "-"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [model["n_tests"] for model in models] == [6, 9]
    assert [model["n_unscored"] for model in models] == [0, 0]


def test_json_alone_goes_where_it_is_told(folder: Path, capsys) -> None:
    assert main(["bench", "model.kgd", *QUICK, "--json", "b.json", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["bench", "model.kgd", *QUICK, "--json", "-"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out).keys() == json.loads((folder / "b.json").read_text()).keys()
    assert sorted(path.name for path in folder.iterdir()) == ["b.json", "model.kgd", "model.onnx"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_the_core_asked_for_is_said_and_given_back(folder: Path, capsys) -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    assert main(["bench", "model.kgd", *QUICK, "--core", str(core), "--json", "-"]) == 0
    host = json.loads(capsys.readouterr().out)["host"]
    assert host["cpus"] == [core]
    assert os.sched_getaffinity(0) == before


def test_a_priority_that_is_refused_is_found_before_the_model_is_read(
    folder: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse, raising=False)
    assert main(["bench", "nowhere.kgd", *QUICK, "--realtime"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("knowngood: --realtime")
