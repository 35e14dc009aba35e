"""The run record: which model, engine, operating point and files a verdict table comes from.

It is JSON beside the table, ``verdicts.csv.run.json``, and belongs in the datalog with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import InputError, UsageError
from ._manifest import Source

if TYPE_CHECKING:
    from ._judge import LotResult

RUN_VERSION = 1


def record_path(table: str | Path) -> Path:
    """Where the record of a verdict table lies."""
    return Path(f"{table}.run.json")


def describe_run(
    results: Sequence[LotResult], inputs: Sequence[str | Path], good_if: str | None
) -> dict[str, Any]:
    """The record of ``results``, JSON-ready; ``inputs`` as in ``write_verdicts``."""
    from ._judge import tally

    if not results:
        raise UsageError("there are no lots to write verdicts for")
    scorer = results[0].scorer
    paths = list(inputs) or [result.lot.facts.source for result in results]
    return {
        "knowngood_run": RUN_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": {
            "path": str(scorer.path),
            "sha256": scorer.model_digest,
            "model_id": scorer.model_id,
            "format": scorer.format,
            "detector": scorer.manifest.detector,
            "precision": scorer.precision,
            "engine": scorer.engine_name,
            "engine_version": scorer.engine_version,
            "cpu_path": scorer.cpu_path,
        },
        "inputs": [_describe_input(p, r) for p, r in zip(paths, results, strict=True)],
        "fpr": scorer.fpr,
        "threshold": scorer.threshold,
        "supported": scorer.operating_point.supported,
        "options": {**asdict(results[0].options), "good_if": good_if},
        "warnings": list(dict.fromkeys(w for r in results for w in r.warnings)),
        "counts": tally(results),
        "facts": [_describe_facts(p, r) for p, r in zip(paths, results, strict=True)],
    }


def _describe_input(path: str | Path, result: LotResult) -> dict[str, Any]:
    file = Path(path)
    digest = file_sha256(file) if file.is_file() else ""
    return {**asdict(Source(file.name, digest, len(result))), "path": str(path)}


def _describe_facts(path: str | Path, result: LotResult) -> dict[str, Any]:
    facts = result.lot.facts
    return {
        "path": str(path),
        "kind": facts.kind,
        "byte_order": facts.byte_order,
        "tester": facts.tester,
        "odd": list(facts.odd),
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def run_bytes(record: dict[str, Any]) -> bytes:
    """The record as the bytes of its file."""
    return (json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_run(table: str | Path) -> dict[str, Any] | None:
    """The record beside a verdict table, None if there is none.

    Raises:
        InputError: the file is there and is not a run record of this version.
    """
    path = record_path(table)
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the run record {path}: {error}") from error
    if not isinstance(record, dict) or record.get("knowngood_run") != RUN_VERSION:
        raise InputError(f"{path} is no run record of version {RUN_VERSION}: score the lot again")
    if (place := _misfit(record, _SHAPE)) is not None:
        raise InputError(f"{path} is damaged: {place} is absent or odd; score the lot again")
    return record


_NUMBER = (int, float)
_SHAPE: dict[str, Any] = {
    "created": str,
    "model": dict.fromkeys(
        ("path", "sha256", "detector", "precision", "engine", "engine_version"), str
    ),
    "inputs": [{"name": str, "sha256": str, "n_dies": int, "path": str}],
    "fpr": _NUMBER,
    "threshold": _NUMBER,
    "supported": bool,
    "options": {
        "score_fails": bool,
        "strict": bool,
        "allow_absent": bool,
        "good_if": (str, type(None)),
    },
    "warnings": [str],
    "counts": dict,
    "facts": [{"path": str, "odd": [str]}],
}
"""What readers of a record rely on: fields that must be there, their types, lists of one shape."""


def _misfit(value: object, shape: Any) -> str | None:
    """Where ``value`` is not of ``shape``, such as ``model.path``; empty for the value itself."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return ""
        places = (_misfit(item, shape[0]) for item in value)
        return next((place for place in places if place is not None), None)
    if isinstance(shape, dict):
        found = value if isinstance(value, dict) else {}
        for name, inner in shape.items():
            place = _misfit(found.get(name), inner)
            if place is not None:
                return f"{name}.{place}".rstrip(".")
        return None
    return None if isinstance(value, shape) else ""
