"""Random streams that depend on their name alone, never on what was drawn before."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator for ``names`` under ``seed``: ``stream(7, "lot", "LOT001", "wafer", 3)``."""
    key = tuple(zlib.crc32(f"{type(n).__name__}:{n}".encode()) for n in names)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
