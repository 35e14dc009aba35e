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


def test_verified_is_left_out_where_its_scores_would_be_a_mixture(page):
    for section in ("errors", "detection"):
        (svg,) = page.section(section).all("svg")
        assert "kgd int8" in svg.text
        assert "kgd verified" not in svg.text
    assert "Its scores are int8, and fp32 where rescored at 0.5 %" in page.section("forms").text


def test_classes_are_in_the_order_of_the_dies():
    swapped = replace(CERTIFICATE, dies=CERTIFICATE.dies[::-1])
    page = Page.of(certificate_page(swapped).decode())
    assert [e.text for e in page.section("forms").all("th")][3:5] == ["spike found", "shift found"]


def test_digests_and_recipe(page):
    digests = {row[0]: row[3] for row in page.section("dies").rows()}
    assert digests == {"good": "cd" * 32, "shift": "12" * 32, "spike": "34" * 32}
    assert '"rounding": "gptq"' in page.section("gates").text
    assert '"rescoring": 1.0' in page.section("gates").text
    assert "119, 124.5 steps of int8 at least" in page.root.text


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
