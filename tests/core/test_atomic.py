"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from knowngood import _atomic
from knowngood._atomic import write_bytes, write_folder, write_together, write_with
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


def fail_on_call(number: int, real: Callable[..., None]) -> Callable[..., None]:
    """``real``, but for an input/output error on its call of this number."""
    calls = itertools.count(1)

    def call(*arguments: object) -> None:
        if next(calls) == number:
            raise OSError(errno.EIO, "Input/output error")
        real(*arguments)

    return call


def test_a_rename_that_fails_says_which_files_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in "abc"]
    write_together(dict.fromkeys(paths, b"old"))
    monkeypatch.setattr(os, "replace", fail_on_call(2, os.replace))
    with pytest.raises(UsageError) as caught:
        write_together(dict.fromkeys(paths, b"new"))
    message = str(caught.value)
    assert f"cannot write {paths[1]}: Input/output error. Already new" in message
    assert f": {paths[0]}. Write all files again" in message
    assert "Nothing was changed" not in message
    assert [path.read_bytes() for path in paths] == [b"new", b"old", b"old"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_the_first_rename_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "f.bin"
    write_bytes(target, b"old")
    monkeypatch.setattr(os, "replace", fail_on_call(1, os.replace))
    with pytest.raises(UsageError, match="Nothing was changed there"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"


def test_a_folder_that_cannot_be_synced_has_its_files_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in "ab"]
    monkeypatch.setattr(os, "fsync", fail_on_call(3, os.fsync))  # after one for each file
    with pytest.raises(UsageError) as caught:
        write_together(dict.fromkeys(paths, b"new"))
    assert f"cannot write {tmp_path}: Input/output error" in str(caught.value)
    assert f"{paths[0]}, {paths[1]}" in str(caught.value)
    assert "Nothing was changed" not in str(caught.value)
    assert [path.read_bytes() for path in paths] == [b"new", b"new"]


def test_a_folder_is_new_as_a_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail_on_call(1, os.replace))
        with pytest.raises(UsageError, match="Nothing was changed"):
            write_folder(folder, {"a": b"1"})
    assert not os.listdir(tmp_path)
    monkeypatch.setattr(os, "fsync", fail_on_call(3, os.fsync))  # after its file and itself
    with pytest.raises(UsageError, match=f"Already new.* {folder}\\."):
        write_folder(folder, {"a": b"1"})
    assert (folder / "a").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["out"]


def _write_until_killed(target: Path, is_writing: multiprocessing.synchronize.Event) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        stream.flush()
        is_writing.set()
        signal.pause()

    write_with(target, write)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[multiprocessing.process.BaseProcess]:
    """A process half way through writing ``f.bin``."""
    context = multiprocessing.get_context("spawn")
    is_writing = context.Event()
    process = context.Process(target=_write_until_killed, args=(tmp_path / "f.bin", is_writing))
    process.start()
    try:
        assert is_writing.wait(60)
        yield process
    finally:
        process.kill()
        process.join()


def test_what_a_killed_writer_left_goes_with_the_next_write(
    tmp_path: Path, writer: multiprocessing.process.BaseProcess
) -> None:
    target = tmp_path / "f.bin"
    writer.kill()
    writer.join()
    (left,) = tmp_path.iterdir()
    assert left.read_bytes() == b"half"
    write_bytes(tmp_path / "other.bin", b"another file's writer leaves it alone")
    assert left.exists()
    write_bytes(target, b"whole")
    assert sorted(os.listdir(tmp_path)) == ["f.bin", "other.bin"]


def test_a_living_writers_file_is_left_alone(
    tmp_path: Path, writer: multiprocessing.process.BaseProcess
) -> None:
    (theirs,) = tmp_path.iterdir()
    write_bytes(tmp_path / "f.bin", b"whole")
    assert writer.is_alive()
    assert theirs.read_bytes() == b"half"


def test_a_user_s_own_files_are_left_alone(tmp_path: Path) -> None:
    names = [".f.bin.notes.part", ".f.bin.part", ".f.bin.old.abcdefgh.part", "f.bin.abcdefgh.part"]
    for name in names:
        (tmp_path / name).write_bytes(b"kept")
    write_bytes(tmp_path / "f.bin", b"new")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "f.bin"])


def test_without_locks_only_old_leftovers_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_atomic, "_CAN_LOCK", False)
    fresh, old = tmp_path / ".f.bin.aaaaaaaa.part", tmp_path / ".f.bin.bbbbbbbb.part"
    for path in (fresh, old):
        path.write_bytes(b"half")
    long_ago = time.time() - _atomic.ABANDONED_AFTER_S - 60
    os.utime(old, (long_ago, long_ago))
    write_bytes(tmp_path / "f.bin", b"new")
    assert sorted(os.listdir(tmp_path)) == [fresh.name, "f.bin"]


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    target = tmp_path / "f.bin"
    contents = [bytes([i]) * 100_000 for i in range(4)]

    def write_often(data: bytes) -> None:
        for _ in range(10):
            write_bytes(target, data)

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write_often, contents))
    assert target.read_bytes() in contents
    assert os.listdir(tmp_path) == ["f.bin"]
