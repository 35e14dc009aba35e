"""A name for trained models that changes with the source of training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import knowngood
import knowngood_export
import knowngood_quantize


def training_code_digest(key: str) -> str:
    """Of ``key`` and all that a trained model depends on; engines are not among it."""
    digest = hashlib.sha256(key.encode())
    for package in (knowngood_quantize, knowngood_export):
        for source in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(source.read_bytes())
    for name in ("_network", "_forward", "_schema", "_good_dies", "_lot"):
        digest.update((Path(knowngood.__path__[0]) / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]
