"""``knowngood report``: a verdict table as one HTML page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import UsageError
from ._outputs import check_output
from ._protocol import Command

if TYPE_CHECKING:
    from ..report import ReportFacts

_PAGE_SUFFIXES = (".html", ".htm")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "verdicts",
        metavar="VERDICTS",
        help="the verdict table of knowngood score, .csv or .parquet",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the page to write, report.html"
    )
    parser.add_argument(
        "--model", metavar="FILE", help="the model, if it is not where it was when it scored"
    )
    parser.add_argument(
        "--lot",
        metavar="FILE",
        action="extend",
        nargs="+",
        default=[],
        help="the lots, if they are not where they were; in the order in which they were scored",
    )
    parser.add_argument("--json", action="store_true", help="print the headline figures as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def _run(args: argparse.Namespace) -> int:
    from ..report import write_report

    output = check_output(args.output)
    if output.suffix.lower() not in _PAGE_SUFFIXES:  # so that no lot, model or table is overwritten
        raise UsageError(f"{output}: a report is written as .html, by its name")
    facts = write_report(args.verdicts, output, model=args.model, lots=args.lot)
    if args.json:
        print(json.dumps({"output": str(output), **facts.to_json()}, allow_nan=False))
    elif not args.quiet:
        print(_summarise(facts, output))
    return 0


def _summarise(facts: ReportFacts, output: Path) -> str:
    head = facts.headline
    lines = [
        f"dies      {head.n_dies:,}: {head.n_flagged:,} flagged, {head.n_unscored:,} unscored, "
        f"{head.n_tester_fail:,} failed at the tester"
    ]
    lines += [f"left out  {item.what}: {item.why}" for item in facts.left_out]
    lines.append(f"written   {output}")
    return "\n".join(lines)


command = Command("report", "write a verdict table as one HTML page", _configure, _run)
