"""Flips and errors against a count by hand and other libraries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.int8._duels import all_duels, best_per_set, best_single, tally
from benchmarks.int8._figures import figures
from benchmarks.int8._measure import AtPoint, Row, Scores, errors_at, score_errors
from benchmarks.int8._run import SetResult
from knowngood_quantize.thresholds import fit_operating_points, refit_operating_points

ORT = "onnxruntime.quantization"
EDGE = "ai-edge-quantizer"


def scores_of(seed: int, noise: float = 0.0) -> Scores:
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    parts = [rng.chisquare(9, n) + shift for n, shift in ((999, 0), (500, 0), (300, 8))]
    return Scores(
        *((p * (1 + noise * other.normal(size=len(p)))).astype(np.float32) for p in parts)
    )


@given(seed=st.integers(0, 999), noise=st.floats(0, 0.5))
def test_flips_are_what_a_loop_over_dies_counts(seed, noise):
    exact, found = scores_of(seed), scores_of(seed, noise)
    (point,) = errors_at(exact, found, (0.02,))
    (fitted,) = fit_operating_points(exact.calibration, (0.02,))
    (own,) = refit_operating_points([fitted], exact.calibration, found.calibration)
    for name, limit in (("{}", fitted.threshold), ("{}_refitted", own.threshold)):
        for kind in ("good", "defective"):
            pairs = zip(getattr(exact, kind), getattr(found, kind), strict=True)
            flips = sum((a > fitted.threshold) != (b > limit) for a, b in pairs)
            assert getattr(point, name.format(kind)) == flips


def test_a_die_that_only_one_of_the_two_scores_flips_and_is_counted():
    exact, found = scores_of(1), scores_of(1)
    found.good[3] = np.nan
    (point,) = errors_at(exact, found, (0.02,))
    assert (point.good, point.defective) == (1, 0)
    assert score_errors(exact, found).unscored == 1


def test_errors_are_those_of_other_libraries():
    exact, found = scores_of(5), scores_of(5, 0.2)
    errors = score_errors(exact, found)
    both = [np.concatenate([s.good, s.defective]) for s in (exact, found)]
    label = np.repeat([0, 1], [500, 300])
    change = roc_auc_score(label, both[1]) - roc_auc_score(label, both[0])
    assert errors.auc_change == pytest.approx(change, abs=1e-12)
    assert errors.spearman == pytest.approx(spearmanr(*both).statistic)
    relative = found.good.astype(np.float64) / exact.good - 1
    assert errors.bias == pytest.approx(np.median(relative), rel=1e-5)
    assert errors.worst == pytest.approx(np.abs(relative).max(), rel=1e-5)


def test_flips_of_a_row_are_per_ten_thousand_of_each_kind_and_the_mean_over_the_points():
    row = a_row("x", good=2, defective=3)
    assert row.flips(refitted=False) == pytest.approx(1e4 * (2 / 1000 + 3 / 100))
    points = (AtPoint(0.001, 2, 3, 1, 0), AtPoint(0.02, 0, 0, 3, 4))
    row = replace(row, points=points)
    assert row.flips(refitted=False) == pytest.approx(1e4 * (2 / 1000 + 3 / 100) / 2)
    assert row.flips(refitted=True) == pytest.approx(1e4 * (4 / 1000 + 4 / 100) / 2)


def a_row(name: str, good: int, defective: int = 0, *, arithmetic: str = "int8") -> Row:
    maker = next((m for m in (ORT, EDGE) if name.startswith(m)), "knowngood")
    points = (AtPoint(0.005, good, defective, good, defective),)
    return Row(
        name, maker, arithmetic, "", "mse", 9, 1000, 100, 0.1, 0.1, 0.1, 0.9, 0.001, 0, points
    )


def a_result(name: str, flips: dict[str, int], kind: str = "table") -> SetResult:
    rows = tuple(
        a_row(n, good, arithmetic="int8 weights only" if "float" in n else "int8")
        for n, good in flips.items()
    )
    return SetResult(
        name, kind, (6, 2, 6), 9, 9, 9, 1000, 100, {"mse": 0.9}, rows, (), (), "too few", ()
    )


OURS = "knowngood onnx int8"
RESULTS = (
    a_result("a", {OURS: 5, f"{ORT} x": 4, f"{ORT} y": 9, f"{ORT} float": 1}),
    a_result("b", {OURS: 5, f"{ORT} x": 8, f"{ORT} y": 5, f"{ORT} float": 9}),
    a_result("c", {OURS: 5, f"{ORT} x": 9, f"{ORT} y": 6, f"{ORT} float": 3}),
)


def test_the_rivals_best_setting_is_picked_anew_for_each_set():
    duels = all_duels(RESULTS, OURS, ORT, refitted=False)
    same = best_per_set(duels, same=True)
    assert [(d.rival, d.outcome) for d in same] == [("x", "more"), ("y", "equal"), ("y", "fewer")]
    every = best_per_set(duels, same=False)
    assert [(d.rival, d.outcome) for d in every] == [
        ("float", "more"), ("y", "equal"), ("float", "more"),
    ]  # fmt: skip


def test_the_best_single_setting_is_the_one_that_beats_us_most():
    duels = all_duels(RESULTS, OURS, ORT, refitted=True)
    single = best_single(duels, same=False)
    assert {d.rival for d in single} == {"float"}
    assert tally(single) == {"fewer": 1, "equal": 0, "more": 2}
    assert {d.rival for d in best_single(duels, same=True)} <= {"x", "y"}


def test_a_ratio_that_is_met_and_one_that_is_not():
    flips = {
        "knowngood native int8": 2, f"{ORT} static, default": 100,
        f"{ORT} static, default, score as it comes": 90, f"{EDGE} static, min and max": 13,
    }  # fmt: skip
    found = figures([a_result("tight512-1", flips, "generator")])
    ratios = [f for f in found if f.what.startswith("tight512-1, mse, fp32's threshold")]
    assert [f.is_met for f in ratios] == [True, True, False]
    assert ratios[0].found.startswith("50.0 times (1000.0 against 20.0)")
    assert ratios[2].found.startswith("6.5 times")


def test_an_auc_that_changes_too_much_is_named():
    result = a_result("b", {"knowngood native int8": 1})
    row = result.rows[0]
    found = figures([result, replace(result, name="c", rows=(replace(row, auc_change=-0.003),))])
    (auc,) = (f for f in found if "ΔAUC" in f.what)
    assert not auc.is_met
    assert "c mse 0.0030" in auc.found
    assert "b mse" not in auc.found
