"""Virtual environments with old packages, made once and kept in ``.venvs/``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks._other_python import CannotInstallError, other_python

NEWEST_PYTHON = (3, 11)
"""The old packages have no wheels for a newer one."""


def old_environment(*requirements: str) -> Path:
    """The Python of an environment that holds ``requirements``; skips where pip cannot."""
    if sys.version_info[:2] > NEWEST_PYTHON:
        pytest.skip(f"{requirements[0]} has no wheel for Python {sys.version.split()[0]}")
    try:
        return other_python(*requirements)
    except CannotInstallError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def old_onnxruntime() -> Path:
    return old_environment("onnxruntime==1.16.3", "numpy<2")


@pytest.fixture(scope="session")
def old_tflite() -> Path:
    return old_environment("tflite-runtime==2.14.0", "numpy<2")
