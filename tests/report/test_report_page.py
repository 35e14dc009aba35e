"""The page as a browser gets it: what it says, and that it needs nothing else."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from page_parser import Page
from report_scene import FPR, Scene, make_scene

from knowngood._manifest import Evaluation
from knowngood.report._facts import LeftOut, ReportFacts, gather
from knowngood.report._page import MAX_ROWS, OPEN_ROWS, detection_table, render


def numbers(row: list[str]) -> list[float]:
    return [float(cell.replace(",", "").rstrip(" %")) for cell in row]


def test_nothing_is_fetched(page: Page) -> None:
    for element in page.root.walk():
        assert element.tag not in ("script", "link", "iframe", "img", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert element.attributes.get(name, "#").startswith("#")
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", page.html)


def test_links_and_ids(page: Page) -> None:
    ids = [e.attributes["id"] for e in page.root.walk() if "id" in e.attributes]
    assert len(set(ids)) == len(ids)
    for link in page.root.all("a"):
        assert link.attributes["href"].removeprefix("#") in ids


def test_names_from_the_lot_are_escaped(page: Page) -> None:
    assert "LOT<7>" not in page.html
    assert page.root.all("h1")[0].text == "Outlier screen: LOT<7>&Co"
    assert any(row.text == "Part type KG7 <B>" for row in page.section("provenance").all("tr"))


def test_a_hostile_test_name_stays_text(scene: Scene) -> None:
    hostile = "</svg><script>alert(1)</script> $x_{"
    schema = scene.manifest.screen.schema
    tests = tuple(replace(t, name=hostile) for t in schema.tests)
    screen = replace(scene.manifest.screen, schema=replace(schema, tests=tests))

    def top_tests(row: int):  # type: ignore[no-untyped-def]
        return [
            replace(c, test=replace(c.test, name=hostile)) for c in scene.rescored.top_tests(row)
        ]

    rescored = replace(scene.rescored, screen=screen, top_tests=top_tests)
    facts = gather(scene.rows, scene.run, manifest=scene.manifest, rescored=rescored)
    page = Page.of(render(facts, "now"))
    assert not page.root.all("script")
    assert any(hostile in cell.text for cell in page.section("flagged").all("td"))


def test_pat_is_not_said_to_compare_tests(scene: Scene, page: Page) -> None:
    others = "what the die's other tests lead the model to expect"
    assert others in page.section("flagged").text
    run = replace(scene.run, model=replace(scene.run.model, detector="pat"))
    facts = gather(scene.rows, run, manifest=scene.manifest, rescored=scene.rescored)
    of_pat = Page.of(render(facts, "now"))
    assert not of_pat.has_section("showcase")
    assert others not in of_pat.section("flagged").text
    assert "lies from the centre of the good dies" in of_pat.section("flagged").text


def test_headline(scene: Scene, page: Page) -> None:
    counts = Counter(scene.rows.disposition)
    shown = {
        e.attributes["data-fact"]: e.text for e in page.root.all("b") if "data-fact" in e.attributes
    }
    assert shown["dies"] == str(len(scene.rows))
    assert shown["flagged"] == str(counts["outlier"])
    assert shown["unscored"] == str(counts["hold"])
    assert shown["tester-fails"] == str(counts["tester_fail"])
    share = 100 * counts["outlier"] / (counts["outlier"] + counts["keep"])
    assert float(shown["yield-loss"].rstrip(" %")) == pytest.approx(share, abs=0.006)
    text = page.section("model").text
    for fact in ("cd" * 32, "onnxruntime 1.32.0", "Autoencoder, fp32", "0.5 %", "lot7.stdf.gz"):
        assert fact in text


def test_warnings_of_the_run_are_shown(page: Page) -> None:
    text = page.section("warnings").text
    assert "'rev D'" in text
    assert "no MRR" in text


def test_thresholds_of_all_operating_points(scene: Scene, page: Page) -> None:
    rows = page.section("scores").all("table")[0].rows()
    points = scene.manifest.screen.operating_points
    for row, point in zip(rows, points, strict=True):
        assert float(row[0].rstrip(" %")) == pytest.approx(100 * point.fpr)
        assert float(row[1]) == pytest.approx(point.threshold, rel=1e-4)
        assert row[3].startswith("supported" if point.supported else "not supported")
    svg = page.section("scores").all("svg")[0]
    labels = [t.text for t in svg.all("text") if t.text.endswith("%")]
    assert sorted(labels) == ["0.1 %", "0.5 %", "2 %"]
    assert any("stroke-dasharray: 2.7" in p.attributes.get("style", "") for p in svg.all("path"))


def test_detection_at_the_operating_point(scene: Scene, page: Page) -> None:
    table = page.section("detection").all("table")[0]
    assert [h.text for h in table.all("th")] == [
        "defect", "dies", "Autoencoder", "Hotelling T²", "PCA residual", "PAT",
    ]  # fmt: skip
    at = scene.manifest.evaluation.yield_loss.index(FPR)
    found = {(c.defect, c.detector): c.detection[at] for c in scene.manifest.evaluation.curves}
    for row in table.rows():
        defect = row[0].replace(" ", "_")
        for cell, detector in zip(row[2:], ("autoencoder", "t2", "pca", "pat"), strict=True):
            assert float(cell.rstrip(" %")) == pytest.approx(
                100 * found[defect, detector], abs=0.06
            )


def test_detection_between_grid_points_is_interpolated_over_log_yield_loss(scene: Scene) -> None:
    between = float(np.sqrt(0.005 * 0.01))
    (row, *_) = detection_table(scene.manifest.evaluation, between)
    low, high = (
        scene.manifest.evaluation.curves[0].detection[
            scene.manifest.evaluation.yield_loss.index(fpr)
        ]
        for fpr in (0.005, 0.01)
    )
    assert row.detection[0] == pytest.approx((low + high) / 2)
    assert detection_table(Evaluation(), 0.005) == []


def test_flagged_table(scene: Scene, page: Page) -> None:
    rows = page.section("flagged").all("table")[0].rows()
    outliers = scene.rows.select(scene.rows.disposition == "outlier")
    assert len(rows) == 5 * len(outliers)
    first = outliers.select(np.array([np.argmax(outliers.score)]))
    assert rows[0][0] == f"{first.wafer[0]} ({first.x[0]}, {first.y[0]}) site {first.site[0]}"
    assert float(rows[0][1]) == pytest.approx(float(first.score[0]), rel=1e-3)
    best = scene.rescored.top_tests(int(first.row[0]))[0]
    label, z, value, expected, units, low, _high, share = rows[0][2:]
    assert label == best.test.label
    assert float(z.replace("−", "-")) == pytest.approx(best.z, abs=0.06)
    scale = 1e9 if units == "nA" else 1.0
    assert float(value) == pytest.approx(best.value * scale, rel=5e-3)
    assert float(expected) == pytest.approx(best.expected * scale, rel=5e-3)
    assert best.test.low is not None
    assert float(low) == pytest.approx(best.test.low * scale, rel=1e-5)
    assert float(share.rstrip(" %")) == pytest.approx(100 * best.share, abs=0.6)


def test_yield_loss_table(scene: Scene, page: Page) -> None:
    rows = page.section("yield").all("table")[0].rows()
    assert len(rows) == 5
    for number, row in enumerate(rows[1:]):
        of_site = Counter(scene.rows.disposition[scene.rows.site == number])
        judged, flagged = numbers(row[2:4])
        assert judged == of_site["keep"] + of_site["outlier"]
        assert flagged == of_site["outlier"]
        assert float(row[4].rstrip(" %")) == pytest.approx(100 * flagged / judged, abs=0.006)
        assert row[6] in ("above", "below", "as expected")


def test_dies_left_out(scene: Scene, page: Page) -> None:
    here, training = page.section("dropped").all("table")
    n_hold = int((scene.rows.disposition == "hold").sum())
    assert here.rows() == [["too many missing", str(n_hold)]]
    assert training.rows() == [[r, str(n)] for r, n in scene.manifest.provenance.dropped.items()]


def test_drift_per_ten_thousand(scene: Scene, page: Page) -> None:
    rows = page.section("drift").all("table")[0].rows()
    for row, drift in zip(rows, scene.manifest.drift, strict=True):
        assert row[0] == drift.form
        good, defective, good_unchanged, defective_unchanged, n_good, n_defective = numbers(row[3:])
        assert (n_good, n_defective) == (drift.n_good, drift.n_defective)
        assert good == pytest.approx(1e4 * drift.flips_good / n_good, rel=0.01)
        assert defective == pytest.approx(1e4 * drift.flips_defective / n_defective, rel=0.01)
        assert good_unchanged == pytest.approx(1e4 * drift.flips_good_unchanged / n_good, rel=0.01)
        assert defective_unchanged == pytest.approx(
            1e4 * drift.flips_defective_unchanged / n_defective, rel=0.01
        )
    assert rows[0][1] == "3×10⁻⁸"


def test_provenance(scene: Scene, page: Page) -> None:
    text = page.section("provenance").text
    origin = scene.manifest.provenance
    for fact in (origin.hold_out, *origin.notes, scene.manifest.screen.schema.digest, "3,100"):
        assert fact in text
    assert "24 – 3 – 24" in text


def test_the_die_that_pat_passes(facts: ReportFacts, page: Page) -> None:
    found = facts.showcase
    assert found is not None
    text = page.section("showcase").text
    assert f"{found.n_passed} of {found.n_flagged} flagged dies pass" in text
    assert f"score {found.die.score:.4g}" in text
    assert found.x.test.label in text
    assert found.y.test.label in text
    labels = [t.text for t in page.section("showcase").all("text")]
    assert f"{found.x.test.label} ({_shown_units(found.x.test.units)})" in labels


def _shown_units(units: str) -> str:
    return "nA" if units == "A" else units


def test_left_out_parts_are_named_and_absent(scene: Scene) -> None:
    gone = (LeftOut("curves, thresholds", "model <gone>.onnx was not found"),)
    page = Page.of(render(gather(scene.rows, scene.run, left_out=gone), "now"))
    assert "model <gone>.onnx was not found" in page.section("left-out").text
    for name in ("detection", "showcase", "drift", "provenance"):
        assert not page.has_section(name)
    rows = page.section("flagged").all("table")[0].rows()
    assert len(rows[0]) == 4
    assert len(rows[1]) == 2


def test_many_flagged_dies_fold(scene: Scene) -> None:
    rows = scene.rows.select(np.arange(len(scene.rows)))
    judged = np.flatnonzero(rows.disposition == "keep")
    rows.disposition[judged] = "outlier"
    page = Page.of(render(gather(rows, scene.run), "now"))
    section = page.section("flagged")
    opened, folded = section.all("table", class_="wide flagged")
    dies = [len(t.all("tr", class_="die")) for t in (opened, folded)]
    assert dies == [OPEN_ROWS, MAX_ROWS - OPEN_ROWS]
    n_flagged = int((rows.disposition == "outlier").sum())
    assert f"{n_flagged - MAX_ROWS} further flagged dies" in section.text


def test_no_flagged_die(scene: Scene) -> None:
    calm = scene.rows.select(scene.rows.disposition != "outlier")
    page = Page.of(render(gather(calm, scene.run, manifest=scene.manifest), "now"))
    assert "No die was flagged." in page.section("flagged").text
    assert not page.has_section("pareto")


def test_nothing_judged(scene: Scene) -> None:
    fails = scene.rows.select(scene.rows.disposition == "tester_fail")
    page = Page.of(render(gather(fails, scene.run, manifest=scene.manifest), "now"))
    assert "No die was judged." in page.root.text
    assert not page.has_section("scores")


def test_no_rows(scene: Scene) -> None:
    nothing = scene.rows.select(np.zeros(0, dtype=np.int64))
    page = Page.of(render(gather(nothing, scene.run), "now"))
    assert "No die was judged." in page.root.text


def test_a_lot_of_ten_wafers_stays_small() -> None:
    scene = make_scene(n_wafers=10, diameter=22)
    assert len(scene.rows) > 5500
    facts = gather(scene.rows, scene.run, manifest=scene.manifest, rescored=scene.rescored)
    assert len(render(facts, "now").encode()) < 5_000_000
