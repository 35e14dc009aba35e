from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from report_scene import Scene

from knowngood.report._facts import ReportFacts, gather
from knowngood.report._showcase import find_showcase


def test_pat_and_the_limits_pass_the_die(scene: Scene, facts: ReportFacts) -> None:
    found = facts.showcase
    assert found is not None
    assert scene.rows.disposition[found.die.row] == "outlier"
    values = scene.values[found.die.row].astype(np.float64)
    scaler = scene.network.screen.scaler
    z = np.abs((values - scaler.centre[0]) * scaler.inv_scale[0])
    assert np.nanmax(z) == pytest.approx(found.max_z, rel=1e-5)
    assert found.max_z <= 6
    for test, value in zip(scene.network.screen.schema.tests, values, strict=True):
        assert test.low is None or value >= np.float32(test.low)
        assert test.high is None or value <= np.float32(test.high)


def test_the_pair_is_a_top_test_and_the_one_most_correlated_with_it(
    scene: Scene, facts: ReportFacts
) -> None:
    found = facts.showcase
    assert found is not None
    assert found.y.test.label in [f.label for f in found.die.findings]
    kept = scene.values[scene.rows.disposition == "keep"].astype(np.float64)
    correlation = np.corrcoef(kept[~np.isnan(kept).any(axis=1)].T)
    tests = scene.network.screen.schema.tests
    top = tests.index(found.y.test)
    correlation[top, top] = 0
    assert np.argmax(np.abs(correlation[top])) == tests.index(found.x.test)
    assert found.correlation == pytest.approx(correlation[top].max(), abs=0.01)


def test_the_distance_is_measured_from_the_line_of_the_kept_dies(
    facts: ReportFacts,
) -> None:
    found = facts.showcase
    assert found is not None
    slope, intercept = found.line
    rest = found.y.cloud - (slope * found.x.cloud + intercept)
    spread = np.subtract(*np.percentile(rest, [75, 25])) / 1.349
    own = found.y.die - (slope * found.x.die + intercept)
    assert found.off_line == pytest.approx(abs(own) / spread, rel=0.02)
    assert found.off_line > 8


def test_dies_that_pat_rejects_are_no_example(scene: Scene, facts: ReportFacts) -> None:
    values = scene.values.copy()
    flagged = [die.row for die in facts.flagged]
    values[flagged, 0] = 1.2 + 7 * 0.004
    rescored = replace(scene.rescored, values=values)
    assert find_showcase(facts.dies, facts.flagged, rescored) is None


def test_dies_outside_their_limits_are_no_example(scene: Scene, facts: ReportFacts) -> None:
    screen = scene.rescored.screen
    tests = tuple(replace(t, low=2.0) if i == 0 else t for i, t in enumerate(screen.schema.tests))
    narrow = replace(screen, schema=replace(screen.schema, tests=tests))
    rescored = replace(scene.rescored, screen=narrow)
    assert find_showcase(facts.dies, facts.flagged, rescored) is None


def test_the_example_counts_all_that_pat_passes(scene: Scene, facts: ReportFacts) -> None:
    found = facts.showcase
    assert found is not None
    scaler = scene.network.screen.scaler
    flagged = scene.values[[die.row for die in facts.flagged]].astype(np.float64)
    z = np.abs((flagged - scaler.centre[0]) * scaler.inv_scale[0])
    assert found.n_passed == int((np.nanmax(z, axis=1) <= 6).sum())
    assert found.n_flagged == len(facts.flagged)


def test_no_flagged_die_means_no_example(scene: Scene) -> None:
    calm = scene.rows.select(scene.rows.disposition != "outlier")
    assert gather(calm, scene.run, manifest=scene.manifest).showcase is None
    assert find_showcase(calm, (), scene.rescored) is None
