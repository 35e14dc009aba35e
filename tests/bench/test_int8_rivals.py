"""A tiny table from top to bottom: everybody scores it, and a wrong answer is found out."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.int8 import _edge_settings, _ort_settings
from benchmarks.int8._dies import fresh_lots, prepare
from benchmarks.int8._measure import Scores
from benchmarks.int8._ours import Ours
from benchmarks.int8._record import write_int8_record
from benchmarks.int8._run import run_set, run_sets, verified_verdicts, wrong_answers
from benchmarks.int8._sets import GeneratorSet, Sets, TableSet
from knowngood_export import synthetic
from knowngood_quantize.bands import MIN_GOOD

SETTINGS = (
    _ort_settings.SETTINGS[0],
    next(s for s in _ort_settings.SETTINGS if s.name == "dynamic per channel, one die at a time"),
    next(s for s in _ort_settings.SETTINGS if s.name == "blocks of 16, float activations"),
    next(s for s in _ort_settings.SETTINGS if "percentile" in s.name),
    _edge_settings.SETTINGS[0],
    next(s for s in _edge_settings.SETTINGS if s.name == "dynamic, GPTQ"),
    next(s for s in _edge_settings.SETTINGS if s.name == "dynamic, blocks of 32"),
)
FPRS = (0.005, 0.02)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """3,600 inliers of three factors in eight columns, and 60 anomalies that break them."""
    rng = np.random.default_rng(3)
    inliers = rng.normal(size=(3600, 3)) @ rng.normal(size=(3, 8)) + rng.normal(size=(3600, 8)) / 5
    anomalies = rng.permuted(inliers[:60], axis=0)
    folder = tmp_path_factory.mktemp("tables")
    label = np.repeat([0, 1], [3600, 60])
    np.savez(folder / "tiny.npz", X=np.concatenate([inliers, anomalies]) * 1e-3 + 7, y=label)
    case = TableSet("tiny", ("mse", "topk"), "npz", "tiny.npz", 4000, 8000)
    return case, folder / "tiny.pt", folder


@pytest.fixture(scope="module")
def result(table):
    case, model, data = table
    said: list[str] = []
    found = run_set(case, FPRS, model, data, said.append, SETTINGS)
    assert any("7 settings" in line for line in said)
    return found


def row_of(result, contestant: str, head: str = "mse"):
    (row,) = (r for r in result.rows if (r.contestant, r.head) == (contestant, head))
    return row


def test_every_answer_is_as_expected(result):
    assert result.failures == ()


def test_the_fp32_files_change_no_verdict(result):
    for form in ("onnx", "tflite"):
        for head in ("mse", "topk"):
            row = row_of(result, f"knowngood {form} fp32", head)
            assert row.flips(refitted=False) == row.flips(refitted=True) == 0
            assert abs(row.auc_change) < 1e-4


def test_int8_is_not_fp32_and_the_rivals_default_is_further_off(result):
    ours = row_of(result, "knowngood native int8")
    theirs = row_of(result, f"{_ort_settings.MAKER} {_ort_settings.DEFAULT}")
    assert 0 < abs(ours.bias) < abs(theirs.bias)
    assert 0 < ours.spread < theirs.spread
    assert 0.9 < ours.spearman < 1
    assert theirs.spearman < ours.spearman


def test_the_native_form_and_the_onnx_file_compute_the_same(result):
    native, file = (row_of(result, f"knowngood {f} int8") for f in ("native", "onnx"))
    assert file.bias == pytest.approx(native.bias, rel=1e-2, abs=1e-5)
    assert abs(file.flips(refitted=False) - native.flips(refitted=False)) < 20


def test_a_setting_that_is_refused_is_named_with_the_reason(result):
    (refusal,) = result.refused
    assert refusal.startswith("ai-edge-quantizer dynamic, blocks of 32: Unsupported op")


def test_every_other_setting_has_a_row_for_each_head(result):
    names = {row.contestant for row in result.rows}
    for setting in SETTINGS[:-1]:
        assert any(name.endswith(setting.name) for name in names)
    as_it_comes = f"{_ort_settings.MAKER} {_ort_settings.AS_IT_COMES}"
    assert [r.head for r in result.rows if r.contestant == as_it_comes] == ["mse"]
    assert len(result.rows) == 2 * (6 + 6) + 1


def test_dies_of_both_kinds_and_operating_points_are_counted(result):
    assert (result.n_good, result.n_defective) == (1800, 60)
    assert set(result.auc) == {"mse", "topk"}
    assert min(result.auc.values()) > 0.8
    for row in result.rows:
        assert tuple(p.fpr for p in row.points) == FPRS
        assert (row.n_good, row.n_defective) == (1800, 60)


def test_verified_verdicts_are_those_of_fp32_at_every_point_with_every_head(result):
    assert result.not_verified == ""
    assert [(v.head, v.fpr) for v in result.verified] == [
        (head, fpr) for head in ("mse", "topk") for fpr in FPRS
    ]
    for v in result.verified:
        assert (v.good, v.defective) == (0, 0)
        assert 0 <= v.rescored_good <= 1
    assert any(0 < v.rescored_good < 0.5 for v in result.verified)


@pytest.fixture(scope="module")
def ours(table):
    case, model, data = table
    return Ours.of(prepare(case, model, data), FPRS)


def test_too_few_dies_for_bands_are_said_and_no_error(ours):
    trained = ours.prepared.trained
    few = replace(trained.int8_dies, bands=trained.int8_dies.bands.select(np.arange(MIN_GOOD - 1)))
    prepared = replace(ours.prepared, trained=replace(trained, int8_dies=few))
    judged = prepared.judged
    exact = {k: Scores(s, s, s) for k, s in ours.exact(judged.good).items()}
    found, why_not = verified_verdicts(replace(ours, prepared=prepared), exact, exact, FPRS)
    assert found == ()
    assert f"need {MIN_GOOD} held-out good dies with a score, found" in why_not


def complaints(ours, name: str, factor: float = 1.0, own_factor: float = 1.0) -> list[str]:
    """What is said of a file whose scores, or whose own output, are a factor off."""
    contestant = next(c for c in ours.contestants() if c.name == name)
    own = contestant.own_scores
    assert own is not None
    wrong = replace(contestant, own_scores=lambda values: own(values) * np.float32(own_factor))
    judged = ours.prepared.judged
    exact, found = ours.exact(judged.good), contestant.scores(judged.good)
    return wrong_answers(
        wrong,
        {kind: as_scores(s * np.float32(factor)) for kind, s in found.items()},
        {kind: as_scores(s) for kind, s in exact.items()},
        ours.prepared,
    )


def as_scores(good) -> Scores:
    return Scores(good, good, good)


def test_right_answers_are_not_complained_of(ours):
    assert complaints(ours, "knowngood onnx fp32") == []
    assert complaints(ours, "knowngood tflite int8") == []


def test_an_fp32_file_that_scores_otherwise_is_found_out(ours):
    found = complaints(ours, "knowngood tflite fp32", factor=1.01, own_factor=1.01)
    assert [line.split(":")[0] for line in found] == [
        "knowngood tflite fp32, mse",
        "knowngood tflite fp32, topk",
    ]


def test_a_file_whose_own_score_is_not_that_of_its_reconstruction_is_found_out(ours):
    (found,) = complaints(ours, "knowngood onnx int8", own_factor=1.01)
    assert re.fullmatch(r"knowngood onnx int8: its own score is (9.9e-03|1.0e-02) from .*", found)


def test_the_record_has_the_figures_and_every_setting(result, tmp_path):
    written = write_int8_record([result], tmp_path / "records", "name")
    text = written.read_text(encoding="utf-8")
    assert "| tiny | 8 · 16 · 16" in text
    assert "knowngood onnx int8 against onnxruntime.quantization" in text
    assert "Every fp32 file scores as native fp32 does" in text
    assert "blocks of 32: Unsupported op" in text
    record = json.loads(written.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["versions"]["ai-edge-quantizer"]
    (each,) = record["sets"]
    named = [dict(zip(record["row_columns"], row, strict=True)) for row in each["rows"]]
    assert {row["contestant"] for row in named} == {row.contestant for row in result.rows}


def test_wrong_answers_stand_at_the_top_of_a_record(result, tmp_path):
    wrong = replace(result, failures=("x: far off",))
    text = write_int8_record([wrong], tmp_path, "name").read_text(encoding="utf-8")
    assert "**Wrong answers:** tiny: x: far off." in text


def test_without_the_real_data_the_tables_are_left_out(tmp_path):
    sets = Sets(FPRS, (), (TableSet("tiny", ("mse",), "npz", "tiny.npz", 9, 9),))
    said: list[str] = []
    assert list(run_sets(sets, lambda case: tmp_path, tmp_path / "none", said.append)) == []
    assert "left out" in said[0]
    assert "tiny" in said[0]


def test_a_generator_is_judged_on_lots_of_its_own():
    case = GeneratorSet("g", ("mse",), "tight", 48, 11, 3, 1, 150, 2, 300, 40)
    good, defective = fresh_lots(case)
    assert 250 < len(good) <= 300
    assert len(defective) == len(synthetic.DefectClass) * 40
    process = synthetic.process(48, "tight", seed=11)
    trained_on = synthetic.make_lot(
        process, n_wafers=1, dies_per_wafer=150, lot="LOT001", seed=11
    ).values
    assert not {die.tobytes() for die in trained_on} & {die.tobytes() for die in good}
