"""Every path of the engine gives the bits of the reference, whatever model, dies and batch are."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from bit_for_bit import TO_BE_SEEN, run
from record import record

from engine import Model, compile_host

REPLAY = Path(__file__).with_name("replay.c")


def test_every_path_gives_the_bits_of_the_reference(lib: ctypes.CDLL):
    seen = run(lib, 60)
    assert [what for what in TO_BE_SEEN if not seen[what]] == []


def test_an_unknown_path_is_refused(lib: ctypes.CDLL):
    with pytest.raises(ValueError, match="status 11: "):
        Model(lib, b"", "avx1024")


def test_the_hosts_float_modes_change_no_bit_and_are_left_alone(
    compiler: str, library: Path, tmp_path: Path
):
    record(25, tmp_path / "cases")
    replay = compile_host(compiler, REPLAY, library)
    done = subprocess.run([replay, tmp_path / "cases"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 differ\n")


def test_only_the_functions_of_the_header_are_exported(library: Path):
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    table = subprocess.run(
        [nm, "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    names = [line.split()[-1] for line in table.stdout.splitlines()]
    assert "kg_score" in names
    assert [name for name in names if not name.startswith("kg_")] == []
