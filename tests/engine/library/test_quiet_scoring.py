"""Scoring asks nothing of the C library and nothing of the system, however often it is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from installation import Installation
from programs import HERE, attempt, require, run

pytestmark = pytest.mark.slow
N_CALLS, N_TRACED = 1_000_000, 3_000
QUIET = r"opening took (\d+), scoring took 0, gave back 0, grew by (-?\d+), wrong 0\n"


@pytest.fixture(scope="module")
def quiet_host(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Against the shared library, whose calls of malloc find the host's."""
    host = tmp_path_factory.mktemp("quiet") / "quiet_host"
    library = [installed.library, f"-Wl,-rpath,{installed.folder}"]
    flags = ["-std=gnu11", "-O2", "-fno-builtin", "-Wall", "-Wextra", "-Werror"]
    run("cc", *flags, HERE / "quiet_host.c", f"-I{installed.include}", *library, "-o", host)
    return host


def test_scoring_takes_no_memory(quiet_host: Path, small_model: Path):
    found = re.fullmatch(QUIET, printed := run(quiet_host, small_model, N_CALLS))
    assert found, printed
    assert int(found[1]) > 0  # or the host's malloc is not the one that the library calls
    assert int(found[2]) <= 0  # the system may take back a page that nobody touches


def test_scoring_makes_no_system_call(quiet_host: Path, small_model: Path):
    require("strace")
    done = attempt("strace", "-f", quiet_host, small_model, N_TRACED)
    calls = re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", done.stderr, re.MULTILINE)
    if "getppid" not in calls:
        pytest.skip(f"strace may not trace here: {done.stderr[-200:]}")
    start = calls.index("getppid")
    assert "read" in calls[:start]  # the model, by the same tracer
    assert calls[start + 1] == "getppid", calls[start:]
    assert re.fullmatch(QUIET, done.stdout), done.stdout
    assert not {"clone", "clone3", "fork", "vfork", "futex"} & set(calls)
