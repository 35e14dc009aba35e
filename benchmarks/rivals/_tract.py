"""tract, the ONNX engine in Rust: fixed shapes, optimised, the job in NumPy.

With the job in its graph it is no faster, and ends its process at TopK.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ._job import Bind
from ._protocol import Contestant, Folder, in_every_way

tract: Any = import_module("tract")


def contestants(folder: Folder) -> list[Contestant]:
    n_tests = len(folder.job.high)

    def open_file(path: Path) -> Bind:
        return lambda n_dies: _Bound(path, n_dies, n_tests)

    return in_every_way(folder, "tract", tract.version(), "onnx", open_file, ())


class _Bound:
    def __init__(self, path: Path, n_dies: int, n_tests: int) -> None:
        model = tract.onnx().load(str(path))
        model.set_input_fact(0, f"{n_dies},{n_tests},f32")
        self.x = np.zeros((n_dies, n_tests), np.float32)
        self._runnable = model.into_model().into_runnable()

    def run(self) -> Any:
        return self._runnable.run([self.x])[0].to_numpy()
