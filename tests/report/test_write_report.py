"""From files to the page: ``knowngood score`` makes the verdicts, ``report`` the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_parser import Page
from report_scene import FPR, Scene, make_scene

from knowngood._commands import main
from knowngood._kgd import encode
from knowngood._lot import NO_COORDINATE
from knowngood._manifest import Drift, Provenance
from knowngood.report import ReportFacts, write_report
from knowngood.report._facts import gather
from knowngood.report._sources import FORMS, open_sources
from knowngood_export._forms import FORMATS, KNOWN_PRECISIONS, choose_forms
from sealed_models import seal_up
from tiny_models import tiny_onnx

pytest.importorskip("onnxruntime")


def write_lot(path: Path, scene: Scene, rows: slice = slice(None)) -> None:
    tests, dies = scene.network.screen.schema.tests, scene.rows
    has_places = bool((dies.x != NO_COORDINATE).all())
    np.savez(
        path,
        values=scene.values[rows],
        numbers=np.array([t.number for t in tests]),
        names=np.array([t.name for t in tests]),
        units=np.array([t.units for t in tests]),
        low=np.array([np.nan if t.low is None else t.low for t in tests]),
        high=np.array([np.nan if t.high is None else t.high for t in tests]),
        lot=dies.lot[rows].astype(str),
        wafer=dies.wafer[rows].astype(str),
        part_id=dies.part_id[rows].astype(str),
        site=dies.site[rows],
        tester_pass=(dies.disposition[rows] != "tester_fail").astype(np.int8),
        **({"x": dies.x[rows], "y": dies.y[rows]} if has_places else {}),
    )


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Path:
    """A folder with the model, two lot files, and their verdicts."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "model.onnx").write_bytes(tiny_onnx(scene.network, scene.manifest))
    write_lot(folder / "first.npz", scene, slice(0, 400))
    write_lot(folder / "second.npz", scene, slice(400, None))
    lots = [str(folder / "first.npz"), str(folder / "second.npz")]
    output = str(folder / "verdicts.csv")
    assert main(["score", str(folder / "model.onnx"), *lots, "-o", output, "--quiet"]) == 0
    return folder


def copy(scored: Path, folder: Path, *names: str) -> Path:
    """Some of the files elsewhere, with a record that names them by their bare names."""
    for name in names:
        (folder / name).write_bytes((scored / name).read_bytes())
    record = json.loads((scored / "verdicts.csv.run.json").read_text())
    record["model"]["path"] = "model.onnx"
    for item in record["inputs"]:
        item["path"] = item["name"]
    (folder / "verdicts.csv.run.json").write_text(json.dumps(record))
    return folder / "verdicts.csv"


def gathered(verdicts: Path, **named: Any) -> ReportFacts:
    """What ``write_report`` would say, without drawing it."""
    found = open_sources(verdicts, **named)
    return gather(
        found.rows,
        found.run,
        manifest=found.manifest,
        rescored=found.rescored,
        left_out=found.left_out,
    )


def test_verdicts_of_a_precision_are_reported_in_it(tmp_path: Path, scene: Scene) -> None:
    """The thresholds of int8, the file's default, are others, and would judge other dies."""
    fp32 = scene.network.screen.operating_points
    int8 = tuple(replace(p, threshold=float(np.float32(p.threshold * 0.7))) for p in fp32)
    sealed = seal_up(scene.network, with_bands=False, provenance=scene.manifest.provenance)
    model, output = tmp_path / "model.kgd", tmp_path / "verdicts.csv"
    model.write_bytes(encode(replace(sealed, points={"fp32": fp32, "int8": int8})))
    write_lot(tmp_path / "lot.npz", scene, slice(0, 200))
    arguments = [str(model), str(tmp_path / "lot.npz"), "-o", str(output), "--quiet"]
    for precision, points in (("fp32", fp32), ("int8", int8)):
        assert main(["score", *arguments, "--precision", precision]) == 0
        facts = write_report(output, tmp_path / "r.html")
        assert facts.left_out == ()
        assert facts.changed == 0
        assert facts.operating_points == points
        assert facts.run.model.precision == precision
        page = Page.of((tmp_path / "r.html").read_text())
        assert model.read_bytes()[64:96].hex() in page.section("model").text
        assert facts.flagged


def test_every_file_that_export_writes_is_looked_for() -> None:
    forms = choose_forms(FORMATS, KNOWN_PRECISIONS)
    assert sorted(FORMS) == sorted({form.file_name for form in forms})


def test_the_whole_way(scored: Path, scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    out = scored / "report.html"
    assert main(["report", str(scored / "verdicts.csv"), "-o", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["flagged"] == int((scene.rows.disposition == "outlier").sum())
    assert figures["nominal_yield_loss"] == FPR
    assert figures["left_out"] == []
    assert figures["changed_when_scored_again"] == 0
    page = Page.of(out.read_text("utf-8"))
    for name in (
        "wafers",
        "scores",
        "detection",
        "flagged",
        "showcase",
        "pareto",
        "yield",
        "drift",
    ):
        assert page.has_section(name)
    text = page.section("model").text
    assert "model.onnx" in text
    assert "first.npz, second.npz" in text
    best = max(
        np.flatnonzero(scene.rows.disposition == "outlier"), key=lambda row: scene.rows.score[row]
    )
    top = scene.rescored.top_tests(int(best))[0]
    first = page.section("flagged").all("table")[0].rows()[0]
    assert first[2] == top.test.label
    scale = 1e9 if first[6] == "nA" else 1.0
    assert float(first[4]) == pytest.approx(top.value * scale, rel=5e-3)


@pytest.mark.parametrize("quiet", [False, True])
def test_summary_for_people(
    scored: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    monkeypatch.setattr("knowngood.report.render", lambda facts, created: "the page")
    out = scored / "people.html"
    arguments = ["report", str(scored / "verdicts.csv"), "-o", str(out)]
    assert main([*arguments, "--quiet"] if quiet else arguments) == 0
    assert ("flagged" in capsys.readouterr().out) is not quiet
    assert out.read_text() == "the page"


def test_without_the_model_its_parts_are_left_out(scored: Path, tmp_path: Path) -> None:
    verdicts = copy(scored, tmp_path, "verdicts.csv", "first.npz", "second.npz")
    facts = write_report(verdicts, tmp_path / "r.html")
    assert facts.manifest is None
    assert facts.showcase is None
    assert "model.onnx was not found" in facts.left_out[0].why
    assert facts.left_out[1].why == "the model is not at hand"
    assert "--model" in Page.of((tmp_path / "r.html").read_text()).section("left-out").text


def test_files_beside_the_table_are_found(scored: Path, tmp_path: Path) -> None:
    names = ("verdicts.csv", "first.npz", "second.npz", "model.onnx")
    facts = gathered(copy(scored, tmp_path, *names))
    assert facts.left_out == ()


def test_forms_exported_together_share_their_drift_table(
    scored: Path, tmp_path: Path, scene: Scene
) -> None:
    verdicts = copy(scored, tmp_path, "verdicts.csv", "model.onnx")
    one, two = Drift("a", 9, 9, 0, 0, 0, 0, 0, 0), Drift("b", 9, 9, 0, 0, 0, 0, 0, 0)
    int8 = tmp_path / "model.int8.onnx"
    (tmp_path / "model.tflite").write_bytes(b"not a model")
    other = replace(scene.manifest, drift=(two,), provenance=Provenance(seed=8))
    int8.write_bytes(tiny_onnx(scene.network, other))
    unchanged = gathered(verdicts).manifest
    assert unchanged is not None
    assert unchanged.drift == scene.manifest.drift
    int8.write_bytes(tiny_onnx(scene.network, replace(scene.manifest, drift=(one,))))
    manifest = gathered(verdicts).manifest
    assert manifest is not None
    assert manifest.drift == (*scene.manifest.drift, one)


def test_without_the_lots_values_are_left_out(scored: Path, tmp_path: Path) -> None:
    facts = gathered(copy(scored, tmp_path, "verdicts.csv", "model.onnx", "first.npz"))
    assert facts.manifest is not None
    (gone,) = facts.left_out
    assert "second.npz could not be found" in gone.why
    assert all(f.readings is None for die in facts.flagged for f in die.findings)


def test_a_lot_that_changed_since_is_not_believed(
    scored: Path, tmp_path: Path, scene: Scene
) -> None:
    verdicts = copy(scored, tmp_path, "verdicts.csv", "model.onnx", "first.npz")
    write_lot(tmp_path / "second.npz", make_scene(seed=2), slice(400, None))
    (gone,) = gathered(verdicts).left_out
    assert "second.npz is not the file that was scored" in gone.why


def test_the_named_model_must_be_the_one_of_the_verdicts(
    scored: Path, tmp_path: Path, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(
        tiny_onnx(
            scene.network, replace(scene.manifest, evaluation=type(scene.manifest.evaluation)())
        )
    )
    out = tmp_path / "r.html"
    arguments = ["report", str(scored / "verdicts.csv"), "-o", str(out), "--model", str(other)]
    assert main(arguments) == 2
    assert "is not the model of these verdicts" in capsys.readouterr().err
    assert not out.exists()


def test_named_lots_in_another_order_are_refused(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lots = [str(scored / "second.npz"), str(scored / "first.npz")]
    out = tmp_path / "r.html"
    assert main(["report", str(scored / "verdicts.csv"), "-o", str(out), "--lot", *lots]) == 2
    assert "is not the file that was scored" in capsys.readouterr().err
    assert not out.exists()


def test_without_a_run_record_the_model_says_which_point_it_was(
    scored: Path, tmp_path: Path
) -> None:
    verdicts = copy(scored, tmp_path, "verdicts.csv")
    (tmp_path / "verdicts.csv.run.json").unlink()
    bare = gathered(verdicts)
    assert [item.what.split()[0] for item in bare.left_out] == ["which", "thresholds", "values"]
    assert np.isnan(bare.run.fpr)
    lots = [scored / "first.npz", scored / "second.npz"]
    named = gathered(verdicts, model=scored / "model.onnx", lots=lots)
    assert named.run.fpr == FPR
    assert named.showcase is not None


def test_an_edited_verdict_is_noticed(scored: Path, tmp_path: Path) -> None:
    names = ("verdicts.csv", "first.npz", "second.npz", "model.onnx")
    verdicts = copy(scored, tmp_path, *names)
    lines = verdicts.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if ",REJECT," in line)
    lines[place] = lines[place].replace(",REJECT,", ",PASS,").replace(",outlier,", ",keep,")
    verdicts.write_text("".join(lines))
    facts = gathered(verdicts)
    assert facts.changed == 1
    assert "1 rows have another disposition" in facts.warnings[0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["report", "{scored}/none.csv", "-o", "{tmp}/r.html"], 3, "none.csv"),
        (["report", "{scored}/model.onnx", "-o", "{tmp}/r.html"], 3, "no verdict table"),
        (["report", "{scored}/verdicts.csv", "-o", "{tmp}/no/r.html"], 2, "does not exist"),
        (["report", "{scored}/verdicts.csv"], 2, "-o"),
        (
            ["report", "{scored}/verdicts.csv", "-o", "{tmp}/r.html", "--model", "{tmp}/x.onnx"],
            3,
            "x.onnx",
        ),
    ],
)
def test_wrong_use(
    scored: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert main([a.format(scored=scored, tmp=tmp_path) for a in arguments]) == code
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(
    scored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    out = str(tmp_path / "r.html")
    assert main(["report", str(scored / "verdicts.csv"), "-o", out]) == 2
    assert "pip install 'knowngood[report]'" in capsys.readouterr().err


def test_final_test_lots_have_no_wafer_maps(tmp_path: Path) -> None:
    scene = make_scene(n_wafers=1, coordinates=False)
    model, lot, verdicts = (tmp_path / n for n in ("model.onnx", "lot.npz", "verdicts.csv"))
    model.write_bytes(tiny_onnx(scene.network, scene.manifest))
    write_lot(lot, scene)
    assert main(["score", str(model), str(lot), "-o", str(verdicts), "--quiet"]) == 0
    write_report(verdicts, tmp_path / "r.html")
    section = Page.of((tmp_path / "r.html").read_text()).section("wafers")
    assert section.all("h2")[0].text == "Dies by site"


def test_parts_numbered_from_1_in_every_file_are_different_dies(tmp_path: Path) -> None:
    """Two files of one final test lot, without coordinates."""
    scene = make_scene()
    dies = replace(scene.rows, x=np.full_like(scene.rows.x, NO_COORDINATE))
    scene = replace(scene, rows=dies)
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(scene.network, scene.manifest))
    for name in ("first", "second"):
        write_lot(tmp_path / f"{name}.npz", scene, slice(0, 50))
    lots = [str(tmp_path / "first.npz"), str(tmp_path / "second.npz")]
    output = tmp_path / "verdicts.csv"
    main(["score", str(tmp_path / "model.onnx"), *lots, "-o", str(output), "--quiet"])
    headline = gathered(output).headline
    assert (headline.n_dies, headline.n_earlier) == (100, 0)
