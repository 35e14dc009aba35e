"""One scene and its page for all tests of the report; both are read-only."""

from __future__ import annotations

import pytest
from page_parser import Page
from report_scene import Scene, make_scene

from knowngood.report._facts import ReportFacts, gather
from knowngood.report._page import render


@pytest.fixture(scope="session")
def scene() -> Scene:
    return make_scene()


@pytest.fixture(scope="session")
def facts(scene: Scene) -> ReportFacts:
    return gather(scene.rows, scene.run, manifest=scene.manifest, rescored=scene.rescored)


@pytest.fixture(scope="session")
def page(facts: ReportFacts) -> Page:
    return Page.of(render(facts, "2026-11-22 13:00 UTC"))
