"""Virtual environments for packages that this one cannot hold, made once, kept in ``.venvs``."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: one process at a time, as nothing locks
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

ENVIRONMENTS = Path(__file__).resolve().parents[1] / ".venvs"


class CannotInstallError(Exception):
    """pip cannot install the packages here; the message has its last words."""


def other_python(*requirements: str, may_install: bool = True) -> Path:
    """The interpreter of an environment that holds ``requirements``.

    Raises:
        CannotInstallError: no network, or no wheel for this Python; or it is not there yet and may
            not be made.
    """
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    folder = ENVIRONMENTS / f"{requirements[0].replace('==', '-')}-{key}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    complete = folder / "complete"
    with locked(folder):
        if not complete.exists():
            if not may_install:
                raise CannotInstallError(f"its environment {folder.name} is not made yet")
            venv.create(folder, clear=True, with_pip=True)
            _install(python, requirements)
            complete.touch()
    return python


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``<folder>.lock``, so that two processes never build one environment at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        if _CAN_LOCK:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(python: Path, requirements: tuple[str, ...]) -> None:
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise CannotInstallError(f"pip cannot install {' '.join(requirements)}: {lines[-1]}")
