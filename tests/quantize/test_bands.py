"""Bands: no verdict differs from fp32 inside their promise, and does where they are taken away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from banded_models import FPRS, Process, model_of, scorer_of

from knowngood import Verdict
from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._sealed import Band
from knowngood_quantize._boundary import fault_paths
from knowngood_quantize.bands import (
    ELSEWHERE_MARGIN,
    MARGIN,
    MIN_BOUNDARY,
    MIN_GOOD,
    BandEvidence,
    CalibratedBands,
    calibrate_bands,
)
from knowngood_quantize.injection import standard_defects

HEADS = ("mse", "normalized", "topk", "mahalanobis")
PROCESS = Process()


def spread(values, rng):
    return 5 + 1.5 * (values - 5)


def shifted(values, rng):
    sigma = 0.01 * np.sqrt((PROCESS.loadings**2).sum(axis=0))
    return values + 0.5 * sigma * (rng.random(values.shape[1]) < 0.1)


def wild(values, rng):
    changed = values.copy()
    changed[np.arange(len(values)), rng.integers(values.shape[1], size=len(values))] += 20
    return changed


def missing(values, rng):
    return np.where(rng.random(values.shape) < 0.05, np.nan, values)


def defective(values, rng):
    return np.concatenate([s.values for s in standard_defects(values, n_dies=1500)])


FRESH = (
    lambda values, rng: values,
    spread,
    shifted,
    wild,
    missing,
    defective,
)


def verdicts_of(scores, threshold):
    judged = np.where(scores <= np.float32(threshold), Verdict.PASS, Verdict.REJECT)
    return np.where(np.isnan(scores), Verdict.UNSCORED, judged)


def flips(model, values, group):
    """Verdicts of "verified" that are not those of fp32, over all operating points."""
    fp32 = scorer_of(model, "fp32").score(values, group).scores
    n_flips = 0
    for fpr in FPRS:
        scorer = scorer_of(model, "verified", fpr)
        found = scorer.score(values, group).verdicts
        n_flips += int((found != verdicts_of(fp32, scorer.threshold)).sum())
    return n_flips


def error_scale(model, threshold):
    """Errors of squares grow with the root of the score, those of magnitudes do not."""
    return 1 if model.screen.head.kind == "topk" else np.sqrt(threshold)


@pytest.fixture(scope="module", params=HEADS)
def calibrated(request):
    model = model_of(PROCESS, request.param)
    return model, calibrate_bands(model, *PROCESS.draw(1500, seed=1))


def test_no_verdict_differs_and_without_bands_some_do(calibrated) -> None:
    model, bands = calibrated
    rng = np.random.default_rng(5)
    values, group = PROCESS.draw(6000, seed=2)
    n_without = 0
    no_bands = replace(
        bands,
        bands=tuple(Band(p.threshold, p.threshold) for p in model.points["fp32"]),
        scale_limits=np.full_like(bands.scale_limits, 1e30),
    )
    for change in FRESH:
        fresh = change(values, rng).astype(np.float32)
        sites = np.resize(group, len(fresh))
        assert flips(bands.apply(model), fresh, sites) == 0
        n_without += flips(no_bands.apply(model), fresh, sites)
    assert n_without > 20


def test_the_evidence_says_what_the_bands_rest_on(calibrated) -> None:
    model, bands = calibrated
    evidence = bands.evidence
    assert evidence.n_good == 1500
    assert [p.fpr for p in evidence.points] == list(FPRS)
    worst = max(
        max(f.highest - f.centre, f.centre - f.lowest) / error_scale(model, p.threshold)
        for p in evidence.points
        for f in p.faults
    )
    for point, band, fp32 in zip(evidence.points, bands.bands, model.points["fp32"], strict=True):
        assert (point.threshold, point.lo, point.hi) == (fp32.threshold, band.lo, band.hi)
        assert band.lo < point.threshold < band.hi
        assert float(np.float32(band.lo)) == band.lo
        assert float(np.float32(band.hi)) == band.hi
        assert point.n_dies == sum(f.n_dies for f in point.faults) > 5000
        for fault in point.faults:
            assert fault.lowest <= fault.centre <= fault.highest
            reach = MARGIN * max(fault.highest - fault.centre, fault.centre - fault.lowest)
            assert band.lo <= point.threshold + fault.centre - reach
            assert band.hi >= point.threshold + fault.centre + reach
            elsewhere = ELSEWHERE_MARGIN * worst * error_scale(model, point.threshold)
            assert band.hi >= point.threshold + fault.centre + elsewhere
            assert band.lo <= point.threshold + fault.centre - elsewhere
    assert BandEvidence.from_json(evidence.to_json()) == evidence


def test_rescoring_is_what_the_evidence_expects(calibrated) -> None:
    model, bands = calibrated
    values, group = PROCESS.draw(20_000, seed=3)
    int8 = scorer_of(model, "int8").score(values, group).scores
    for point in bands.evidence.points:
        scorer = scorer_of(bands.apply(model), "verified", point.fpr)
        changed = scorer.score(values, group).scores != int8
        assert changed.mean() == pytest.approx(point.expected_rescoring, rel=0.5, abs=0.002)
        assert scorer.rescoring_rate(values, group) == pytest.approx(changed.mean(), abs=2e-4)
    assert [f.fault for f in bands.evidence.points[0].faults] == [
        "none", "own_residual", "residual", "single_test", "block_shift", "broken_correlation",
        "difference", "excursion", "spread", "shifted", "missing",
    ]  # fmt: skip


def test_larger_inputs_than_good_dies_have_are_rescored(calibrated) -> None:
    model, bands = calibrated
    values, group = PROCESS.draw(50, seed=4)
    scorer = scorer_of(bands.apply(model), "verified")
    u = np.abs(model.screen.scaler.standardise(values, np.zeros(50, np.int32)))
    assert (u.max(axis=1) < bands.scale_limits[0]).all()
    values[:, 0] += np.float32(0.05) * bands.scale_limits[0]
    assert scorer.rescoring_rate(values, group) == 1
    fp32 = scorer_of(model, "fp32").score(values, group).scores
    np.testing.assert_array_equal(scorer.score(values, group).scores, fp32)


def test_coarser_weights_make_wider_bands() -> None:
    dies = PROCESS.draw(600, seed=1)
    fine, coarse = (calibrate_bands(model_of(PROCESS, step=step), *dies) for step in (1 / 127, 0.1))
    widths = [[b.hi - b.lo for b in bands.bands] for bands in (fine, coarse)]
    assert (np.array(widths[1]) > 2 * np.array(widths[0])).all()


def test_the_same_dies_give_the_same_bands() -> None:
    model, dies = model_of(PROCESS), PROCESS.draw(400, seed=1)
    first, second = (calibrate_bands(model, *dies) for _ in range(2))
    assert first.bands == second.bands
    np.testing.assert_array_equal(first.scale_limits, second.scale_limits)
    other = calibrate_bands(model, *dies, seed=1)
    assert other.bands != first.bands


def check_no_flips(process: Process, model, bands: CalibratedBands) -> None:
    values, group = process.draw(5000, seed=2)
    assert flips(bands.apply(model), values, group) == 0


@pytest.mark.parametrize("process", [Process(n_sites=3), Process(n_tests=5, n_factors=1)])
def test_sites_with_scalers_of_their_own_and_very_few_tests(process: Process) -> None:
    model = model_of(process)
    values, group = process.draw(800, seed=1)
    values[::7, 2] = np.nan
    check_no_flips(process, model, calibrate_bands(model, values, group))


def test_identity_scaler_and_a_constant_test() -> None:
    model = model_of(PROCESS, "mse")
    scaler = replace(
        model.screen.scaler,
        centre=np.zeros_like(model.screen.scaler.centre),
        inv_scale=np.ones_like(model.screen.scaler.inv_scale),
    )
    values, _ = PROCESS.draw(800, seed=1)
    values[:, 3] = 5
    model = replace(model, screen=replace(model.screen, scaler=scaler))
    scores = np.sort(scorer_of(model, "fp32").score(values).scores)
    points = tuple(
        replace(p, threshold=float(scores[-9 + i]))
        for i, p in enumerate(model.points["fp32"][::-1])
    )[::-1]
    model = replace(model, points={"fp32": points, "int8": points})
    assert flips(calibrate_bands(model, values).apply(model), values, None) == 0


def test_a_threshold_that_no_die_reaches_is_refused_with_the_numbers() -> None:
    model = model_of(PROCESS)
    first, *others = model.points["fp32"]
    points = (replace(first, threshold=1e9), *others)
    model = replace(model, points={"fp32": points, "int8": points})
    expected = rf"need {MIN_BOUNDARY} dies.* found 0 at 1e\+09, for a yield loss of {first.fpr:.2%}"
    with pytest.raises(NotEnoughDataError, match=expected):
        calibrate_bands(model, *PROCESS.draw(400, seed=1))


def test_one_wild_good_die_leaves_limits_and_bands_as_they_are() -> None:
    model, (values, group) = model_of(PROCESS), PROCESS.draw(1000, seed=1)
    tame = calibrate_bands(model, values, group)
    values[500] += 50
    wild = calibrate_bands(model, values, group)
    np.testing.assert_allclose(wild.scale_limits, tame.scale_limits, rtol=0.5)
    for point, other in zip(wild.evidence.points, tame.evidence.points, strict=True):
        assert point.expected_rescoring < 2 * other.expected_rescoring + 0.005
    check_no_flips(PROCESS, model, wild)


def test_a_wild_good_die_is_given_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    values, group = PROCESS.draw(400, seed=1)
    values[200] += 50
    given = []

    def recorded(scaler, good, group, reconstruct, seed):
        given.append(good)
        return fault_paths(scaler, good, group, reconstruct, seed)

    monkeypatch.setattr("knowngood_quantize.bands.fault_paths", recorded)
    calibrate_bands(model_of(PROCESS), values, group)
    np.testing.assert_array_equal(given[0], np.delete(values, 200, axis=0))


def test_too_few_dies_are_refused_with_their_number() -> None:
    model = model_of(PROCESS)
    values, group = PROCESS.draw(MIN_GOOD + 10, seed=1)
    values[:20] = np.nan
    with pytest.raises(NotEnoughDataError, match=rf"found {MIN_GOOD - 10} of {MIN_GOOD + 10}"):
        calibrate_bands(model, values, group)


def test_both_precisions_and_thresholds_are_needed() -> None:
    model, dies = model_of(PROCESS), PROCESS.draw(400, seed=1)
    for lacking in (
        replace(model, int8=None),
        replace(model, fp32=None),
        replace(model, fp32=(), int8=()),
        replace(model, points={}),
    ):
        with pytest.raises(UsageError, match=r"bands (need the layers|lie around)"):
            calibrate_bands(lacking, *dies)


def test_what_is_no_evidence_is_refused() -> None:
    for text in ("{", "[]", "{}", '{"points": [{"faults": 1}]}', '{"points": [], "x": 1}'):
        with pytest.raises(UsageError, match="evidence"):
            BandEvidence.from_json(text)
