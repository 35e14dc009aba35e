"""What Python's tests say of sealed models holds on the slower paths of this machine too."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import n_passed

import knowngood

pytestmark = pytest.mark.slow
FOLDERS = ("tests/runtime", "tests/commands")
ABOUT_SEALED_MODELS = "native or sealed or golden or contributions or blocks or score_into"


@pytest.mark.parametrize("path", ["avx2", "sse41", "neon", "scalar"])
def test_python_on_a_slower_path(path: str, tmp_path: Path):
    fastest, *slower = knowngood.cpu_paths()
    if path == fastest:
        pytest.skip("the fastest path here, which all other tests take")
    if path not in slower:
        pytest.skip(f"not on this machine, which has {fastest}, {', '.join(slower)}")
    which = [*FOLDERS, "-m", "not slow", "-k", ABOUT_SEALED_MODELS]
    assert n_passed(which, tmp_path / "tests", {"KNOWNGOOD_CPU_PATH": path}) >= 100
