"""A host's floating-point modes: the reference engine refuses those that would change its bits."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from knowngood._float_modes import require_default_modes

pytest.importorskip("torch")

TESTS = Path(__file__).parents[1]
ROUNDING = {"x86_64": {"down": "1024", "up": "2048", "to zero": "3072"}}.get(platform.machine(), {})


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """What became of a model in each mode, set in a process of its own."""
    program = Path(__file__).with_name("score_in_float_modes.py")
    done = subprocess.run(
        [sys.executable, str(program), "default", "flush", *ROUNDING.values(), "again"],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split("\t") for line in done.stdout.splitlines())


def test_the_default_modes_are_accepted(outcomes: dict[str, str]) -> None:
    require_default_modes()
    assert "Error" not in outcomes["default"]
    assert outcomes["again"] == outcomes["default"]


def test_subnormal_numbers_taken_for_zero_are_refused(outcomes: dict[str, str]) -> None:
    """Every precision of the file, and the message says what sets the mode."""
    assert outcomes["flush"].count("GateError: this thread takes subnormal numbers for zero") == 3
    assert outcomes["flush"].count("torch.set_flush_denormal(True)") == 3
    assert outcomes["flush"].count("-ffast-math") == 3


@pytest.mark.skipif(not ROUNDING, reason="the numbers of C's rounding modes are those of x86-64")
@pytest.mark.parametrize("mode", ROUNDING)
def test_another_rounding_is_refused(outcomes: dict[str, str], mode: str) -> None:
    found = outcomes[ROUNDING[mode]]
    assert found.count("GateError: this thread does not round to nearest") == 3
