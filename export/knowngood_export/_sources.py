"""Data files as a model's provenance names them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from knowngood._lot import Lot
from knowngood._manifest import Source


def source_of(path: Path, lot: Lot) -> Source:
    """Name, digest and number of dies of a lot's file."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Source(path.name, digest, len(lot.dies))
