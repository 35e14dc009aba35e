from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
from report_scene import Scene, make_scene

from knowngood.report import _wafer_maps as maps
from knowngood.report._facts import ReportFacts, gather

SQUARE = re.compile(r"M(\d+) (\d+)h\.92v\.92h-\.92z")
TRANSFORM = re.compile(r"translate\(([\d.]+) ([\d.]+)\) scale\(([\d.]+)(?: ([\d.-]+))?\)")


def squares(svg: str) -> dict[str, list[tuple[float, float]]]:
    """Centres of the dies on the drawing by class, as a renderer would put them."""
    root = ElementTree.fromstring(svg)
    (placed,) = [g for g in root.findall("g") if "transform" in g.attrib]
    match = TRANSFORM.fullmatch(placed.attrib["transform"])
    assert match is not None
    left, bottom, step_x, step_y = map(float, match.groups(default=match[3]))
    return {
        group.attrib["class"]: [
            (left + step_x * (int(x) + 0.46), bottom + step_y * (int(y) + 0.46))
            for path in group.findall("path")
            for x, y in SQUARE.findall(path.attrib["d"])
        ]
        for group in placed.findall("g")
    }


def test_every_die_is_drawn_once_by_its_disposition(scene: Scene, facts: ReportFacts) -> None:
    drawn = maps.draw_wafer_maps(facts)
    names = {"keep": "d-keep", "outlier": "d-outlier", "hold": "d-hold", "tester_fail": "d-fail"}
    for index, figure in enumerate(drawn.figures):
        here = scene.rows.select(scene.rows.wafer == f"W{index + 1}")
        found = squares(figure.disposition_svg)
        for disposition, css in names.items():
            expected = int((here.disposition == disposition).sum())
            assert len(found.get(css, [])) == expected
        assert sum(map(len, squares(figure.score_svg).values())) == len(here)


def test_x_runs_right_and_y_up_inside_the_circle(scene: Scene) -> None:
    for x, y, to_right, upwards in ((15, 9, True, None), (8, 20, None, True), (8, -3, None, False)):
        rows = scene.rows.select(scene.rows.wafer == "W1")
        at = (rows.x == x) & (rows.y == y)
        assert at.any()
        marked = replace(rows, disposition=np.where(at, "hold", "keep").astype(object))
        figure = maps.draw_wafer_maps(gather(marked, scene.run)).figures[0]
        ((across, down),) = squares(figure.disposition_svg)["d-hold"]
        assert np.hypot(across - 100, down - 100) < 98
        if to_right is not None:
            assert across > 180
        if upwards is not None:
            assert (down < 20) if upwards else (down > 180)


def test_score_classes_split_at_the_threshold(scene: Scene, facts: ReportFacts) -> None:
    threshold = scene.run.threshold
    scale = maps.ScoreScale.of(facts.dies, threshold)
    at = np.array([threshold, np.nextafter(np.float32(threshold), np.float32(9e9)), np.nan])
    below, above, none = scale.classes(at.astype(np.float32))
    assert below == "s-below-4"
    assert above == "s-above-0"
    assert none == "s-none"
    drawn = [e.text for e in scale.legend()]
    assert drawn[4].endswith("(threshold)")
    classes = scale.classes(scene.rows.score)
    flagged = {c for c, d in zip(classes, scene.rows.disposition, strict=True) if d == "outlier"}
    assert all(c.startswith("s-above") for c in flagged)


def test_legend_without_scores_or_threshold(scene: Scene) -> None:
    none = scene.rows.select(scene.rows.disposition == "tester_fail")
    scale = maps.ScoreScale.of(none, float("nan"))
    assert [e.text for e in scale.legend()] == ["any score", "no score"]


def test_titles_name_the_die(scene: Scene, facts: ReportFacts) -> None:
    svg = maps.draw_wafer_maps(facts).figures[0].disposition_svg
    titles = [t.text for t in ElementTree.fromstring(svg).iter("title")]
    die = next(d for d in facts.flagged if d.wafer == "W1")
    assert any(
        t and t.startswith(f"x {die.x} y {die.y}, site {die.site}, score") and "flagged" in t
        for t in titles
    )


def test_large_lots_keep_hover_text_for_odd_dies_only(scene: Scene, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(maps, "MAX_HOVER", 10)
    facts = gather(scene.rows, scene.run)
    drawn = maps.draw_wafer_maps(facts).figures
    titles = [
        t.text for f in drawn for t in ElementTree.fromstring(f.disposition_svg).iter("title")
    ]
    assert len(titles) == int((scene.rows.disposition != "keep").sum())
    n_drawn = sum(len(s) for f in drawn for s in squares(f.disposition_svg).values())
    assert n_drawn == len(scene.rows)


def test_dies_without_coordinates_stand_by_site() -> None:
    scene = make_scene(coordinates=False, n_wafers=1)
    (figure,) = maps.draw_wafer_maps(gather(scene.rows, scene.run)).figures
    assert not figure.has_coordinates
    texts = [t.text for t in ElementTree.fromstring(figure.disposition_svg).iter("text")]
    assert texts == ["site 0", "site 1", "site 2", "site 3"]
    places = [p for s in squares(figure.disposition_svg).values() for p in s]
    assert len(set(places)) == len(scene.rows)


def test_a_few_dies_are_not_stretched_to_a_wafer(scene: Scene) -> None:
    few = scene.rows.select(np.arange(4))
    (figure,) = maps.draw_wafer_maps(gather(few, scene.run)).figures
    assert "circle" not in figure.disposition_svg
