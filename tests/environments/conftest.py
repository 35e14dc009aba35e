"""Virtual environments with old packages, made once and kept in ``.venvs/``."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NEWEST_PYTHON = (3, 11)
"""The old packages have no wheels for a newer one."""


def old_environment(*requirements: str) -> Path:
    """The Python of an environment that holds ``requirements``; skips where pip cannot."""
    if sys.version_info[:2] > NEWEST_PYTHON:
        pytest.skip(f"{requirements[0]} has no wheel for Python {sys.version.split()[0]}")
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    name = requirements[0].replace("==", "-")
    folder = REPOSITORY / ".venvs" / f"{name}-{key}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    complete = folder / "complete"
    if not complete.exists():
        venv.create(folder, clear=True, with_pip=True)
        _install(python, requirements)
        complete.touch()
    return python


def _install(python: Path, requirements: tuple[str, ...]) -> None:
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        pytest.skip(f"pip cannot install {' '.join(requirements)}: {lines[-1]}")


@pytest.fixture(scope="session")
def old_onnxruntime() -> Path:
    return old_environment("onnxruntime==1.16.3", "numpy<2")


@pytest.fixture(scope="session")
def old_tflite() -> Path:
    return old_environment("tflite-runtime==2.14.0", "numpy<2")
