"""The C engine, compiled once, and the folders whose networks and files its tests take."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "arithmetic"))
sys.path.append(str(Path(__file__).parents[1] / "kgd"))
sys.path.append(str(Path(__file__).parents[1] / "attacks"))

from engine import compile_library, load


@pytest.fixture(scope="session")
def compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.fixture(scope="session")
def library(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared library, in a temporary folder."""
    return compile_library(compiler, tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="session")
def lib(library: Path) -> ctypes.CDLL:
    return load(library)
