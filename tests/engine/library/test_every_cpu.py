"""A processor without a feature gets the next path and the same scores."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from programs import HERE, run

from engine import compile_with_sources

pytestmark = pytest.mark.slow
PRINTED = r"avx512vnni (\d+), avx2 (\d+), sse41 (\d+), scalar (\d+), wrong 0\n"


def test_every_subset_of_the_features_of_this_processor(
    compiler: str, small_model: Path, tmp_path: Path
):
    if platform.machine() != "x86_64":
        pytest.skip("features are hidden from x86-64's cpuid only")
    feigned = ["-include", str(HERE / "feigned_cpu.h"), "-D_DEFAULT_SOURCE"]
    program = compile_with_sources(compiler, HERE / "every_cpu.c", tmp_path, feigned)
    found = re.fullmatch(PRINTED, run(program, small_model))
    assert found is not None
    with_vnni, with_avx2, with_sse41, with_none = map(int, found.groups())
    assert with_none > 0
    if with_vnni:  # a processor that has everything: SSSE3, SSE4.1 and SHA make no difference to it
        assert with_vnni + with_avx2 + with_sse41 + with_none in (2**11 + 3, 2**12 + 3)
        assert with_vnni in (2**2, 2**3)
