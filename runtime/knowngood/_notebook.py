"""What a notebook shows of models, schemas, lots and results: small tables without resources.

Every text from a file is escaped; nothing is loaded, and no style or script is brought along.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._contributions import Contribution
from ._lot import NO_COORDINATE
from ._verdicts import Disposition, Reason, Verdict

if TYPE_CHECKING:
    from ._judge import LotResult
    from ._lot import Lot
    from ._schema import Purpose, Schema, Test
    from ._score_result import ScoreResult
    from ._scorer import Scorer

MOST_TESTS = 20
MOST_OUTLIERS = 5
MOST_NAMES = 4
"""Of lots and wafers; more are counted."""

Facts = Iterable[tuple[str, str]]
Rows = Iterable[Sequence[str]]


def scorer_html(scorer: Scorer) -> str:
    """The model: what it is for, how it judges, what runs it."""
    screen, point = scorer.screen, scorer.operating_point
    support = "supported by" if point.supported else "extrapolated from"
    return _facts(
        f"{scorer.manifest.detector} model, {scorer.precision}",
        (
            ("file", str(scorer.path)),
            ("made for", _purpose(screen.schema.purpose)),
            ("tests", f"{screen.schema.n_tests:,}, of which {screen.head.min_present:,} needed"),
            ("layers", " → ".join(map(str, scorer.manifest.widths))),
            ("score", _head(screen.head.kind, screen.head.k)),
            ("passes", f"score ≤ {point.threshold:.6g} ({point.low:.4g} … {point.high:.4g})"),
            ("yield loss", f"{point.fpr:.2%} of good dies, {support} {point.n_dies:,}"),
            ("engine", f"{scorer.engine_name} {scorer.engine_version}"),
            ("model_id", scorer.model_id),
        ),
    )


def schema_html(schema: Schema) -> str:
    """What was tested, and the first tests."""
    header = ("number", "name", "pin", "units", "low", "high")
    rows = [_test_cells(test) for test in schema.tests[:MOST_TESTS]]
    hidden = schema.n_tests - len(rows)
    more = f"and {hidden:,} more tests" if hidden else ""
    caption = f"{schema.n_tests:,} tests, {_purpose(schema.purpose)}"
    return _table(caption, header, rows, more)


def lot_html(lot: Lot) -> str:
    """Which dies there are and what is known of them."""
    dies = lot.dies
    missing = np.count_nonzero(np.isnan(lot.values)) / max(lot.values.size, 1)
    return _facts(
        f"lot of {len(dies):,} test attempts",
        (
            ("source", lot.facts.source or "not from a file"),
            ("tested as", _purpose(lot.schema.purpose)),
            ("lots", _names(dies.lot)),
            ("wafers", _names(dies.wafer)),
            ("dies", f"{np.count_nonzero(dies.is_final):,}"),
            ("tester", _tester_verdicts(dies.tester_pass)),
            ("sites", f"{len(np.unique(lot.group)):,}"),
            ("tests", f"{lot.schema.n_tests:,}, {missing:.2%} of their results missing"),
            ("odd", "; ".join(lot.facts.odd) or "nothing"),
        ),
    )


def score_result_html(result: ScoreResult) -> str:
    """Verdicts, and the dies with the largest scores among the rejected."""
    counts = _facts(f"{len(result):,} dies", _verdict_facts(result.verdicts, result.reasons))
    rows = [
        (str(die), f"{result.scores[die]:.6g}", _top(result.top_tests(die, 3)))
        for die in _worst(result.scores, result.verdicts)
    ]
    return counts + _outliers(("die",), rows)


def lot_result_html(result: LotResult) -> str:
    """Dispositions, warnings, and where the largest scores of the lot are."""
    dispositions = Counter(str(d) for d in result.dispositions)
    counted = ((str(d).replace("_", " "), f"{dispositions[str(d)]:,}") for d in Disposition)
    facts = _facts(
        f"{len(result):,} test attempts",
        (
            *counted,
            *_verdict_facts(result.verdicts, result.reasons),
            ("threshold", f"{result.threshold:.6g} (yield loss {result.fpr:.2%})"),
            *(("warning", warning) for warning in result.warnings),
            ("model_id", result.scorer.model_id),
        ),
    )
    rows = [
        (*_place(result.lot, row), f"{result.scores[row]:.6g}", _top(result.top_tests(row, 3)))
        for row in _worst(result.scores, result.verdicts)
    ]
    return facts + _outliers(("lot", "wafer", "x", "y", "head", "site"), rows)


def _verdict_facts(verdicts: NDArray[np.int8], reasons: NDArray[np.int8]) -> Facts:
    for verdict in (Verdict.PASS, Verdict.REJECT):
        yield verdict.name, f"{np.count_nonzero(verdicts == verdict):,}"
    by_reason = Counter(Reason(r).text for r in reasons[verdicts == Verdict.UNSCORED].tolist())
    listed = ", ".join(f"{n:,} {reason}" for reason, n in sorted(by_reason.items()))
    yield Verdict.UNSCORED.name, listed or "0"


def _worst(scores: NDArray[np.float32], verdicts: NDArray[np.int8]) -> list[int]:
    """Rows of the rejected dies with the largest scores, largest first."""
    rejected = np.flatnonzero(verdicts == Verdict.REJECT)
    order = np.argsort(-scores[rejected], kind="stable")[:MOST_OUTLIERS]
    return [int(row) for row in rejected[order]]


def _outliers(place: Sequence[str], rows: Rows) -> str:
    rows = list(rows)
    if not rows:
        return ""
    return _table("largest scores of rejected dies", (*place, "score", "tests behind it (z)"), rows)


def _place(lot: Lot, row: int) -> tuple[str, ...]:
    dies = lot.dies
    x, y = ("" if v == NO_COORDINATE else str(v) for v in (dies.x[row], dies.y[row]))
    return str(dies.lot[row]), str(dies.wafer[row]), x, y, str(dies.head[row]), str(dies.site[row])


def _top(contributions: Iterable[Contribution]) -> str:
    return "; ".join(
        f"{c.test.label} {c.value:.6g} {c.test.units}, expected {c.expected:.6g} ({c.z:+.1f})"
        for c in contributions
    )


def _test_cells(test: Test) -> tuple[str, ...]:
    low, high = ("" if limit is None else f"{limit:.6g}" for limit in (test.low, test.high))
    return str(test.number), test.name, test.pin, test.units, low, high


def _purpose(purpose: Purpose) -> str:
    named = (
        ("part", purpose.part_type),
        ("at", purpose.temperature),
        ("flow", purpose.flow),
        ("program", purpose.program),
        ("revision", purpose.revision),
    )
    return ", ".join(f"{name} {value}" for name, value in named if value) or "purpose not known"


def _head(kind: str, k: int) -> str:
    return f"{kind}, k = {k}" if k else kind


def _names(column: NDArray[np.object_]) -> str:
    names = [str(name) or "without a name" for name in dict.fromkeys(column.tolist())]
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _tester_verdicts(tester_pass: NDArray[np.int8]) -> str:
    counts = Counter(tester_pass.tolist())
    said = ((1, "passed"), (0, "failed"), (-1, "without a verdict"))
    return ", ".join(f"{counts[code]:,} {text}" for code, text in said if counts[code]) or "no dies"


def _facts(caption: str, facts: Facts) -> str:
    rows = "".join(f"<tr>{_cell('th', name)}{_cell('td', text)}</tr>" for name, text in facts)
    return f"<table><caption>{_escape(caption)}</caption><tbody>{rows}</tbody></table>"


def _table(caption: str, header: Sequence[str], rows: Rows, more: str = "") -> str:
    head = "".join(f"<th>{_escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(_cell('td', text) for text in row)}</tr>" for row in rows)
    note = f"<p>{_escape(more)}</p>" if more else ""
    return (
        f"<table><caption>{_escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{note}"
    )


def _cell(tag: str, text: str) -> str:
    return f'<{tag} style="text-align: left">{_escape(text)}</{tag}>'


def _escape(text: str) -> str:
    """Markup and control characters as text, however hostile a test's name is."""
    visible = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return html.escape(visible)
