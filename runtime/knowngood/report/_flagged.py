"""The flagged dies, the tests that made their scores, and the Pareto of those tests."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._verdicts import Disposition
from ._dies import DieRows
from ._numbers import Readings, readings
from ._rescored import Rescored

TOP_TESTS = 5
_TOP_TEST = re.compile(r"(?P<label>.+?)=(?P<z>[+-]?[\d.]+(?:e[+-]?\d+)?)(?:; |$)")


@dataclass(frozen=True)
class Finding:
    """One test of a flagged die; without the lot and the model only label and z are known.

    Attributes:
        z: signed residual over its usual size on good dies.
        share: of the score, 0 to 1; NaN if unknown.
    """

    label: str
    z: float
    share: float = math.nan
    readings: Readings | None = None


@dataclass(frozen=True)
class FlaggedDie:
    """A die of disposition ``outlier``; ``row`` is its row of the verdict table, from 0."""

    row: int
    lot: str
    wafer: str
    x: int
    y: int
    head: int
    site: int
    part_id: str
    score: float
    has_coordinates: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class ParetoTest:
    """How many flagged dies name a test first, and among their top tests."""

    label: str
    n_first: int
    n_named: int


def flagged_dies(dies: DieRows, rescored: Rescored | None) -> tuple[FlaggedDie, ...]:
    """The flagged dies by falling score, with findings from the lot or from the table's text."""
    outliers = dies.select(dies.are(Disposition.OUTLIER))
    outliers = outliers.select(np.argsort(-outliers.score, kind="stable"))
    return tuple(_flagged(outliers, i, rescored) for i in range(len(outliers)))


def _flagged(dies: DieRows, i: int, rescored: Rescored | None) -> FlaggedDie:
    row = int(dies.row[i])
    text = str(dies.top_tests[i])
    return FlaggedDie(
        row=row,
        lot=str(dies.lot[i]),
        wafer=str(dies.wafer[i]),
        x=int(dies.x[i]),
        y=int(dies.y[i]),
        head=int(dies.head[i]),
        site=int(dies.site[i]),
        part_id=str(dies.part_id[i]),
        score=float(dies.score[i]),
        has_coordinates=bool(dies.located[i]),
        findings=parse_top_tests(text) if rescored is None else _findings(rescored, row),
    )


def parse_top_tests(text: str) -> tuple[Finding, ...]:
    """Findings from a verdict table's column: ``1020 VDD_IDDQ=+6.1; 1033 VREF=-4.0``."""
    return tuple(Finding(m["label"], float(m["z"])) for m in _TOP_TEST.finditer(text))


def _findings(rescored: Rescored, row: int) -> tuple[Finding, ...]:
    found = []
    for c in rescored.top_tests(row)[:TOP_TESTS]:
        sigma = rescored.sigma(c.test, row)
        shown = readings(c.value, c.expected, c.test.low, c.test.high, c.test.units, sigma)
        found.append(Finding(c.test.label, c.z, c.share, shown))
    return tuple(found)


def pareto(flagged: Sequence[FlaggedDie]) -> tuple[ParetoTest, ...]:
    """Tests by how many flagged dies name them; ties by how often first, then by label."""
    first = Counter(die.findings[0].label for die in flagged if die.findings)
    named = Counter(label for die in flagged for label in {f.label for f in die.findings})
    tests = [ParetoTest(label, first[label], n) for label, n in named.items()]
    return tuple(sorted(tests, key=lambda t: (-t.n_named, -t.n_first, t.label)))
