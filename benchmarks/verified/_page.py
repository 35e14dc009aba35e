"""The record of a run: flips, rescoring and the bands, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from knowngood._atomic import write_together

from .._markdown import markdown_table
from .._record import heading, machine, slug
from ._run import Count, VerifiedResult

RECORD_VERSION = 1


def record_name() -> str:
    """Date, processor and "verified"."""
    here = machine()
    return f"{here['created'][:10]}-{slug(here['processor'])}-verified"


def write_verified_record(results: Sequence[VerifiedResult], folder: Path, name: str) -> Path:
    """Write ``NAME.json`` and ``NAME.md``; the latter's path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    here = machine()
    record = {"knowngood_verified_benchmark": RECORD_VERSION, **here}
    record["cases"] = [_case_json(result) for result in results]
    page = "\n\n".join([heading(here), *(verified_section(result) for result in results)]) + "\n"
    markdown = folder / f"{name}.md"
    text = json.dumps(record, indent=1) + "\n"
    write_together({folder / f"{name}.json": text.encode(), markdown: page.encode()})
    return markdown


def _case_json(result: VerifiedResult) -> dict[str, Any]:
    return {**asdict(result), "failures": result.failures}


def verified_section(result: VerifiedResult) -> str:
    """One case in Markdown."""
    case = result.case
    kinds = list(dict.fromkeys(count.kind for count in result.counts))
    parts = [
        f"## Verified verdicts of {case.name}",
        f"{case.n_tests} tests, the {case.process} generator, {result.n_lots} fresh lots, in "
        f"{result.seconds:,.0f} s. {_outcome(result)} In brackets: verdicts of the int8 score at "
        "the same threshold that are not those of fp32, which the bands catch. Rescored are dies "
        "whose score is not int8's; one with the same bits in fp32 is not seen.",
        *(_table(kind, [c for c in result.counts if c.kind == kind]) for kind in kinds),
        _bands(result),
    ]
    return "\n\n".join(parts)


def _outcome(result: VerifiedResult) -> str:
    if result.failures:
        return "**Verdicts differ:** " + "; ".join(result.failures) + "."
    n_verdicts = sum(count.n_dies for count in result.counts)
    return f"Not one of {n_verdicts:,} verdicts differs from that of fp32."


def _table(kind: str, counts: Sequence[Count]) -> str:
    fprs = sorted({count.fpr for count in counts})
    of = {(count.head, count.fpr): count for count in counts}
    heads = list(dict.fromkeys(count.head for count in counts))
    header = [f"{kind}, {counts[0].n_dies:,} dies"]
    header += [f"{what} at {fpr:.1%}" for fpr in fprs for what in ("flips", "rescored")]
    rows = [[head, *(cell for fpr in fprs for cell in _cells(of[head, fpr]))] for head in heads]
    return markdown_table(header, rows)


def _cells(count: Count) -> tuple[str, str]:
    return f"{count.n_flips} ({count.n_int8_flips})", f"{count.rescored:.3%}"


def _bands(result: VerifiedResult) -> str:
    rows = []
    for head, evidence in result.evidence.items():
        for point in evidence.points:
            ends = [f"{end / point.threshold - 1:+.1%}" for end in (point.lo, point.hi)]
            cells = [f"{point.fpr:.1%}", *ends, f"{point.expected_rescoring:.3%}"]
            rows.append([head, *cells, f"{point.n_dies:,}"])
    header = ["band", "yield loss", "from", "to", "rescoring expected", "dies at the threshold"]
    return markdown_table(header, rows)
