"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from knowngood._atomic import write_bytes, write_together, write_with
from knowngood._errors import UsageError


def test_writes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "f.bin"
    write_bytes(target, b"one")
    write_bytes(target, b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["f.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()]
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "f.bin"
    write_bytes(target, b"old")

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    with pytest.raises((UsageError, KeyboardInterrupt, ValueError)):
        write_with(target, fail)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f.bin"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        write_bytes(tmp_path / "nowhere" / "f.bin", b"x")


def test_files_of_a_set_are_replaced_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (tmp_path / name for name in ("a", "b", "c"))
    write_together({first: b"1", second: b"2"})
    write_together({first: b"old", second: b"old"})
    (third / "kept").mkdir(parents=True)
    with pytest.raises(UsageError, match=f"{third}: Is a directory"):
        write_together({first: b"new", second: b"new", third: b"new"})
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("a file took its place too early"))
    with pytest.raises(UsageError, match="nowhere"):
        write_together({first: b"new", tmp_path / "nowhere" / "d": b"new"})
    assert (first.read_bytes(), second.read_bytes()) == (b"old", b"old")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
