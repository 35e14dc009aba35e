"""The report: one HTML page about a verdict table that opens without a network.

``write_report`` reads the verdict table, finds the model and the lots that its run record names,
and writes the page. ``_sources`` opens the files, ``_facts`` gathers what is to be said, ``_page``
says it. Needs the extra ``report`` (jinja2 and matplotlib).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from .._atomic import write_bytes
from .._extras import require
from ._facts import ReportFacts, gather
from ._page import render
from ._sources import open_sources

__all__ = ["ReportFacts", "write_report"]


def write_report(
    verdicts: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    lots: Sequence[str | Path] = (),
) -> ReportFacts:
    """Write the report of a verdict table to ``out``, one self-contained HTML file.

    Args:
        verdicts: ``.csv`` or ``.parquet`` of ``knowngood score`` or ``LotResult.write``.
        out: the page to write; an older one is replaced.
        model: the model file, where it is not at the place that the run record names.
        lots: the lot files, likewise, in the order in which they were scored.

    Returns:
        What the report says; ``left_out`` lists the parts whose files could not be found.

    Raises:
        InputError: the verdict table cannot be read.
        UsageError: ``model`` or ``lots`` are not those of the verdicts, or ``out`` cannot be
            written.
        ModelFileError: ``model`` is damaged or foreign.
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    for module in ("jinja2", "matplotlib"):
        require(module, extra="report", needed_for="the report")
    sources = open_sources(verdicts, model=model, lots=lots)
    facts = gather(
        sources.rows,
        sources.run,
        manifest=sources.manifest,
        rescored=sources.rescored,
        left_out=sources.left_out,
    )
    created = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    write_bytes(out, render(facts, created).encode())
    return facts
