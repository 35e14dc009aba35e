"""The yardstick: AUC against scikit-learn, detection against closed forms, figures by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from knowngood._errors import UsageError
from knowngood._lot import Dies, Lot
from knowngood._schema import Schema, Test
from knowngood_quantize.injection import InjectedSet
from knowngood_quantize.yardstick import (
    YIELD_LOSS_GRID,
    detection_at,
    evaluate,
    fail_die_figures,
    missing_pattern_check,
    roc_auc,
)

NAN = np.float32(np.nan)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
)
def test_auc_with_ties(negative: list[int], positive: list[int]) -> None:
    expected = roc_auc_score([0] * len(negative) + [1] * len(positive), negative + positive)
    found = roc_auc(np.array(negative, float), np.array(positive, float))
    assert found == pytest.approx(expected, abs=1e-12)


def test_auc_leaves_nan_out() -> None:
    assert roc_auc(np.array([0.0, np.nan]), np.array([np.nan, 1.0, -1.0])) == 0.5
    assert np.isnan(roc_auc(np.array([np.nan]), np.array([1.0])))


def _sum(values: np.ndarray, group: np.ndarray | None) -> np.ndarray:
    return values.sum(axis=1).astype(np.float32)


def _unscored_when_negative(values: np.ndarray, group: np.ndarray | None) -> np.ndarray:
    scores = _sum(values, group)
    return np.where(values[:, 0] < 0, NAN, scores)


def _good(n: int = 20_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 1)).astype(np.float32)


def _shifted(good: np.ndarray, name: str = "shift", by: float = 3.0) -> InjectedSet:
    rows = np.arange(len(good))
    return InjectedSet(name, good + np.float32(by), rows, 7)


def test_detection_of_a_shift_in_closed_form() -> None:
    good = _good()
    evaluation = evaluate({"sum": _sum}, good, None, [_shifted(_good(seed=1))], "by hand")
    for fpr in (0.0005, 0.005, 0.02, 0.05, 0.013):
        expected = stats.norm.sf(stats.norm.isf(fpr) - 3)
        tolerance = 0.09 if fpr < 0.005 else 0.03
        assert detection_at(evaluation, "sum", "shift", fpr) == pytest.approx(
            expected, abs=tolerance
        )
    assert evaluation.n_good == 20_000
    assert evaluation.how == "by hand"
    assert evaluation.facts["impossible shift"] == 7
    assert evaluation.curves[0].n_defective == 20_000


def test_the_grid() -> None:
    assert {0.0005, 0.001, 0.005, 0.01, 0.02, 0.05} <= set(YIELD_LOSS_GRID)
    assert list(YIELD_LOSS_GRID) == sorted(set(YIELD_LOSS_GRID))
    assert max(np.diff(np.log(YIELD_LOSS_GRID))) < 0.3


def test_each_detector_has_its_own_threshold() -> None:
    good = _good(2000)
    louder = {"sum": _sum, "louder": lambda v, g: 100 * _sum(v, g)}
    evaluation = evaluate(louder, good, None, [_shifted(good)], "")
    assert evaluation.curves[0].detection == evaluation.curves[1].detection


def test_unscored_defective_dies_are_not_detected() -> None:
    good = np.abs(_good(2000))
    half = _shifted(good, by=1000.0)
    half.values[::2] = -1
    evaluation = evaluate({"d": _unscored_when_negative}, good, None, [half], "")
    assert evaluation.curves[0].detection[-1] == 0.5
    assert evaluation.facts["coverage shift d"] == 0.5
    assert evaluation.facts["coverage good d"] == 1.0


def test_groups_follow_the_dies_and_empty_classes_are_left_out() -> None:
    seen = []

    def score(values: np.ndarray, group: np.ndarray | None) -> np.ndarray:
        seen.append(group)
        return _sum(values, group)

    good, group = _good(100), np.arange(100, dtype=np.int32)
    some = InjectedSet("some", good[:3], np.array([5, 9, 11]), 0)
    none = InjectedSet("none", good[:0], np.array([], int), 100)
    evaluation = evaluate({"d": score}, good, group, [some, none], "")
    assert [c.defect for c in evaluation.curves] == ["some"]
    assert seen[1].tolist() == [5, 9, 11]
    with pytest.raises(UsageError, match="there are d/some"):
        detection_at(evaluation, "d", "none", 0.02)
    with pytest.raises(UsageError, match="not measured"):
        detection_at(evaluation, "d", "some", 0.2)


def _lot() -> Lot:
    """Four passes, four fails; test 0 has limits, test 1 leaks nothing, test 2 stops on fail."""
    tests = (Test(1, "a", low=-1.0, high=1.0), Test(2, "b"), Test(3, "c", low=0.0))
    values = np.array(
        [
            [0.1, 1.0, 5.0],
            [0.2, 2.0, 5.0],
            [1.0, 3.0, 5.0],  # on the limit: within
            [0.0, 4.0, NAN],
            [1.5, 2.5, NAN],
            [-2.0, 3.5, NAN],
            [0.0, 4.5, -1.0],
            [0.0, 5.0, NAN],  # fails without a failing test here
            [NAN, NAN, NAN],
            [9.0, 9.0, 9.0],  # an earlier attempt
        ],
        np.float32,
    )
    dies = Dies.anonymous(len(values))
    passed = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], np.int8)
    final = np.arange(len(values)) < 9
    return Lot(values, Schema(tests), replace(dies, tester_pass=passed, is_final=final))


def test_fail_die_figures_by_hand() -> None:
    masked_seen = []

    def score(values: np.ndarray, group: np.ndarray | None) -> np.ndarray:
        masked_seen.append(values)
        return values[:, 1]

    figures = fail_die_figures(_lot(), score)
    assert (figures["n_pass"], figures["n_fail"]) == (4, 4)
    failing = masked_seen[0]
    assert np.isnan(failing[[4, 5], 0]).all()
    assert np.isnan(failing[6, 2])
    assert failing[2, 0] == 1.0
    # scores 1 2 3 4 against 2.5 3.5 4.5 5: 13 of 16 pairs
    assert figures["fail_die_auc"] == 13 / 16
    # failing tests 0 0 0 0 against 1 1 1 0
    assert figures["limit_check_auc"] == (12 + 4 * 0.5) / 16
    # missing 0 0 0 1 against 1 1 0 1
    assert figures["missing_count_auc"] == pytest.approx(
        roc_auc_score([0] * 4 + [1] * 4, [0, 0, 0, 1, 1, 1, 0, 1])
    )
    assert figures["coverage_fail"] == 1.0


def test_fail_die_figures_align_to_the_model_and_say_coverage() -> None:
    lot = _lot()
    model = lot.schema.select([2, 1])
    figures = fail_die_figures(
        lot,
        lambda v, g: np.where(np.isnan(v[:, 0]), NAN, v[:, 1]),
        alignment=model.align(lot.schema),
    )
    assert figures["coverage_pass"] == 0.75
    assert figures["coverage_fail"] == 0.0
    assert "fail_die_auc" not in figures
    assert figures["limit_check_auc"] > 0.8


def test_the_missing_pattern_check_sees_a_leak_and_its_absence() -> None:
    good = np.random.default_rng(0).standard_normal((1500, 8)).astype(np.float32)
    patterns = np.arange(8) >= np.array([[3], [4], [6]])

    def counts_missing(values: np.ndarray, group: np.ndarray | None) -> np.ndarray:
        return (np.nansum(values, axis=1) + 10 * np.isnan(values).sum(axis=1)).astype(np.float32)

    def first_test(values: np.ndarray, group: np.ndarray | None) -> np.ndarray:
        return np.where(np.isnan(values[:, 3]), NAN, values[:, 0])

    leak = missing_pattern_check(counts_missing, good, None, patterns)
    assert leak.auc > 0.99
    assert leak.yield_loss > 0.9
    clean = missing_pattern_check(first_test, good, None, patterns)
    assert clean.auc == pytest.approx(0.5, abs=0.02)
    assert clean.yield_loss == pytest.approx(0.02, abs=0.01)
    assert clean.coverage == pytest.approx(2 / 3, abs=0.03)
    with pytest.raises(UsageError, match="at least one"):
        missing_pattern_check(first_test, good, None, patterns[:0])
