"""The record of detection: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from knowngood._atomic import write_bytes

from .._record import heading, machine, slug
from ._page import detection_page
from ._run import DetectionResult

RECORD_VERSION = 1


def write_detection(results: Sequence[DetectionResult], folder: Path, name: str = "") -> Path:
    """Write ``NAME.detection.json`` and ``.md``; the Markdown's path is returned.

    Without a name it is made of the date and the processor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    here = machine()
    stem = name or f"{here['created'][:10]}-{slug(here['processor'])}"
    cases = [{**asdict(result), "failures": result.failures} for result in results]
    record = {"knowngood_detection": RECORD_VERSION, **here, "cases": cases}
    write_bytes(folder / f"{stem}.detection.json", (json.dumps(record, indent=1) + "\n").encode())
    page = folder / f"{stem}.detection.md"
    write_bytes(page, f"{heading(here)}\n\n{detection_page(results)}\n".encode())
    return page
