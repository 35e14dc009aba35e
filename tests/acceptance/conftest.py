"""One small product, trained and exported once, on which every acceptance test leans."""

from __future__ import annotations

from pathlib import Path

import pytest
from workplace import Desk, Workplace, furnish


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return furnish(tmp_path_factory.mktemp("workplace"))


@pytest.fixture
def desk(
    workplace: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    """An empty folder to work in, with the command at hand."""
    monkeypatch.chdir(tmp_path)
    return Desk(workplace, tmp_path, capsys)
