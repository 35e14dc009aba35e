"""Dies at a threshold: they are where they are said to be, and came there by their fault."""

from __future__ import annotations

import numpy as np
import pytest
from banded_models import FPRS, Process, model_of, scorer_of
from hypothesis import given, settings
from hypothesis import strategies as st

from knowngood.engines._reference import score_sealed
from knowngood_quantize._boundary import NEAR, Crossings, FaultPath, fault_paths

PROCESS = Process(n_tests=24, n_sites=2)


@pytest.fixture(scope="module")
def made():
    model = model_of(PROCESS, "normalized")
    scorer = scorer_of(model, "fp32")
    values, group = PROCESS.draw(300, seed=1)
    values[5, 7] = np.nan
    paths = {
        path.name: path
        for path in fault_paths(model.screen.scaler, values, group, scorer.reconstruct)
    }
    return model, scorer, values, group, paths


def test_dies_lie_at_the_threshold_by_another_engine(made) -> None:
    model, scorer, _, _, paths = made
    threshold = model.points["fp32"][FPRS.index(0.005)].threshold
    for name, path in paths.items():
        crossings = Crossings(path, lambda v, g: scorer.score(v, g).scores)
        found = crossings.at(threshold)
        assert len(found.fp32) >= 20, name
        some = slice(0, 20)
        rows = model.screen.scaler.rows(found.group[some], 20)
        scores = score_sealed(model, "fp32", found.values[some], rows).scores
        np.testing.assert_array_equal(scores, found.fp32[some])
        assert (np.abs(scores / threshold - 1) <= NEAR).all()


def test_paths_from_a_good_die_start_at_it(made) -> None:
    _, _, values, _, paths = made
    for name in ("single_test", "block_shift", "broken_correlation", "difference", "excursion"):
        start = paths[name].start[:50].astype(np.float64)
        nearest = np.nanmax(np.abs(start[:, None] - values), axis=2).min(axis=1)
        assert nearest.max() < 1e-5, name


def test_rays_start_at_the_centre_of_the_site(made) -> None:
    model, _, _, _, paths = made
    scaler = model.screen.scaler
    for name in ("spread", "shifted", "missing"):
        path = paths[name]
        u = scaler.standardise(path.start, scaler.rows(path.group, len(path)))
        assert np.nanmax(np.abs(u)) < 1e-4, name
    assert 0.03 < np.isnan(paths["missing"].start).mean() < 0.07


def test_missing_tests_stay_missing_on_the_way(made) -> None:
    *_, paths = made
    for path in paths.values():
        for share in (0.0, 0.3, 1.0):
            np.testing.assert_array_equal(np.isnan(path.at(share)), np.isnan(path.start))


def test_what_is_drawn_hangs_on_the_seed(made) -> None:
    model, scorer, values, group, paths = made
    again = fault_paths(model.screen.scaler, values, group, scorer.reconstruct, seed=1)
    for path in again:
        is_drawn = path.name not in ("own_residual", "spread")
        assert (not np.array_equal(path.end, paths[path.name].end, equal_nan=True)) == is_drawn


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.5, 3.0))
def test_a_crossing_is_found_where_the_curve_has_it(place: float, power: float) -> None:
    """Scores rise as ``share ** power``: the crossing is known."""
    path = FaultPath(
        "one", np.zeros((4, 1), np.float32), np.ones((4, 1), np.float32), np.zeros(4, np.int32)
    )

    def score(values, group):
        return (values[:, 0].astype(np.float64) ** power).astype(np.float32)

    threshold = place**power
    found = Crossings(path, score).at(threshold)
    np.testing.assert_allclose(found.values[:, 0] ** power, threshold, rtol=NEAR * 1.01)


def test_dies_that_never_or_always_exceed_do_not_cross() -> None:
    path = FaultPath(
        "one", np.zeros((3, 1), np.float32), np.ones((3, 1), np.float32), np.zeros(3, np.int32)
    )
    offset = np.array([-2, 0, 2], np.float32)
    crossings = Crossings(path, lambda v, g: v[:, 0] + offset[: len(v)] if len(v) == 3 else v[:, 0])
    assert len(crossings.at(0.5).fp32) == 1
    nothing = Crossings(path, lambda v, g: np.full(len(v), np.nan, np.float32))
    assert len(nothing.at(0.5).fp32) == 0
