"""Writing files so that a reader sees the old file or the new one, never a part of either."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ._errors import UsageError


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``: temporary name, fsync, rename, fsync of the folder."""
    write_together({Path(path): data})


def write_with(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place.

    If anything fails (a full disk, an interrupt) the temporary file is removed and an older
    file at ``path`` stays as it was.

    Raises:
        UsageError: the folder does not exist or cannot be written, or the disk is full.
    """
    _write_all({Path(path): write})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: each is on the disk before the first takes its place.

    Raises:
        UsageError: a folder does not exist or cannot be written, or the disk is full; every older
            file stays as it was.
    """
    _write_all({path: partial(_write_bytes, data=data) for path, data in files.items()})


def _write_bytes(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)


def _write_all(writers: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    staged: dict[Path, Path] = {}
    try:
        for path, write in writers.items():
            with _naming(path):
                staged[path] = _new_file_beside(path)
                _fill(staged[path], write)
        for path, temporary in staged.items():
            with _naming(path):
                os.replace(temporary, path)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
    for folder in {path.parent for path in staged}:
        with _naming(folder):
            _sync_folder(folder)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which file an error of the operating system is about."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}. "
            "Nothing was changed there; choose another output folder or free some space."
        ) from error


def _new_file_beside(path: Path) -> Path:
    if path.is_dir():  # found before another file of the set takes its place
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix=".part", dir=path.parent
    )
    os.close(descriptor)
    return Path(temporary)


def _fill(temporary: Path, write: Callable[[BinaryIO], object]) -> None:
    with temporary.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(0o666 & ~_umask())


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
