"""Writing files so that a reader sees the old file or the new one, never a part of either.

A process that is killed leaves its temporary files behind; the next one that writes the same file
removes them.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ._errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

ABANDONED_AFTER_S = 24 * 3600.0
"""Where files cannot be locked, a temporary file of this age belongs to no living process."""


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
        UsageError: a folder does not exist or cannot be written, or the disk is full. If writing
            fails, every older file stays as it was. A rename that fails leaves those before it in
            place, and the message lists them.
    """
    _write_all({path: partial(_write_bytes, data=data) for path, data in files.items()})


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder, all of it or nothing; names may lie in folders below it.

    Raises:
        UsageError: the folder above it does not exist or cannot be written, or the disk is full.
    """
    target = folder.resolve()
    with (
        _naming(folder),
        tempfile.TemporaryDirectory(
            prefix=f".{target.name}.", dir=target.parent, ignore_cleanup_errors=True
        ) as beside,
    ):
        staged = Path(beside) / target.name
        for name, data in files.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            _fill(staged / name, partial(_write_bytes, data=data))
        for below in {staged, *((staged / name).parent for name in files)}:
            sync_folder(below)
        os.replace(staged, target)
    with _naming(folder, new=(target,)):
        sync_folder(target.parent)


def _write_bytes(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)


def _write_all(writers: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    staged: dict[Path, Path] = {}
    with ExitStack() as held:
        for path, write in writers.items():
            with _naming(path):
                staged[path] = held.enter_context(_new_file_beside(path))
                _fill(staged[path], write)
        _put_in_place(staged)
    for folder in dict.fromkeys(path.parent for path in staged):
        with _naming(folder, new=staged):
            sync_folder(folder)


def _put_in_place(staged: Mapping[Path, Path]) -> None:
    new: list[Path] = []
    for path, temporary in staged.items():
        with _naming(path, new):
            os.replace(temporary, path)
        new.append(path)


@contextmanager
def _naming(path: Path, new: Collection[Path] = ()) -> Iterator[None]:
    """Say which file an error of the operating system is about, and which are ``new`` by then."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}. "
            f"{_what_changed(new)}; choose another output folder or free some space."
        ) from error


def _what_changed(new: Collection[Path]) -> str:
    if not new:
        return "Nothing was changed there"
    names = ", ".join(map(str, new))
    return f"Already new, though a power failure may undo it: {names}. Write all files again"


@contextmanager
def _new_file_beside(path: Path) -> Iterator[Path]:
    """A temporary file for ``path``, locked until the end and then removed if it is still there."""
    if path.is_dir():  # found before another file of the set takes its place
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    _remove_abandoned(path)
    descriptor, temporary = _locked_temporary(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _locked_temporary(path: Path) -> tuple[int | None, Path]:
    """A new temporary file, and the open descriptor that locks it where files can be locked."""
    prefix, suffix = _around(path)
    while True:
        descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        if not _CAN_LOCK:
            os.close(descriptor)  # Windows renames no open file
            return None, Path(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another writer is about to remove it as abandoned
            os.close(descriptor)
            continue
        except OSError:  # a file system without locks: nobody will find it abandoned
            return descriptor, Path(name)
        if os.path.exists(name):
            return descriptor, Path(name)
        os.close(descriptor)


def _around(path: Path) -> tuple[str, str]:
    """How the names of temporary files for ``path`` begin and end."""
    return f".{path.name}.", ".part"


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files for ``path`` whose process is gone."""
    prefix, suffix = _around(path)
    length = len(prefix) + 8 + len(suffix)  # mkstemp's eight; more belong to a longer path's file
    for name in os.listdir(path.parent):
        if len(name) == length and name.startswith(prefix) and name.endswith(suffix):
            # gone, locked or another user's: in no case ours to remove
            with suppress(OSError):
                _remove_if_abandoned(path.parent / name)


def _remove_if_abandoned(temporary: Path) -> None:
    if not _CAN_LOCK:
        if time.time() - temporary.stat().st_mtime > ABANDONED_AFTER_S:
            temporary.unlink()
        return
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
    finally:
        os.close(descriptor)


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


def sync_folder(folder: Path) -> None:
    """Put the names in ``folder`` on the disk, after a rename that must survive a power failure."""
    if os.name == "nt":  # Windows cannot open a folder; its rename is journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
