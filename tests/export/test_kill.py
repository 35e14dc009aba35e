"""kill -9 while files are written: each file is the old one or the new one, and whole.

The suite kills a few times; ``KNOWNGOOD_KILLS=300 pytest tests/export/test_kill.py`` kills as often
as a release is tested with.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from knowngood._atomic import write_together
from knowngood._model_file import read_model
from knowngood_export._trained import TrainedModel, load_model, save_model
from knowngood_export.export import export_trained

pytestmark = pytest.mark.slow

N_KILLS = int(os.environ.get("KNOWNGOOD_KILLS", "20"))
FPRS = (0.02, 0.05)
FORMATS = ("kgd", "onnx")
NAMES = ("certificate.json", "model.int8.onnx", "model.kgd", "model.onnx")
LARGE = 4_000_000


def export_for_ever(model: Path, folder: Path, has_started: Any) -> None:
    trained = load_model(model)
    has_started.set()
    for fpr in itertools.cycle(FPRS):
        export_trained(trained, folder, FORMATS, fpr=fpr)


def write_for_ever(contents: tuple[dict[Path, bytes], ...], has_started: Any) -> None:
    has_started.set()
    for files in itertools.cycle(contents):
        write_together(files)


def processes() -> ForkServerContext:
    """Processes that start at once, with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "knowngood_export.export"])
    return context


def killed(target: Callable[..., None], arguments: tuple[Any, ...], after_s: float) -> None:
    """Run ``target`` in a process of its own and kill it ``after_s`` seconds after it started."""
    context = processes()
    has_started = context.Event()
    process = context.Process(target=target, args=(*arguments, has_started))
    process.start()
    try:
        assert has_started.wait(60)
        time.sleep(after_s)
        assert process.is_alive(), f"it ended by itself, exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()


def whole_files(folder: Path) -> dict[str, bytes]:
    """The files that the user sees, each of which must decode where it is a model."""
    found = {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.endswith(".part")}
    for name in found:
        if name.startswith("model"):
            read_model(folder / name)
    return found


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]


def exported(trained: TrainedModel, folder: Path, fpr: float) -> dict[str, bytes]:
    export_trained(trained, folder, FORMATS, fpr=fpr)
    return whole_files(folder)


def test_export_killed_at_any_time(trained: TrainedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", trained)
    folder = tmp_path / "out"
    started = time.perf_counter()
    possible = [exported(trained, folder, fpr) for fpr in FPRS]
    both_s = time.perf_counter() - started
    assert possible[0].keys() == possible[1].keys() == set(NAMES)
    moments = random.Random(0)
    for _ in range(N_KILLS):
        arguments = (tmp_path / "model.pt", folder)
        killed(export_for_ever, arguments, moments.uniform(0, both_s))
        found = whole_files(folder)
        assert found.keys() == set(NAMES)
        assert all(data in [p[name] for p in possible] for name, data in found.items())
        assert len(leftovers(folder)) <= len(NAMES)
    assert exported(trained, folder, FPRS[0]) == possible[0]
    assert not leftovers(folder)


def test_any_write_killed_at_any_time(tmp_path: Path) -> None:
    """Large files, so that most kills fall into the writing itself."""
    contents = tuple(
        {tmp_path / name: bytes([i]) * LARGE for name in ("first", "second")} for i in range(2)
    )
    write_together(contents[0])
    moments, n_half_written = random.Random(0), 0
    for _ in range(N_KILLS):
        killed(write_for_ever, (contents,), moments.uniform(0, 0.05))
        n_half_written += len(leftovers(tmp_path))
        found = whole_files(tmp_path)
        assert found.keys() == {"first", "second"}
        assert set(found.values()) <= {bytes([0]) * LARGE, bytes([1]) * LARGE}
        assert len(leftovers(tmp_path)) <= 2
    assert n_half_written, "no kill came while a file was written: the test shows nothing"
    write_together(contents[0])
    assert not leftovers(tmp_path)
