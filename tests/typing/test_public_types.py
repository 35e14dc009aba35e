"""What users' type checkers make of the public calls: mypy and pyright, strict, say the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
WELL_TYPED, ILL_TYPED = HERE / "public_api.py", HERE / "ill_typed.py"


def mypy(file: Path) -> set[int]:
    """Lines that mypy refuses."""
    said = run("mypy", "--strict", "--no-error-summary", file).splitlines()
    found = [re.match(rf".*{file.name}:(\d+): (error|note):", line) for line in said]
    assert all(found), said
    return {int(match[1]) for match in found if match and match[2] == "error"}


def pyright(file: Path) -> set[int]:
    """The same of basedpyright, which is pyright as a package that needs no download."""
    report = json.loads(run("basedpyright", "--outputjson", "--level", "error", file))
    assert report["summary"]["filesAnalyzed"] == 1
    return {1 + error["range"]["start"]["line"] for error in report["generalDiagnostics"]}


def run(program: str, *arguments: object) -> str:
    path = Path(sys.executable).with_name(program)
    command = [str(path), *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_every_public_call_has_its_type(checker) -> None:
    assert checker(WELL_TYPED) == set()


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_ill_typed_calls_are_refused(checker) -> None:
    lines = ILL_TYPED.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert len(marked) > 20
    assert checker(ILL_TYPED) == marked
