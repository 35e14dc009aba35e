"""The record says what was measured, three ways."""

from __future__ import annotations

import json

import pytest

from benchmarks._accuracy import REFERENCE, Accuracy, AtPoint
from benchmarks._cases import ScoreErrors, read_cases
from benchmarks._record import markdown_table, write_record
from benchmarks._run import CaseResult
from knowngood._bench import Latency

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


def make_result(failures: tuple[str, ...] = ()) -> CaseResult:
    case = read_cases(quick=True)[0]
    latencies = tuple(
        Latency(name, batch, 200, 10.0 * batch, 11.0 * batch, 12.0 * batch, 13.0 * batch)
        for batch in case.batches
        for name in NAMES
    )
    accuracy = (
        accuracy_of(REFERENCE, "float64", 0.0),
        accuracy_of("numpy fp32", "fp32", 0.0),
        accuracy_of("litert int8", "int8", 17.5),
        accuracy_of("pat", "baseline", None),
    )
    return CaseResult(
        case, (48, 8, 48), 4000, 4000, dict.fromkeys(NAMES, "9.9"), {"model.onnx": 12345},
        latencies, accuracy, ("tflite-runtime: no wheel",), failures,
    )  # fmt: skip


@pytest.fixture
def written(tmp_path):
    return write_record([make_result()], tmp_path / "records", "name")


def test_json_has_every_figure(written):
    record = json.loads(written.with_suffix(".json").read_text())
    assert record["processor"]
    assert record["versions"]["numpy"]
    (case,) = record["cases"]
    assert case["latencies"][0]["us_per_die"] == 10.0
    assert case["accuracy"][2]["points"][1]["flips_good"] == 17.5
    assert case["case"]["seed"] == make_result().case.seed


def test_markdown_has_latency_drift_and_detection(written):
    text = written.read_text()
    assert "| numpy fp32 (9.9) | 10.0 (11.0) | 640.0 (704.0) | 10000.0 (11000.0) | 10.00 |" in text
    assert "| litert int8 | +6.0e-02 | 2.0e-02 | 3.0e-01 | 4.0e-01 | 17.5 / 17.5 |" in text
    assert "| pat | 0.60% | 0.40% | 81.0% |" in text
    assert "Skipped: tflite-runtime: no wheel." in text
    assert "Every answer is within" in text


def test_the_plot_is_beside_it_and_linked(written):
    plot = written.with_name("name.small-48.png")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"({plot.name})" in written.read_text()


def test_wrong_answers_stand_at_the_top(tmp_path):
    written = write_record([make_result(("numpy fp32: far off",))], tmp_path, "name")
    text = written.read_text()
    assert "**Wrong answers:** numpy fp32: far off." in text
    assert "Every answer is within" not in text


def test_without_a_name_it_is_date_and_processor(tmp_path):
    written = write_record([make_result()], tmp_path)
    assert written.name[:2] == "20"
    assert written.stem == written.stem.lower().replace(" ", "-")


def test_markdown_table_aligns_numbers_to_the_right():
    assert markdown_table(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | --: |\n| x | 1 |"
