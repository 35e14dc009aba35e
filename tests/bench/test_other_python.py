"""Environments of other packages: made once, whoever asks first."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import _other_python
from benchmarks._other_python import CannotInstallError, other_python


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that an environment was begun in; each takes a while."""
    folders: list[Path] = []

    def create(folder: Path, **_: object) -> None:
        folders.append(folder)
        folder.mkdir()
        time.sleep(0.2)

    monkeypatch.setattr(_other_python, "ENVIRONMENTS", tmp_path / "environments")
    monkeypatch.setattr(_other_python.venv, "create", create)
    monkeypatch.setattr(_other_python, "_install", lambda *_: None)
    return folders


def test_an_environment_asked_for_twice_at_once_is_built_once(built: list[Path]) -> None:
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(other_python, ["some==1.0", "some==1.0"])
    assert first == second
    assert built == [first.parents[1]]


def test_an_environment_that_failed_is_built_again(
    built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CannotInstallError("no network")

    with monkeypatch.context() as patched:
        patched.setattr(_other_python, "_install", refuse)
        with pytest.raises(CannotInstallError):
            other_python("some==1.0")
    built[0].rmdir()  # as the real one clears the folder
    assert other_python("some==1.0").parents[1] == built[1]


def test_an_environment_that_may_not_be_made_is_not(built: list[Path]) -> None:
    with pytest.raises(CannotInstallError, match=r"some-1\.0-.* is not made yet"):
        other_python("some==1.0", may_install=False)
    assert built == []
