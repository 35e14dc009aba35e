"""CPU paths: listed, pinned by argument, command line or environment; and no engine at all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import knowngood
from knowngood import MissingExtraError, UsageError, _native, cpu_paths, load
from knowngood._commands import main
from knowngood._kgd import encode
from knowngood._lot import Dies, Lot
from knowngood.stdf import write_lot
from sealed_models import tiny_sealed
from tiny_models import tiny_network, tiny_onnx

PATHS = {"avx512vnni", "avx2", "sse41", "neondotprod", "neon", "scalar"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.kgd"
    path.write_bytes(encode(tiny_sealed()))
    return path


def values() -> np.ndarray:
    return np.linspace(-3, 3, 60, dtype=np.float32).reshape(10, 6)


def test_every_machine_has_the_scalar_path_last():
    assert set(cpu_paths()) <= PATHS
    assert len(set(cpu_paths())) == len(cpu_paths())
    assert cpu_paths()[-1] == "scalar"


def test_the_fastest_is_taken_and_any_may_be_pinned(model):
    free = load(model)
    assert free.cpu_path == cpu_paths()[0]
    expected = free.score(values()).scores.tobytes()
    for path in cpu_paths():
        pinned = load(model, cpu_path=path)
        assert pinned.cpu_path == pinned.at(0.02).cpu_path == path
        assert pinned.score(values()).scores.tobytes() == expected


def test_the_environment_pins_where_no_argument_does(model, monkeypatch):
    monkeypatch.setenv("KNOWNGOOD_CPU_PATH", "scalar")
    assert load(model).cpu_path == "scalar"
    assert load(model, cpu_path=cpu_paths()[0]).cpu_path == cpu_paths()[0]
    assert load(model, engine="reference").cpu_path is None
    monkeypatch.setenv("KNOWNGOOD_CPU_PATH", "")
    assert load(model).cpu_path == cpu_paths()[0]


def test_a_path_that_is_not_here_is_refused(model, monkeypatch):
    for wrong in ("abacus", "AVX2", ""):
        says = rf"{wrong!r} on this machine; the argument cpu_path= .*--cpu-path.* of .*scalar"
        with pytest.raises(UsageError, match=says):
            load(model, cpu_path=wrong)
    for wrong in ("abacus", "scalar,", " "):
        monkeypatch.setenv("KNOWNGOOD_CPU_PATH", wrong)
        says = rf"{wrong!r} .*; the environment variable KNOWNGOOD_CPU_PATH .* one of .*scalar"
        with pytest.raises(UsageError, match=says):
            load(model)


def test_other_engines_have_none(model, tmp_path):
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(tiny_network()))
    assert load(tmp_path / "model.onnx").cpu_path is None
    for name, engine in (("model.onnx", "onnxruntime"), ("model.kgd", "reference")):
        with pytest.raises(UsageError, match=f"'{engine}' has no CPU paths .*'scalar'"):
            load(tmp_path / name, engine=engine, cpu_path="scalar")


def test_the_command_line_pins_and_records(model, tmp_path, capsys):
    lot = tmp_path / "lot.stdf"
    dies = Dies.anonymous(10, lot="L1", tester_pass=1)
    write_lot(lot, Lot(values(), tiny_network().screen.schema, dies))
    table = str(tmp_path / "v.csv")
    score = ["score", str(model), str(lot), "-o", table]
    assert main([*score, "--cpu-path", "scalar"]) == 0
    assert "native 0.1.0 scalar" in capsys.readouterr().out
    record = json.loads((tmp_path / "v.csv.run.json").read_text())
    assert (record["model"]["engine"], record["model"]["cpu_path"]) == ("native", "scalar")
    assert main(["selftest", str(model), "--cpu-path", "scalar", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cpu_path"] == "scalar"
    assert main(["selftest", str(model), "--cpu-path", "scalar"]) == 0
    assert "passed, native 0.1.0 scalar\n" in capsys.readouterr().out
    assert main(["inspect", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cpu_paths"] == list(cpu_paths())
    assert main(["inspect", str(model)]) == 0
    assert f"  cpu paths   {', '.join(cpu_paths())}\n" in capsys.readouterr().out
    for command in (score, ["selftest", str(model)]):
        assert main([*command, "--cpu-path", "abacus"]) == 2
        assert "abacus" in capsys.readouterr().err


@pytest.fixture
def without_native(monkeypatch):
    """As where knowngood was copied, not installed: its compiled module is not there."""
    monkeypatch.setitem(sys.modules, "knowngood._native", None)
    monkeypatch.delattr(knowngood, "_native", raising=False)


def test_without_the_compiled_engine_it_says_so_and_is_not_slow_in_silence(
    model, without_native, capsys
):
    says = r"engine 'native'.*not in this installation.*pip.*C compiler.*engine='reference'.*slower"
    for ask in (lambda: load(model), lambda: load(model, engine="native"), cpu_paths):
        with pytest.raises(MissingExtraError, match=says):
            ask()
    assert load(model, engine="reference").engine_name == "reference"
    assert main(["inspect", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "engines     reference\n              native is not in this installation" in shown
    assert "cpu paths   none" in shown
    assert main(["selftest", str(model)]) == 2
    assert "engine 'native'" in capsys.readouterr().err


def test_a_compiled_engine_that_cannot_be_loaded_is_not_called_absent(model, tmp_path):
    """As a module for another machine, or for a newer C library."""
    (tmp_path / "_native.abi3.so").write_bytes(b"made for another machine")
    program = (
        "import sys, knowngood\n"
        f"knowngood.__path__.insert(0, {str(tmp_path)!r})\n"
        "from knowngood._commands import main\n"
        "sys.exit(10 * main(['inspect', sys.argv[1]]) + main(['selftest', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", program, model], capture_output=True, text=True)
    assert done.returncode == 2
    why = f"is installed and cannot be loaded: .*{tmp_path}/_native"
    assert re.search(rf"engines     reference\n +native {why}", done.stdout)
    assert re.search(rf"engine 'native', which runs \.kgd files, {why}.*pip", done.stderr)


def test_a_stale_engine_is_refused(model, monkeypatch):
    monkeypatch.setattr(_native, "version", "0.0.9")
    says = r"compiled for knowngood 0\.0\.9 and this is \d.*stale.*pip install -e"
    for ask in (lambda: load(model), cpu_paths):
        with pytest.raises(MissingExtraError, match=says):
            ask()
    assert load(model, engine="reference").engine_name == "reference"


def test_engine_package_and_source_have_one_version():
    assert _native.version == knowngood.__version__ == version("knowngood")


def test_a_graph_needs_no_compiled_engine(tmp_path, without_native):
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(tiny_network()))
    assert load(tmp_path / "model.onnx").engine_name == "onnxruntime"


def test_importing_knowngood_loads_no_engine():
    program = "import sys, knowngood; knowngood.load, knowngood.Scorer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "knowngood._native" not in done.stdout.split()
