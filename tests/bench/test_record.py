"""The record says what was measured, three ways."""

from __future__ import annotations

import json

import pytest

from benchmarks._accuracy import REFERENCE, Accuracy, AtPoint
from benchmarks._cases import ScoreErrors, read_cases
from benchmarks._record import write_record
from benchmarks._run import CaseResult
from benchmarks.speed._cases import read_speed_cases
from benchmarks.speed._run import SpeedResult
from benchmarks.speed._timing import Timing

CURVE = ((0.0005, 0.4), (0.05, 0.9))
NAMES = ("numpy fp32", "litert int8")


def accuracy_of(name: str, form: str, flips: float | None) -> Accuracy:
    points = tuple(
        AtPoint(fpr, 2.0, fpr * 1.2, fpr * 0.8, {"spike": 0.81}, flips, flips)
        for fpr in (0.001, 0.005, 0.02)
    )
    is_contestant = form in ("fp32", "int8")
    errors = ScoreErrors(0.02, 0.3, 0.4) if is_contestant else None
    return Accuracy(name, form, 0.06 if is_contestant else None, errors, points, CURVE)


def make_speed() -> SpeedResult:
    case = read_speed_cases(quick=True)[0]
    timings = tuple(
        Timing(name, "int8", how, "9.9", 0, 0, 1, False, 3, us, us, us, us, us, (us, us))
        for name, how, us in (("knowngood", "score_into", 2.0), ("litert", "x", 5.0))
    )
    return SpeedResult(case, (48, 8, 48), 768, timings, (), ())


def make_result(failures: tuple[str, ...] = ()) -> CaseResult:
    case = read_cases(quick=True)[0]
    accuracy = (
        accuracy_of(REFERENCE, "float64", 0.0),
        accuracy_of("numpy fp32", "fp32", 0.0),
        accuracy_of("litert int8", "int8", 17.5),
        accuracy_of("pat", "baseline", None),
    )
    return CaseResult(
        case, (48, 8, 48), 4000, 4000, dict.fromkeys(NAMES, "9.9"), {"model.onnx": 12345},
        accuracy, ("tflite-runtime: no wheel",), failures,
    )  # fmt: skip


@pytest.fixture
def written(tmp_path):
    return write_record([make_speed()], [make_result()], tmp_path / "records", "name")


def test_json_has_every_figure(written):
    record = json.loads(written.with_suffix(".json").read_text())
    assert record["processor"]
    assert record["versions"]["numpy"]
    (case,) = record["drift"]
    assert case["accuracy"][2]["points"][1]["flips_good"] == 17.5
    assert case["case"]["seed"] == make_result().case.seed


def test_markdown_has_drift_and_detection(written):
    text = written.read_text()
    assert "| litert int8 | +6.0e-02 | 2.0e-02 | 3.0e-01 | 4.0e-01 | 17.5 / 17.5 |" in text
    assert "| pat | 0.60% | 0.40% | 81.0% |" in text
    assert "Left out: tflite-runtime: no wheel." in text
    assert "Every answer is within" in text


def test_the_plot_is_beside_it_and_linked(written):
    plot = written.with_name("name.drift-small-48.png")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"({plot.name})" in written.read_text()


def test_wrong_answers_stand_at_the_top(tmp_path):
    written = write_record([], [make_result(("numpy fp32: far off",))], tmp_path, "name")
    text = written.read_text()
    assert "**Wrong answers:** numpy fp32: far off." in text
    assert "Every answer is within" not in text


def test_without_a_name_it_is_date_and_processor(tmp_path):
    written = write_record([], [make_result()], tmp_path)
    assert written.name[:2] == "20"
    assert written.stem == written.stem.lower().replace(" ", "-")


def test_speed_stands_before_drift_with_its_figures_in_both(written):
    (case,) = json.loads(written.with_suffix(".json").read_text())["speed"]
    figure = next(f for f in case["figures"] if "litert" in f["what"])
    assert figure["found"] == 2.5
    text = written.read_text()
    assert text.index("## Speed: small-48") < text.index("## Drift of small-48")
    assert written.with_name("name.speed-small-48-top-5.png").exists()
