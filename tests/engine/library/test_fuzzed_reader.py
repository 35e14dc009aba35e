"""A minute of fuzzing of the file reader, with sanitizers in the library; leaks count too.

``KG_FUZZ_SECONDS`` makes it more.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest
from programs import ENGINE, attempt, require, run
from two_readers import files

pytestmark = pytest.mark.slow
SECONDS = int(os.environ.get("KG_FUZZ_SECONDS", "60"))
N_MUTANTS = 3_000
"""In a run of the fuzzer that any compiler can build."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("seeds")
    for name, data in files().items():
        (folder / f"{name.replace(' ', '_')}.kgd").write_bytes(data)
    return sorted(folder.iterdir())


def built(folder: Path, compiler: str, target: str, sanitizers: str) -> Path:
    require("cmake", compiler)
    options = [f"-DCMAKE_C_COMPILER={compiler}", f"-DKG_SANITIZE={sanitizers}", "-DKG_FUZZ=ON"]
    flags = ["-DCMAKE_BUILD_TYPE=None", "-DCMAKE_C_FLAGS=-O1"]  # compiles in seconds
    configured = attempt("cmake", "-S", ENGINE, "-B", folder, *options, *flags)
    if configured.returncode:
        pytest.skip(f"{compiler} has no {sanitizers}: {configured.stderr[-300:]}")
    run("cmake", "--build", folder, "--parallel", 2, "--target", target)
    return folder / "fuzz" / target


def test_mutants_of_files(seeds: list[Path], tmp_path: Path):
    """By a driver of our own, a few thousand mutants at a time."""
    mutate = built(tmp_path, "cc", "mutate", "address,undefined")
    seconds = SECONDS / 4 if shutil.which("clang") else SECONDS  # clang's fuzzer has its own test
    end, n_opened, seed = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end or seed == 0:
        seed += 1
        printed = run(mutate, N_MUTANTS, seed, *seeds)
        assert " done;" not in printed.splitlines()[0]  # none opens as it is
        opened = re.search(r"^with digests that fit: (\d+) done;", printed, re.MULTILINE)
        n_opened += int(opened[1]) if opened else 0
    assert n_opened > 0.01 * seed * N_MUTANTS  # so much is scored with


def test_bytes_that_a_coverage_guided_fuzzer_finds(seeds: list[Path], tmp_path: Path):
    sanitizers = "address,undefined,fuzzer-no-link"
    fuzz_read = built(tmp_path / "build", "clang", "fuzz_read", sanitizers)
    (tmp_path / "found").mkdir()
    limits = ["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]
    time_and_place = [f"-max_total_time={SECONDS}", f"-artifact_prefix={tmp_path}/"]
    done = attempt(fuzz_read, *limits, *time_and_place, tmp_path / "found", seeds[0].parent)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed is not None
    assert int(executed[1]) > 100 * SECONDS
