"""Programs that tests run: they succeed, or the test says what they printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
ENGINE = REPOSITORY / "runtime" / "engine"
HOSTS = REPOSITORY / "examples" / "hosts"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def require(*programs: str) -> None:
    """Skip the test, and say why, where one of them is not on this machine."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")


def run(*command: object, set_to: Mapping[str, object] | None = None) -> str:
    """What it prints; ``set_to`` changes its environment."""
    done = attempt(*command, set_to=set_to)
    assert done.returncode == 0, (
        f"{command[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    )
    return done.stdout


def attempt(
    *command: object, set_to: Mapping[str, object] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same for one that may fail."""
    environment = {k: str(v) for k, v in {**os.environ, **(set_to or {})}.items()}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, check=False, env=environment, cwd=REPOSITORY,
    )  # fmt: skip


def n_passed(which: Sequence[object], folder: Path, set_to: Mapping[str, object]) -> int:
    """Tests that pass in another Python; none may fail."""
    command = ["-m", "pytest", *which, "-q", "-p", "no:cacheprovider", f"--basetemp={folder}"]
    printed = run(sys.executable, *command, set_to=set_to)
    found = re.search(r"^(\d+) passed", printed, re.MULTILINE)
    assert found, printed
    return int(found[1])
