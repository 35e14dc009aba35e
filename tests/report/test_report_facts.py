"""Every count of the report against a count of the same rows by plain Python."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from report_scene import FPR, Scene

from knowngood.report._facts import ReportFacts, gather
from knowngood.report._flagged import parse_top_tests


def test_headline_counts(scene: Scene, facts: ReportFacts) -> None:
    counts = Counter(scene.rows.disposition)
    head = facts.headline
    assert head.n_flagged == counts["outlier"] > 5
    assert head.n_unscored == counts["hold"] > 0
    assert head.n_tester_fail == counts["tester_fail"] > 10
    assert head.n_dies == len(scene.rows)
    assert head.n_wafers == 3
    assert (head.realised.k, head.realised.n) == (
        counts["outlier"],
        counts["outlier"] + counts["keep"],
    )
    assert facts.unscored == {"too many missing": counts["hold"]}


def test_only_the_last_attempt_of_a_die_counts(scene: Scene) -> None:
    n = len(scene.rows)
    twice = scene.rows.select(np.r_[np.arange(n), 0, 1, 2])
    twice.disposition[-3:] = "outlier"
    facts = gather(replace(twice, row=np.arange(n + 3)), scene.run)
    assert facts.headline.n_dies == n
    assert facts.headline.n_earlier == 3
    last = {(die.wafer, die.x, die.y) for die in facts.flagged}
    retested = zip(scene.rows.wafer[:3], scene.rows.x[:3], scene.rows.y[:3], strict=True)
    assert set(retested) <= last


def test_yield_loss_per_site_adds_up(scene: Scene, facts: ReportFacts) -> None:
    lot, *per_site = facts.yield_losses
    assert lot.site == ""
    assert [loss.site for loss in per_site] == ["site 0", "site 1", "site 2", "site 3"]
    for number, loss in enumerate(per_site):
        of_site = Counter(
            d for d, s in zip(scene.rows.disposition, scene.rows.site, strict=True) if s == number
        )
        assert loss.rate.k == of_site["outlier"]
        assert loss.rate.n == of_site["outlier"] + of_site["keep"]


def test_flagged_dies_come_by_falling_score_with_their_tests(
    scene: Scene, facts: ReportFacts
) -> None:
    scores = [die.score for die in facts.flagged]
    assert scores == sorted(scores, reverse=True)
    for die in facts.flagged:
        told = parse_top_tests(str(scene.rows.top_tests[die.row]))
        assert [f.label for f in die.findings] == [f.label for f in told]
        assert [round(f.z, 1) for f in die.findings] == [f.z for f in told]


def test_without_lots_findings_come_from_the_table(scene: Scene, facts: ReportFacts) -> None:
    bare = gather(scene.rows, scene.run)
    assert bare.pareto == facts.pareto
    assert bare.showcase is None
    assert all(f.readings is None for die in bare.flagged for f in die.findings)


def test_top_tests_are_read_as_they_are_written() -> None:
    found = parse_top_tests("1020 VDD=1.8V_IDDQ=+6.1; 7 A; B@PIN=-4.0; 3 C=+1.2e+04")
    assert [(f.label, f.z) for f in found] == [
        ("1020 VDD=1.8V_IDDQ", 6.1),
        ("7 A; B@PIN", -4.0),
        ("3 C", 12000.0),
    ]
    assert parse_top_tests("") == ()


def test_pareto_counts_dies(scene: Scene, facts: ReportFacts) -> None:
    texts = [t for t in scene.rows.top_tests if t]
    first = Counter(t.split("=")[0] for t in texts)
    named = Counter(part.rsplit("=", 1)[0] for t in texts for part in t.split("; "))
    assert {t.label: (t.n_first, t.n_named) for t in facts.pareto} == {
        label: (first[label], n) for label, n in named.items()
    }
    assert [t.n_named for t in facts.pareto] == sorted(named.values(), reverse=True)


def test_a_changed_disposition_is_counted_and_warned_of(scene: Scene) -> None:
    other = scene.rescored.dispositions.copy()
    other[:2] = "outlier"
    facts = gather(scene.rows, scene.run, rescored=replace(scene.rescored, dispositions=other))
    changed = int((scene.rows.disposition[:2] != "outlier").sum())
    assert facts.changed == changed > 0
    assert f"{changed} rows have another disposition" in facts.warnings[0]


def test_json_figures(facts: ReportFacts) -> None:
    figures = facts.to_json()
    assert figures["nominal_yield_loss"] == FPR
    assert figures["flagged"] == facts.headline.n_flagged
    low, high = figures["yield_loss_interval"]
    assert low < figures["yield_loss"] < high


def test_a_lot_of_tester_fails_only(scene: Scene) -> None:
    fails = scene.rows.select(scene.rows.disposition == "tester_fail")
    facts = gather(fails, scene.run)
    assert facts.headline.realised.n == 0
    assert facts.to_json()["yield_loss"] is None


def test_no_dies_at_all(scene: Scene) -> None:
    facts = gather(scene.rows.select(np.zeros(0, dtype=np.int64)), scene.run)
    assert facts.headline.n_dies == 0
    assert facts.wafers == ()


@pytest.mark.parametrize("names", [("W10", "W9", "W1")])
def test_wafers_come_in_natural_order(scene: Scene, names: tuple[str, ...]) -> None:
    rows = scene.rows.select(np.arange(3))
    rows.wafer[:] = names
    assert [w.wafer for w in gather(rows, scene.run).wafers] == ["W1", "W9", "W10"]
