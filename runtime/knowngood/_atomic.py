"""Writing files so that a reader sees the old file or the new one, never a part of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ._errors import UsageError


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``: temporary name, fsync, rename, fsync of the folder."""
    write_with(path, lambda stream: stream.write(data))


def write_with(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place.

    If anything fails (a full disk, an interrupt) the temporary file is removed and an older
    file at ``path`` stays as it was.

    Raises:
        UsageError: the folder does not exist or cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        _write_and_rename(path, write)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}. "
            "Nothing was changed there; choose another output folder or free some space."
        ) from error


def _write_and_rename(path: Path, write: Callable[[BinaryIO], object]) -> None:
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix=".part", dir=path.parent
    )
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its rename is journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
