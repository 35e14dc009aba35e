"""How much memory a call takes, against what docs/format.md allows a reader of any file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

from knowngood._errors import ModelFileError
from knowngood._kgd import decode

MEBIBYTE = 1 << 20


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that a call allocates at once, whether it reads the model or refuses it."""
    tracemalloc.start()
    try:
        with suppress(ModelFileError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def decoding_bytes(data: bytes) -> int:
    """The most memory that decoding allocates at once, beside the file itself."""
    return peak_bytes(lambda: decode(data, "model.kgd"))


def beyond_twice_the_file(data: bytes) -> int:
    """Bytes by which the file and what decoding allocates exceed twice the file; 1 MiB may be."""
    return decoding_bytes(data) + len(data) - 2 * len(data)
