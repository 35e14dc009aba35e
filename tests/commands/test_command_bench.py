"""``knowngood bench``: which models it takes and what it writes down; never how long they took."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knowngood._commands import main
from knowngood._kgd import encode
from sealed_models import seal_up
from tiny_models import tiny_network, tiny_onnx

QUICK = ("--batches", "1,4", "--seconds", "0.001")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.kgd").write_bytes(encode(seal_up(tiny_network())))
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(tiny_network()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sealed_model_is_timed_beside_another(folder: Path, capsys) -> None:
    assert main(["bench", "model.kgd", "model.onnx", *QUICK, "--json", "b.json"]) == 0
    out = capsys.readouterr().out
    assert "model.kgd [verified, reference " in out
    assert "model.onnx [fp32, onnxruntime " in out
    rows = json.loads((folder / "b.json").read_text())["latency_us"]
    assert [row["batch"] for row in rows] == [1, 1, 4, 4]
    assert all(row["median_us"] > 0 and row["n_calls"] >= 200 for row in rows)


def test_the_precision_can_be_chosen(folder: Path, capsys) -> None:
    assert main(["bench", "model.kgd", *QUICK, "--precision", "fp32"]) == 0
    assert "[fp32, reference " in capsys.readouterr().out
    assert main(["bench", "model.kgd", *QUICK, "--precision", "int4"]) == 2
    assert "no precision 'int4'" in capsys.readouterr().err
