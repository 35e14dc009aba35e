"""The detection benchmark: rivals by their definition, cases as data, and what counts as lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import skew

from benchmarks.detection._cases import read_detection_cases
from benchmarks.detection._page import detection_page
from benchmarks.detection._rivals import Ecod, fit_rivals
from benchmarks.detection._run import DetectionResult, Shortfall, _compare
from knowngood._manifest import DetectionCurve, Evaluation, HeadChoice


def ecod_by_definition(good: np.ndarray, die: np.ndarray) -> float:
    """Li et al. 2022, Algorithm 1, for one die among the good ones."""
    everybody = np.vstack([good, die]).astype(np.float64)
    left, right, auto = 0.0, 0.0, 0.0
    for test in range(good.shape[1]):
        column = everybody[:, test]
        p_left = np.mean(column <= die[test])
        p_right = np.mean(column >= die[test])
        left -= np.log(p_left)
        right -= np.log(p_right)
        auto -= np.log(p_left if skew(good[:, test].astype(np.float64)) < 0 else p_right)
    return max(left, right, auto)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 40), st.integers(1, 6))
def test_ecod_is_that_of_its_paper(seed, n_dies, n_tests):
    rng = np.random.default_rng(seed)
    good = np.round(rng.gumbel(size=(n_dies, n_tests)), 1).astype(np.float32)  # skewed, with ties
    dies = np.round(rng.gumbel(size=(4, n_tests)) * 2, 1).astype(np.float32)
    expected = [ecod_by_definition(good, die) for die in dies]
    np.testing.assert_allclose(Ecod(good).score(dies), expected, rtol=1e-12)


def test_every_rival_finds_dies_that_are_far_from_all_good_ones():
    rng = np.random.default_rng(0)
    good, fresh = (rng.standard_normal((600, 8)).astype(np.float32) for _ in range(2))
    rivals = fit_rivals(good, seed=0)
    assert [rival.name for rival in rivals] == ["isolation forest", "kNN", "ECOD"]
    for rival in rivals:
        assert np.quantile(rival.score(fresh), 0.99) < rival.score(fresh + 6).min(), rival.name


def test_cases_have_seeds_of_their_own_and_expect_what_is_asked():
    cases = read_detection_cases()
    assert {c.correlation: c.expected for c in cases} == {"tight": 0.9, "loose": 0.3}
    assert len({c.seed for c in cases}) == len(cases)
    (quick,) = read_detection_cases(quick=True)
    assert quick.n_fresh_good < cases[0].n_fresh_good
    assert read_detection_cases(only="loose-556")[0].correlation == "loose"
    with pytest.raises(ValueError, match="no case 'large'; there are tight-4242"):
        read_detection_cases(only="large")


@pytest.mark.parametrize(("before", "after"), [("seed = 556", "sead = 556"), ("n_tests =", "n =")])
def test_a_mistake_in_the_file_is_no_case(tmp_path, before, after):
    from benchmarks.detection._cases import CASES_FILE

    path = tmp_path / "cases.toml"
    path.write_text(CASES_FILE.read_text(encoding="utf-8").replace(before, after, 1))
    with pytest.raises(ValueError, match="case '"):
        read_detection_cases(path)


def test_only_dies_that_one_of_two_finds_say_which_finds_more():
    ours = np.repeat([True, True, False, False], [50, 1, 9, 40])
    theirs = np.repeat([True, False, True, False], [50, 1, 9, 40])
    shortfall = _compare("kNN", "droop", ours, theirs)
    assert shortfall.difference == pytest.approx(-0.08)
    assert shortfall.standard_error == pytest.approx(np.sqrt(10) / 100)  # McNemar
    assert shortfall.is_shown
    assert not replace(shortfall, difference=-0.06).is_shown


def test_what_is_not_met_fails_the_case_and_stands_in_the_page():
    (case,) = read_detection_cases(only="tight-4242")
    evaluation = Evaluation(
        "how", 100, (0.005, 0.02), (DetectionCurve("autoencoder", "droop", 9, (0.4, 0.5)),)
    )
    met = DetectionResult(case, (8, 2, 8), HeadChoice(), {}, 4000, evaluation, 0.9, ())
    assert met.failures == []
    chance = Shortfall("kNN", "droop", -0.01, 0.02)
    shown = Shortfall("pca", "timing", -0.10, 0.02)
    missed = replace(met, mean_detection=0.5, shortfalls=(chance, shown))
    assert missed.failures == [
        "pca finds 10.0% more of timing", "50.0% found, 90% expected at 2.0% yield loss"
    ]  # fmt: skip
    assert replace(missed, case=replace(case, may_lose=True)).failures == missed.failures[1:]
    page = detection_page([missed])
    assert "kNN, droop, by 1.0 ± 2.0 points (no more than chance)" in page
    assert "PCA residual, timing, by 10.0 ± 2.0 points (**shown**)" in page
    assert "| autoencoder | 50.0% |" in page
    assert "fitted on all training dies, the detectors with a version on 4,000 of them" in page
