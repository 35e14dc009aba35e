"""The certificate's page as an HTML parser sees it."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest
from page_parser import Page

from certified_scores import usual_certificate
from knowngood import MissingExtraError
from knowngood_quantize.certificate import certificate_page

CERTIFICATE = usual_certificate()


@pytest.fixture(scope="module")
def page() -> Page:
    return Page.of(certificate_page(CERTIFICATE).decode())


def test_its_outcome_is_in_its_title(page):
    assert page.root.all("title")[0].text == "Certificate: breached"
    passed = certificate_page(CERTIFICATE.only("kgd verified")).decode()
    assert Page.of(passed).root.all("title")[0].text == "Certificate: passed"


def test_nothing_is_fetched(page):
    for element in page.root.walk():
        assert element.tag not in ("script", "link", "iframe", "img", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert element.attributes.get(name, "#").startswith("#")
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", page.html)


def test_links_and_ids(page):
    ids = [e.attributes["id"] for e in page.root.walk() if "id" in e.attributes]
    assert len(set(ids)) == len(ids)
    for link in page.root.all("a"):
        assert link.attributes["href"].removeprefix("#") in ids


def test_texts_are_escaped(page):
    assert page.section("notes").text == "a <note>"
    assert "<note>" not in page.html
    assert 'lot é <b>"7"</b>' in page.root.text


def test_each_form_is_summed_up(page):
    rows = page.section("summary").rows()
    assert [row[0] for row in rows] == ["kgd verified", "kgd int8", "tflite int8"]
    assert [row[1] for row in rows] == ["passed", "passed", "BREACHED"]


def test_every_point_and_form_is_there(page):
    rows = page.section("forms").rows()
    n_points = len(CERTIFICATE.reference.points)
    assert len(rows) == n_points * (1 + 2 * len(CERTIFICATE.forms))
    assert rows[0][0] == "0.1 % *"


def test_three_charts(page):
    for section in ("flips", "errors", "detection"):
        (svg,) = page.section(section).all("svg")
        assert svg.all("path")
    assert "tflite int8" in page.section("flips").text


def test_digests_and_recipe(page):
    digests = {row[0]: row[3] for row in page.section("dies").rows()}
    assert digests == {"good": "cd" * 32, "shift": "12" * 32, "spike": "34" * 32}
    assert '"rounding": "gptq"' in page.section("gates").text
    assert '"rescoring": 0.25' in page.section("gates").text


def test_charts_without_their_figures_are_left_out():
    form = replace(CERTIFICATE.forms[1], error_by_score=(), curve=())
    page = Page.of(certificate_page(replace(CERTIFICATE, forms=(form,))).decode())
    assert not [
        e for e in page.root.all("section") if e.attributes["id"] in ("errors", "detection")
    ]


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"certificate's page .*knowngood\[report\]"):
        certificate_page(CERTIFICATE)
