"""A digest inside a model file over the whole of it, so that no changed byte loads unnoticed.

The file holds ``knowngood-sha256:`` and 64 hexadecimal digits once; the digest is taken with those
digits set to zero. It detects damage, not forgery.
"""

from __future__ import annotations

import hashlib

from ._errors import ModelFileError

MARKER = b"knowngood-sha256:"
UNSEALED = (MARKER + b"0" * 64).decode()
"""What a writer puts into the file's metadata before it is sealed."""


def seal(data: bytes) -> bytes:
    """Put the digest into ``data``, which holds ``UNSEALED`` exactly once."""
    start = _digits(data, "the file being written")
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:start] + digest + data[start + 64 :]


def check_seal(data: bytes, name: str) -> str:
    """Return the digest in ``data``, 64 hexadecimal digits, after recomputing it.

    Raises:
        ModelFileError: there is no digest, more than one, or it does not fit the bytes.
    """
    start = _digits(data, name)
    stored = data[start : start + 64]
    zeroed = data[:start] + b"0" * 64 + data[start + 64 :]
    found = hashlib.sha256(zeroed).hexdigest().encode()
    if stored != found:
        raise ModelFileError(
            f"{name} is damaged: its digest says {stored[:12].decode(errors='replace')}…, "
            f"its bytes give {found[:12].decode()}…. Copy or export the file again."
        )
    return found.decode()


def _digits(data: bytes, name: str) -> int:
    place = data.find(MARKER)
    end = place + len(MARKER) + 64
    if place < 0 or end > len(data) or data.find(MARKER, place + 1) >= 0:
        raise ModelFileError(
            f"{name} holds no single knowngood digest: it was not exported by knowngood, "
            "or it is damaged. Export it with knowngood export."
        )
    return place + len(MARKER)
