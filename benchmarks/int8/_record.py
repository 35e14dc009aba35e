"""The record of an int8 run: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from knowngood._atomic import write_together

from .._record import heading, machine, slug
from ._figures import figures
from ._measure import Row
from ._page import int8_page
from ._run import SetResult

RECORD_VERSION = 1
PACKAGES = ("onnxruntime", "ai-edge-litert", "ai-edge-quantizer")


def record_name() -> str:
    """Date, processor and "int8"."""
    here = machine()
    return f"{here['created'][:10]}-{slug(here['processor'])}-int8"


def write_int8_record(results: Sequence[SetResult], folder: Path, name: str) -> Path:
    """Write ``NAME.json`` and ``NAME.md``; the latter's path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    here = machine()
    here["versions"] |= {package: version(package) for package in PACKAGES}
    record = {"knowngood_int8_benchmark": RECORD_VERSION, **here}
    record["figures"] = [asdict(figure) for figure in figures(results)]
    record["row_columns"] = [field.name for field in fields(Row)]
    record["sets"] = [_set_json(result) for result in results]
    text, page = json.dumps(record) + "\n", int8_page(heading(here), results)
    markdown = folder / f"{name}.md"
    write_together({folder / f"{name}.json": text.encode(), markdown: page.encode()})
    return markdown


def _set_json(result: SetResult) -> dict[str, Any]:
    """With a list for each row: there are thousands."""
    return {**asdict(result), "rows": [astuple(row) for row in result.rows]}
