"""Every example runs, and says what its reader is promised."""

from __future__ import annotations

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from knowngood._kgd import encode
from sealed_models import tiny_sealed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_a_module_is_exported_and_a_touchdown_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(EXAMPLES / "export_your_own_module.py"))["main"](str(tmp_path))
    assert capsys.readouterr().out.count(" kB") == 6
    score = runpy.run_path(str(EXAMPLES / "score_a_touchdown.py"))["main"]
    for model in ("model.kgd", "model.int8.onnx", "model.tflite"):
        score(str(tmp_path / model))
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[2] for line in lines] == ["PASS", "REJECT", "UNSCORED", "PASS"]
        assert "0 test_0" in lines[1]
        assert "no data" in lines[2]


def test_a_threshold_of_too_few_dies_is_refused_unless_asked_for(tmp_path: Path) -> None:
    sealed = tiny_sealed()
    doubtful = replace(sealed, screen=replace(sealed.screen, default_fpr=0.001))
    (tmp_path / "model.kgd").write_bytes(encode(doubtful))
    command = [sys.executable, str(EXAMPLES / "score_a_touchdown.py"), str(tmp_path / "model.kgd")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "rests on 3000 good dies" in refused.stderr
    assert "Traceback" not in refused.stderr
    taken = subprocess.run([*command, "--extrapolate"], capture_output=True, text=True, check=True)
    assert taken.stdout.count("site ") == 4


def test_no_example_is_forgotten() -> None:
    tested = Path(__file__).read_text()
    assert all(example.name in tested for example in EXAMPLES.glob("*.py"))
