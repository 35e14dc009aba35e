"""LiteRT and tflite-runtime: one thread, XNNPACK, views of the tensors, the wrapper left out.

Tried beside it and slower: `set_tensor` and `get_tensor`, which copy; `CompiledModel` (8.4 µs where
this takes 5.4: its buffers are written and read through calls).
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ._job import Bind, Float32
from ._protocol import Contestant, Folder, in_every_way


def contestants(folder: Folder) -> list[Contestant]:
    return _contestants(folder, "litert", "ai_edge_litert.interpreter", "ai-edge-litert")


def contestants_of_tflite(folder: Folder) -> list[Contestant]:
    return _contestants(folder, "tflite-runtime", "tflite_runtime.interpreter", "tflite-runtime")


def _contestants(folder: Folder, engine: str, module: str, package: str) -> list[Contestant]:
    interpreters = import_module(module)

    def open_file(path: Path) -> Bind:
        return lambda n_dies: _Bound(interpreters.Interpreter(str(path), num_threads=1), n_dies)

    return in_every_way(folder, engine, version(package), "tflite", open_file)


class _Bound:
    def __init__(self, interpreter: Any, n_dies: int) -> None:
        (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
        shape = (n_dies, *source["shape_signature"][1:])
        interpreter.resize_tensor_input(source["index"], shape, strict=True)
        interpreter.allocate_tensors()
        self._raw, self._output = interpreter._interpreter, target["index"]
        self.x: Float32 = interpreter.tensor(source["index"])()
        self.x[...] = 0
        self._raw.Invoke()
        self._y = self._view(interpreter)
        self._keep = interpreter

    def _view(self, interpreter: Any) -> Float32 | None:
        """The output, or None where it is made anew by each call, as after TOPK_V2."""
        try:
            view: Float32 = interpreter.tensor(self._output)()
        except ValueError:
            return None
        start = view.ctypes.data
        self._raw.Invoke()
        again = interpreter.tensor(self._output)().ctypes.data
        return view if again == start else None

    def run(self) -> Float32:
        self._raw.Invoke()
        if self._y is not None:
            return self._y
        result: Float32 = np.asarray(self._raw.GetTensor(self._output, 0))
        return result
