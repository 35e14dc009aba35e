"""The whole way by the command line: train, export, score, inspect, bench, report."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from workplace import MODEL_NAMES, N_TESTS, QUICK, Desk, Workplace

from knowngood import read_verdicts

COLUMNS = (
    "lot,wafer,x,y,head,site,part_id,hard_bin,soft_bin,tester_pass,n_missing,score,threshold,"
    "verdict,reason,disposition,top_tests"
)

LITERT_SAYS = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
"""LiteRT writes this line to standard error by itself, and has no switch for it."""


def knowngood(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, so that what C++ libraries print is seen too."""
    return subprocess.run(
        [sys.executable, "-m", "knowngood", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def is_fp32(name: str) -> bool:
    """Whether a file is scored in fp32 unless told otherwise; a ``.kgd`` holds both."""
    return "int8" not in name and not name.endswith(".kgd")


def test_train_says_what_it_did(desk: Desk) -> None:
    arguments = ("train", *desk.workplace.lots[:2], "-o", "out", *QUICK[:-1])
    answer = desk.run(*arguments, "--json")
    assert answer.code == 0
    assert json.loads(answer.out) == json.loads((desk.folder / "out/training.json").read_text())
    assert sorted(p.name for p in (desk.folder / "out").iterdir()) == ["model.pt", "training.json"]


def test_export_writes_the_forms_asked_for(desk: Desk) -> None:
    answer = desk.run("export", desk.workplace.trained, "-o", "out", "--json")
    assert answer.code == 0
    forms = json.loads(answer.out)["forms"]
    assert [Path(form["path"]).name for form in forms] == [MODEL_NAMES[0], *MODEL_NAMES]
    assert {p.name for p in (desk.folder / "out").iterdir()} == {*MODEL_NAMES, "certificate.json"}
    for form in forms:
        assert form["n_bytes"] == (desk.folder / form["path"]).stat().st_size


def test_export_of_baselines(desk: Desk) -> None:
    arguments = ("--formats", "kgd", "--baselines", "--json")
    answer = desk.run("export", desk.workplace.trained, "-o", "out", *arguments)
    assert answer.code == 0
    names = {Path(form["path"]).name for form in json.loads(answer.out)["forms"]}
    assert names == {"model.kgd", "pat.kgd", "t2.kgd", "pca.kgd"}
    assert {p.name for p in (desk.folder / "out").iterdir()} == {*names, "certificate.json"}
    n_dies = len(desk.workplace.read_new_lot().dies)
    for name in ("pat", "t2", "pca"):
        scored = desk.run("score", f"out/{name}.kgd", desk.workplace.new_lot, "-o", f"{name}.csv")
        assert scored.code == 0
        table = read_verdicts(f"{name}.csv")
        assert len(table.score) == n_dies
        assert np.isfinite(table.score).sum() > n_dies / 2


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_form_scores_a_lot(desk: Desk, name: str, suffix: str) -> None:
    model, out = desk.workplace.model.with_name(name), f"verdicts.{suffix}"
    answer = desk.run("score", model, desk.workplace.new_lot, "-o", out, "--json")
    assert answer.code == 0
    lot, table = desk.workplace.read_new_lot(), read_verdicts(out)
    assert json.loads(answer.out) == {"output": out, **(table.run or {})}
    for column in ("lot", "wafer", "x", "y", "head", "site", "part_id", "hard_bin", "soft_bin"):
        np.testing.assert_array_equal(getattr(table, column), getattr(lot.dies, column))
    reference = read_verdicts(desk.workplace.verdicts)
    rtol = 5e-6 if is_fp32(name) else 0.5
    np.testing.assert_allclose(table.score, reference.score, rtol=rtol)


def test_the_columns_of_a_verdict_table(desk: Desk) -> None:
    lines = desk.workplace.verdicts.read_text().splitlines()
    assert lines[0] == COLUMNS
    rows = list(csv.DictReader(lines))
    lot = desk.workplace.read_new_lot()
    assert len(rows) == len(lot.dies)
    for row, passed in zip(rows, lot.dies.tester_pass, strict=True):
        assert row["tester_pass"] == {1: "true", 0: "false", -1: ""}[int(passed)]
        assert (row["score"] == "") == (row["verdict"] == "UNSCORED")
        assert (row["reason"] == "") == (row["verdict"] != "UNSCORED")
        assert (row["top_tests"] == "") == (row["verdict"] != "REJECT")
        assert row["disposition"] in ("keep", "outlier", "hold", "tester_fail")
    pq = pytest.importorskip("pyarrow.parquet")
    arguments = ("score", desk.workplace.model, desk.workplace.new_lot, "-o", "v.parquet")
    assert desk.run(*arguments).code == 0
    assert ",".join(pq.read_schema("v.parquet").names) == COLUMNS


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_inspect_a_model(desk: Desk, name: str) -> None:
    answer = desk.run("inspect", desk.workplace.model.with_name(name), "--json")
    facts = json.loads(answer.out)
    inexact = "verified" if name.endswith(".kgd") else "int8"
    assert facts["precision"] == ("fp32" if is_fp32(name) else inexact)
    assert len(facts["schema"]["tests"]) == N_TESTS
    assert facts["default_fpr"] == 0.02
    assert desk.run("inspect", desk.workplace.model.with_name(name)).out.count("yield loss") >= 6


def test_inspect_a_lot(desk: Desk) -> None:
    facts = json.loads(desk.run("inspect", desk.workplace.new_lot, "--json").out)
    lot = desk.workplace.read_new_lot()
    assert facts["dies"] == facts["records"]["PRR"] == len(lot.dies)
    assert facts["fails"] == int((lot.dies.tester_pass == 0).sum())
    assert facts["tests"] == N_TESTS


def test_bench(desk: Desk) -> None:
    arguments = ("--batches", "1,8", "--seconds", "0.01", "--json", "b.json")
    answer = desk.run("bench", *desk.workplace.models, *arguments)
    assert answer.code == 0
    figures = json.loads((desk.folder / "b.json").read_text())["latency_us"]
    assert sum(figure["condition"] == "hot" for figure in figures) == 2 * len(MODEL_NAMES)
    assert {figure["batch"] for figure in figures} == {1, 8}
    assert all(0 < f["p50_us"] <= f["p90_us"] <= f["worst_us"] for f in figures), figures[0]
    for name in MODEL_NAMES:
        assert name in answer.out


def test_report(desk: Desk) -> None:
    answer = desk.run("report", desk.workplace.verdicts, "-o", "r.html", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["output"] == "r.html"
    page = (desk.folder / "r.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "NEW" in page


def steps(place: Workplace) -> dict[str, tuple[object, ...]]:
    return {
        "train": ("train", *place.lots, "-o", "out", *QUICK),
        "export": ("export", place.trained, "-o", "out", "--quiet"),
        "score": ("score", place.model, place.new_lot, "-o", "v.csv", "--quiet"),
        "score_tflite": (
            *("score", place.model.with_name("model.tflite"), place.new_lot),
            *("-o", "v.csv", "--quiet"),
        ),
        "bench": (
            *("bench", *place.models, "--batches", "1", "--seconds", "0.01"),
            *("--json", "b.json", "--quiet"),
        ),
        "report": ("report", place.verdicts, "-o", "r.html", "--quiet"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("step", ["train", "export", "score", "score_tflite", "bench", "report"])
def test_quiet_prints_nothing_at_all(workplace: Workplace, tmp_path: Path, step: str) -> None:
    done = knowngood(tmp_path, *steps(workplace)[step])
    said = done.stderr.replace(LITERT_SAYS, "")
    assert (done.returncode, done.stdout, said) == (0, "", "")
    assert list(tmp_path.iterdir())


def test_python_m_knowngood(workplace: Workplace, tmp_path: Path) -> None:
    done = knowngood(tmp_path, "score", workplace.model, "absent.stdf", "-o", "v.csv")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "knowngood: cannot read absent.stdf: No such file or directory"
    ]
    done = knowngood(tmp_path, "inspect", workplace.model)
    assert done.returncode == 0
    assert "model.onnx" in done.stdout
