"""Every path of the engine gives the bits of the reference, whatever model, dies and batch are.

Long runs: ``bit_for_bit.py`` and ``record.py``.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from bit_for_bit import run
from comparison import Tally

from engine import Model, path_names


@pytest.fixture(scope="module")
def tally(lib: ctypes.CDLL) -> Tally:
    """A short run."""
    return run([lib], n_ordinary=12, n_small=60, n_wide=4, n_whole=60)


def test_every_path_gives_the_bits_of_the_reference(tally: Tally):
    assert tally.examples == []
    assert tally.n_differing == 0


def test_the_comparison_meets_what_can_befall_a_die(tally: Tally, lib: ctypes.CDLL):
    assert tally.unseen() == []
    compared = {path for _, path, _ in tally.compared}
    assert compared == set(path_names(lib))
    assert min(tally.compared.values()) > 0


def test_an_unknown_path_is_refused(lib: ctypes.CDLL):
    with pytest.raises(ValueError, match="status 11: "):
        Model(lib, b"", "avx1024")


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
