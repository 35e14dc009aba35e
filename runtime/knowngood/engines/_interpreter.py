"""``.tflite`` on LiteRT, or on tflite-runtime where NumPy is older than 2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._model_file import ModelFile

from ._full_int8 import FULL_INT8, FullInt8Engine
from ._locked_interpreter import LockedInterpreter, lock_interpreter
from ._protocol import GraphEngine, input_contract, output_contract


def open_interpreter(model: ModelFile, name: str) -> GraphEngine:
    """Open ``model`` in the engine ``name``, "litert" or "tflite"; see `lock_interpreter`."""
    interpreter = lock_interpreter(model, name)
    if model.manifest.precision == FULL_INT8:
        return FullInt8Engine(model, interpreter)
    return InterpreterEngine(model, interpreter)


class InterpreterEngine:
    """A file that is complete by itself: raw values in, score out."""

    def __init__(self, model: ModelFile, interpreter: LockedInterpreter) -> None:
        self.name = interpreter.name
        self.version = interpreter.version
        self._interpreter = interpreter
        interpreter.check(input_contract(model.manifest), output_contract(model.manifest))

    def score(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self._run("score", values, rows)

    def reconstruct(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self._run("reconstruction", values, rows)

    def latent(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self._run("latent", values, rows)

    def _run(
        self, output: str, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        inputs: dict[str, NDArray[Any]] = {"values": values}
        if rows is not None:
            inputs["group_row"] = rows
        return self._interpreter.run(output, inputs)
