"""The bits are the same in hosts of other floating-point modes, compilers and processors.

Cases with the reference's results are written once; ``replay.c``, compiled with each library,
scores them in every mode that a host may have set and finds its control word as it was.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from record import record

from engine import FLAGS, SANITIZE, SOURCES, compile_host, compile_library

REPLAY = Path(__file__).with_name("replay.c")
AARCH64 = Path("/usr/aarch64-linux-gnu")
"""Where Debian's cross compiler has the C library."""
BUILDS = (("gcc", "-O3 -march=native"), ("clang", "-O2"), ("clang", "-O3"))
"""Beside that of the fixture ``library``, with ``cc -O2``."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random networks and dies with the reference's results."""
    path = tmp_path_factory.mktemp("replay") / "cases"
    record(10, 40, 3, path)
    return path


@pytest.fixture(scope="module")
def few_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those for an emulator, other ones."""
    path = tmp_path_factory.mktemp("replay") / "cases"
    record(5, 15, 0, path, seed=1)
    return path


def replay(program: Path, path: Path, emulator: Sequence[str] = ()) -> str:
    """What it prints, if nothing differs."""
    done = subprocess.run([*emulator, program, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 differ\n")
    return done.stdout


def tool(name: str) -> str:
    """A program, or the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}")
    return found


def test_the_hosts_float_modes_change_no_bit_and_are_left_alone(
    compiler: str, library: Path, cases: Path
):
    told = replay(compile_host(compiler, REPLAY, library), cases)
    assert "72 models, " in told


@pytest.mark.skipif(bool(SANITIZE), reason="sanitizers look at one build only")
@pytest.mark.parametrize(("compiler_name", "flags"), BUILDS)
def test_every_compiler_gives_the_same_bits(
    compiler_name: str, flags: str, cases: Path, tmp_path: Path
):
    with_flags = flags.split()
    library = compile_library(tool(compiler_name), tmp_path, with_flags)
    replay(compile_host(tool(compiler_name), REPLAY, library, with_flags), cases)


@pytest.mark.parametrize("flag", ["-ffast-math", "-ffinite-math-only"])
def test_no_library_is_made_that_may_give_other_bits(compiler: str, flag: str):
    source = SOURCES / "src" / "score.c"
    command = [compiler, *FLAGS, flag, f"-I{SOURCES / 'include'}", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no fast-math" in done.stderr


@pytest.mark.skipif(bool(SANITIZE), reason="sanitizers look at one build only")
@pytest.mark.parametrize(
    ("command", "processors"),
    [
        ("aarch64-linux-gnu-gcc", {"max": "neondotprod", "cortex-a53": "neon"}),
        ("clang --target=aarch64-linux-gnu", {"max": "neondotprod"}),
    ],
    ids=["gcc", "clang"],
)
def test_every_path_of_aarch64_gives_the_same_bits(
    command: str, processors: dict[str, str], few_cases: Path, tmp_path: Path
):
    """On an emulated processor that has dot products, and on one that has none."""
    tool("aarch64-linux-gnu-gcc")  # brings the C library that clang takes too
    emulator, (name, *flags) = tool("qemu-aarch64"), command.split()
    library = compile_library(tool(name), tmp_path, flags)
    program = compile_host(tool(name), REPLAY, library, flags)
    for processor, fastest in processors.items():
        told = replay(program, few_cases, [emulator, "-L", str(AARCH64), "-cpu", processor])
        counts = dict(line.split()[:2] for line in told.splitlines()[:-1])
        assert next(name for name, n in counts.items() if n != "0") == fastest
        assert counts["neon"] != "0"
        assert counts["scalar"] != "0"
