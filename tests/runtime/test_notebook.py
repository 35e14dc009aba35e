"""What a notebook shows: well formed, safe with hostile names, and saying what counts."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowngood import Lot, LotResult, Purpose, Schema, Scorer, ScoreResult, Test
from knowngood._kgd import encode
from knowngood._lot import LotFacts
from knowngood._model_file import parse_model
from knowngood._notebook import MOST_OUTLIERS
from knowngood._opening import open_scorer
from sealed_models import seal_up
from tiny_lots import tiny_lot
from tiny_models import tiny_network, tiny_schema

HOSTILE = "<script>alert('x')</script> & \"VDD\" \x1b[31m\u202e</td></table>"
PLAIN_TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}


class Page(HTMLParser):
    """Checks that every tag is closed in order, and collects tags, attributes and cells."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= set(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data

    def fact(self, name: str) -> str:
        (text,) = (row[1] for row in self.rows if len(row) == 2 and row[0] == name)
        return text


def page_of(thing: Scorer | Schema | Lot | ScoreResult | LotResult) -> Page:
    page = Page(thing._repr_html_())
    assert page.tags <= PLAIN_TAGS
    assert page.attributes <= {("style", "text-align: left")}
    return page


def scorer_with(schema: Schema) -> Scorer:
    network = tiny_network(schema=schema)
    return open_scorer(parse_model(encode(seal_up(network)), "tiny.kgd"))


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return scorer_with(tiny_schema())


@pytest.fixture(scope="module")
def judged(scorer: Scorer) -> LotResult:
    lot = tiny_lot(tiny_network())
    purpose = replace(lot.schema.purpose, program="kg <2>")
    return scorer.score_lot(replace(lot, schema=Schema(lot.schema.tests, purpose)))


def test_a_model_shows_how_it_judges_and_what_runs_it(scorer: Scorer) -> None:
    page = page_of(scorer)
    assert page.fact("made for") == "part KG1, at 25, flow FT, program kg"
    assert page.fact("tests") == "6, of which 3 needed"
    assert page.fact("layers") == "6 → 3 → 6"
    assert page.fact("score") == "topk, k = 3"
    assert page.fact("passes") == "score ≤ 2 (1.9 … 2.1)"
    assert page.fact("yield loss") == "0.50% of good dies, supported by 3,000"
    assert page.fact("engine") == f"native {scorer.engine_version}"
    assert page.fact("model_id") == scorer.model_id
    other = page_of(scorer.at(0.001, extrapolate=True))
    assert other.fact("yield loss") == "0.10% of good dies, extrapolated from 3,000"


def test_a_schema_shows_its_first_tests() -> None:
    page = page_of(tiny_schema(3))
    assert page.rows[1:] == [
        ["1000", "T0", "", "V", "-50", "50"],
        ["1010", "T1", "", "uA", "-50", "50"],
        ["1020", "T2", "", "ns", "-50", "50"],
    ]
    long = page_of(Schema.anonymous(1234))
    assert len(long.rows) == 1 + 20
    assert "1,234 tests, purpose not known" in long.text
    assert "and 1,214 more tests" in long.text
    assert long.rows[1] == ["0", "test_0", "", "", "", ""]


def test_a_lot_shows_its_dies_and_what_is_missing() -> None:
    lot = tiny_lot(tiny_network(), 40)
    lot = replace(lot, facts=LotFacts(source="L1.stdf", odd=("no MRR",)))
    page = page_of(lot)
    assert page.fact("source") == "L1.stdf"
    assert page.fact("lots") == "L1"
    assert page.fact("wafers") == "W1"
    assert page.fact("tester") == "38 passed, 1 failed, 1 without a verdict"
    assert page.fact("sites") == "2"
    assert page.fact("tests") == "6, 2.50% of their results missing"
    assert page.fact("odd") == "no MRR"


def test_names_of_many_wafers_are_counted() -> None:
    lot = tiny_lot(tiny_network(), 40)
    lot.dies.wafer[:] = [f"W{i}" for i in range(40)]
    assert page_of(lot).fact("wafers") == "W0, W1, W2, W3 and 36 more"


def test_a_result_shows_verdicts_and_the_worst_dies(scorer: Scorer) -> None:
    values = np.tile(scorer.screen.scaler.centre[0].astype(np.float32), (9, 1))
    for i in range(7):
        values[i, 2] += (20 + i) / scorer.screen.scaler.inv_scale[0, 2]
    values[8] = np.nan
    page = page_of(scorer.score(values))
    assert (page.fact("PASS"), page.fact("REJECT")) == ("1", "7")
    assert page.fact("UNSCORED") == "1 no data"
    header, *worst = (row for row in page.rows if len(row) == 3)
    assert header == ["die", "score", "tests behind it (z)"]
    assert page.text.startswith("9 dies")
    assert "scored" not in page.text.lower().replace("unscored", "")
    assert [row[0] for row in worst] == ["6", "5", "4", "3", "2"]
    assert len(worst) == MOST_OUTLIERS
    assert "1020 T2 " in worst[0][2]
    assert worst[0][2].count("expected") == 3


def test_a_result_without_rejects_has_no_table_of_them(scorer: Scorer) -> None:
    page = page_of(scorer.score(np.empty((0, 6), np.float32)))
    assert page.text.startswith("0 dies")
    assert "tests behind it" not in page.text


def test_a_judged_lot_shows_dispositions_warnings_and_places(judged: LotResult) -> None:
    page = page_of(judged)
    assert page.text.startswith("40 test attempts")
    assert "judged" not in page.text
    counts = judged.counts()["dispositions"]
    for disposition, n_dies in counts.items():
        assert page.fact(disposition.replace("_", " ")) == str(n_dies)
    assert page.fact("UNSCORED") == "1 no data, 1 not finite, 1 tester fail"
    assert page.fact("model_id") == judged.scorer.model_id
    assert [row[1] for row in page.rows if row[0] == "warning"] == list(judged.warnings)
    assert "'kg <2>'" in judged.warnings[0]
    worst = next(row for row in page.rows if row[:2] == ["L1", "W1"])
    assert worst[2:6] == ["1", "0", "1", "1"]
    assert worst[7].startswith("1030 T3 ")


def test_hostile_names_stay_text() -> None:
    tests = tuple(Test(i, HOSTILE, HOSTILE, HOSTILE) for i in range(6))
    schema = Schema(tests, Purpose(part_type=HOSTILE, program=HOSTILE))
    scorer = scorer_with(schema)
    lot = tiny_lot(tiny_network(schema=schema), lot=HOSTILE)
    lot = replace(lot, facts=LotFacts(source=HOSTILE, odd=(HOSTILE,)))
    for thing in (scorer, schema, lot, scorer.score(lot.values), scorer.score_lot(lot)):
        html = thing._repr_html_()
        assert "<script" not in html
        assert "\x1b" not in html
        assert "\u202e" not in html
        assert "<script>alert('x')</script> & \"VDD\"" in page_of(thing).text


@given(st.text(), st.text())
@settings(max_examples=60, deadline=None)
def test_any_name_leaves_the_table_whole(name: str, units: str) -> None:
    page = page_of(Schema((Test(1, name, units=units),)))
    assert len(page.rows) == 2
    assert len(page.rows[1]) == 6
