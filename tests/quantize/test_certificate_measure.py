"""What is measured of scores, beside brute force and scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from certified_scores import POINTS, disturbed, int8, reference, scored, verified
from knowngood import NotEnoughDataError, UsageError
from knowngood_quantize.certificate import ScoredDies, certify_form, certify_reference

DIES = scored()
FOUND = disturbed(DIES, 0.02, 0.03)


def verdict(score: float, threshold: float) -> str:
    if not np.isfinite(score):
        return "unscored"
    return "pass" if score <= np.float32(threshold) else "reject"


def count_flips(expected, scores, threshold, own):
    return sum(
        verdict(a, threshold) != verdict(b, own) for a, b in zip(expected, scores, strict=True)
    )


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.1, 0.1), st.floats(0, 0.1), st.floats(0.9, 1.1), st.integers(0, 99))
def test_flips_are_counted_one_by_one(bias, spread, refit, seed):
    dies = scored(60, 30, seed=seed)
    found = disturbed(dies, bias, spread, seed=seed)
    certified = certify_form(reference(dies), int8(found, refit=refit))
    for point, expected in zip(certified.points, POINTS, strict=True):
        own = int8(found, refit=refit).thresholds[expected.fpr]
        both = ((dies.good, found.good), (dies.all_defective, found.all_defective))
        flips = [count_flips(*pair, expected.threshold, own) for pair in both]
        unchanged = [count_flips(*pair, expected.threshold, expected.threshold) for pair in both]
        assert [point.flips_good.count, point.flips_defective.count] == flips
        assert [
            point.flips_good_unchanged.count, point.flips_defective_unchanged.count,
        ] == unchanged  # fmt: skip
        assert (point.flips_good.n, point.flips_defective.n) == (60, 60)


def test_rates_at_both_thresholds():
    point = certify_form(reference(DIES), int8(FOUND, refit=1.02)).point(0.005)
    assert point.threshold == 2.5
    assert point.threshold_refitted == pytest.approx(2.55)
    assert point.rejected.count == sum(s > point.threshold_refitted for s in FOUND.good)
    assert point.rejected_unchanged.count == sum(s > 2.5 for s in FOUND.good)
    for name, scores in FOUND.defective.items():
        assert point.detection[name].share == np.mean(scores > np.float32(2.55))
        assert point.detection_unchanged[name].share == np.mean(scores > 2.5)


def test_what_the_reference_does_stands_beside_it():
    found = certify_reference(reference(DIES))
    assert found.unscored_good == 1
    assert found.unscored_defective == 0
    assert found.points[1].rejected.count == sum(s > 2.5 for s in DIES.good)
    assert found.points[1].detection["spike"].count == sum(DIES.defective["spike"] > 2.5)
    assert found.n_float64 == 99  # of the hundred, one has no score
    assert found.float64_error_median == pytest.approx(2**-20, rel=0.1)
    labels = [0] * 3999 + [1] * 1000
    expected = roc_auc_score(labels, np.concatenate([DIES.good[1:], DIES.all_defective]))
    assert found.auc == pytest.approx(expected, abs=1e-8)


def test_score_errors_are_relative_and_signed():
    error = certify_form(reference(DIES), int8(FOUND)).error
    relative = (FOUND.good[1:].astype(float) - DIES.good[1:]) / DIES.good[1:]
    assert error.n == 3999
    assert error.bias == pytest.approx(np.median(relative), rel=1e-5)
    assert error.spread == pytest.approx(stats.iqr(relative) / 1.349, rel=1e-5)
    assert error.worst == pytest.approx(np.abs(relative).max(), rel=1e-5)
    assert (error.low, error.high) == pytest.approx(tuple(np.percentile(relative, (1, 99))), 1e-5)


def test_near_the_threshold_only_dies_within_ten_per_cent_count():
    near = certify_form(reference(DIES), int8(FOUND)).point(0.02).near
    expected, found = DIES.all.astype(float), FOUND.all.astype(float)
    inside = np.abs(expected - 2.0) <= 0.2
    assert near.n == np.count_nonzero(inside)
    assert near.bias == pytest.approx(np.median(found[inside] / expected[inside] - 1), rel=1e-5)


def test_order_of_good_dies_and_detection():
    found = certify_form(reference(DIES), int8(FOUND))
    expected = stats.spearmanr(DIES.good[1:], FOUND.good[1:]).statistic
    assert found.spearman == pytest.approx(expected, abs=1e-8)
    labels = [0] * 3999 + [1] * 1000
    aucs = [roc_auc_score(labels, np.concatenate([d.good[1:], d.all_defective]))
            for d in (FOUND, DIES)]  # fmt: skip
    assert found.auc_change == pytest.approx(aucs[0] - aucs[1], rel=1e-4)
    assert (found.top5_overlap, found.n_overlap) == (0.96, 50)


def test_a_die_that_only_one_of_them_scores_is_a_flip():
    good = DIES.good.copy()
    good[1] = np.inf
    certified = certify_form(reference(DIES), int8(ScoredDies(good, DIES.defective)))
    assert certified.unscored_differ_good == 1
    assert [p.flips_good.count for p in certified.points] == [1, 1, 1]
    assert certified.unscored_differ_defective == 0


def test_the_same_scores_differ_in_nothing():
    found = certify_form(reference(DIES), int8(DIES))
    assert (found.spearman, found.auc_change, found.error.worst) == (1, 0, 0)
    assert not any(p.flips_good.count or p.flips_defective.count for p in found.points)


def test_verified_is_judged_by_its_own_scores_at_each_point():
    """At 2 % one die flips, and at no other operating point."""
    found = verified(DIES, rescored=40)
    other = DIES.good.copy()
    other[np.argmin(np.abs(other - 1.9))] = 2.1
    at_point = replace(found.rescored[0.02], scores=ScoredDies(other, DIES.defective))
    found = replace(found, rescored={**found.rescored, 0.02: at_point})
    certified = certify_form(reference(DIES), found)
    assert [p.flips_good.count for p in certified.points] == [0, 0, 1]
    point = certified.point(0.02)
    assert (point.band_low, point.band_high) == (1.75, 2.25)
    assert (point.rescored_good.count, point.rescored_good.n) == (40, 4000)
    assert (point.rescored_defective.count, point.rescored_defective.n) == (3, 1000)


def test_other_forms_have_no_band():
    point = certify_form(reference(DIES), int8(DIES)).points[0]
    assert (point.band_low, point.rescored_good) == (None, None)


def test_curves_tell_detection_at_equal_yield_loss():
    found = certify_form(reference(DIES), int8(FOUND))
    assert len(found.curve) == len(certify_reference(reference(DIES)).curve) > 20
    assert list(found.curve) == sorted(found.curve)
    at_two_per_cent = np.mean(FOUND.all_defective > np.quantile(FOUND.good[1:], 0.98))
    from knowngood_quantize.yardstick import YIELD_LOSS_GRID

    assert found.curve[YIELD_LOSS_GRID.index(0.02)] == pytest.approx(at_two_per_cent, abs=0.01)


def test_errors_by_score_cover_the_scores():
    bins = certify_form(reference(DIES), int8(FOUND)).error_by_score
    assert [b.score for b in bins] == sorted(b.score for b in bins)
    assert 4500 < sum(b.n for b in bins) <= 4999
    assert all(b.low < b.median < b.high for b in bins)
    assert np.mean([b.median for b in bins]) == pytest.approx(0.02, abs=0.01)


def test_without_defective_dies_detection_is_left_out():
    bare = ScoredDies(DIES.good, {})
    certified = certify_form(reference(bare), int8(ScoredDies(FOUND.good, {})))
    assert (certified.auc, certified.auc_change, certified.curve) == (None, None, ())
    assert certified.points[0].flips_defective.n == 0
    assert certified.points[0].detection == {}


def test_scores_of_zero_have_no_relative_error():
    zeros = ScoredDies(np.zeros(30, np.float32), {})
    certified = certify_form(reference(zeros), int8(zeros))
    assert (certified.error.n, certified.error.bias, certified.spearman) == (0, None, None)


def test_other_dies_are_refused():
    fewer = ScoredDies(DIES.good[:-1], DIES.defective)
    with pytest.raises(UsageError, match=r"3999 good.*instead of 4000 good"):
        certify_form(reference(DIES), int8(fewer))
    renamed = ScoredDies(DIES.good, {"shift": DIES.defective["shift"]})
    with pytest.raises(UsageError, match="500 shift instead of"):
        certify_form(reference(DIES), int8(renamed))


def test_no_common_operating_point_is_refused():
    with pytest.raises(UsageError, match=r"it has 0\.01, the reference 0\.001, 0\.005, 0\.02"):
        certify_form(reference(DIES), replace(int8(DIES), thresholds={0.01: 2.0}))


def test_unscored_good_dies_are_refused():
    nothing = ScoredDies(np.full(5, np.nan, np.float32), {})
    with pytest.raises(NotEnoughDataError, match="none of 5 good dies"):
        certify_reference(reference(nothing))
