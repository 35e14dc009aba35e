"""Virtual environments for packages that this one cannot hold, made once, kept in ``.venvs``."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENTS = Path(__file__).resolve().parents[1] / ".venvs"


class CannotInstallError(Exception):
    """pip cannot install the packages here; the message has its last words."""


def other_python(*requirements: str) -> Path:
    """The interpreter of an environment that holds ``requirements``.

    Raises:
        CannotInstallError: no network, or no wheel for this Python.
    """
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    folder = ENVIRONMENTS / f"{requirements[0].replace('==', '-')}-{key}"
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
        raise CannotInstallError(f"pip cannot install {' '.join(requirements)}: {lines[-1]}")
