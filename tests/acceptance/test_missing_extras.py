"""Without an optional package, a verb names the extra that brings it: exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from workplace import Workplace

BLOCK_AND_RUN = """
import contextlib, io, json, sys

blocked, runs = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(blocked))  # what is None there cannot be imported, nor found
from knowngood._commands import main

answers = []
for arguments in runs:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""
EVERYTHING = (
    *("torch", "sklearn", "onnx", "onnxruntime", "flatbuffers", "ai_edge_litert", "tqdm"),
    *("tflite_runtime", "pyarrow", "jinja2", "matplotlib", "scipy", "pandas"),
)
Answer = tuple[int, str, str]


def answers(folder: Path, blocked: tuple[str, ...], *runs: tuple[object, ...]) -> list[Answer]:
    spelled = [[str(word) for word in run] for run in runs]
    done = subprocess.run(
        [sys.executable, "-c", BLOCK_AND_RUN, json.dumps([blocked, spelled])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


def test_with_numpy_alone(workplace: Workplace, tmp_path: Path) -> None:
    model, lot, verdicts = workplace.model, workplace.new_lot, workplace.verdicts
    tflite = model.with_name("model.tflite")
    needing: dict[tuple[object, ...], str] = {
        ("score", model, lot, "-o", "v.csv"): "knowngood[onnxruntime]",
        ("score", tflite, lot, "-o", "v.csv"): "knowngood[litert]",
        ("score", tflite, lot, "-o", "v.csv", "--engine", "tflite"): "knowngood[tflite]",
        ("score", model, lot, "-o", "v.parquet"): "knowngood[parquet]",
        ("bench", model): "knowngood[onnxruntime]",
        ("train", lot, "-o", "out"): "knowngood[export]",
        ("export", workplace.trained, "-o", "out"): "knowngood[export]",
        ("demo", "-o", "demo"): "knowngood[",
        ("report", verdicts, "-o", "r.html"): "knowngood[report]",
        ("inspect", "lot.parquet"): "knowngood[parquet]",
    }
    (tmp_path / "lot.parquet").write_bytes(b"PAR1 and so on")
    (tmp_path / "out").mkdir()
    working = (("--help",), ("--version",), ("inspect", model), ("inspect", tflite))
    working += (("inspect", lot), ("score", "--help"))
    said = answers(tmp_path, EVERYTHING, *needing, *working)
    for run, extra, (code, out, err) in zip(needing, needing.values(), said, strict=False):
        assert (code, out) == (2, ""), (run, err)
        assert f"pip install '{extra}" in err, (run, err)
        assert err.startswith("knowngood: ")
    for run, (code, out, err) in zip(working, said[len(needing) :], strict=True):
        assert (code, err) == (0, ""), run
        assert out
    help_lines = said[len(needing)][1].splitlines()
    for verb in ("score", "inspect", "train", "export", "report", "bench", "demo"):
        assert any(line.split()[:1] == [verb] for line in help_lines)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lot.parquet", "out"]
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("torch", ("train", "LOT", "-o", "out"), "export"),
        ("tqdm", ("train", "LOT", "-o", "out"), "export"),
        ("sklearn", ("train", "LOT", "-o", "out"), "export"),
        ("onnx", ("export", "TRAINED", "-o", "out"), "export"),
        ("onnxruntime", ("export", "TRAINED", "-o", "out"), "onnxruntime"),
        ("ai_edge_litert", ("export", "TRAINED", "-o", "out"), "export"),
        ("flatbuffers", ("export", "TRAINED", "-o", "out"), "export"),
        ("matplotlib", ("report", "VERDICTS", "-o", "r.html"), "report"),
        ("jinja2", ("report", "VERDICTS", "-o", "r.html"), "report"),
        ("jinja2", ("demo", "-o", "out"), "report"),
        ("h5py", ("import", "model.h5", "--good", "LOT", "-o", "out/ae.kgd"), "export"),
        ("onnx", ("demo", "-o", "out"), "export"),
    ],
)
@pytest.mark.slow
def test_one_package_missing(
    workplace: Workplace, tmp_path: Path, module: str, arguments: tuple[str, ...], extra: str
) -> None:
    names = {
        "LOT": workplace.lots[0],
        "TRAINED": workplace.trained,
        "VERDICTS": workplace.verdicts,
    }
    (tmp_path / "out").mkdir()
    (tmp_path / "model.h5").write_bytes(b"HDF and so on")
    run = [names.get(word, word) for word in arguments]
    [(code, out, err)] = answers(tmp_path, (module,), tuple(run))
    assert (code, out) == (2, ""), err
    assert module in err
    assert f"knowngood[{extra}]" in err
    assert not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "r.html").exists()
