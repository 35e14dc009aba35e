"""Every example runs, and says what its reader is promised."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

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


def test_no_example_is_forgotten() -> None:
    tested = Path(__file__).read_text()
    assert all(example.name in tested for example in EXAMPLES.glob("*.py"))
