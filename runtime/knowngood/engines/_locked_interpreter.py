"""The ``Interpreter`` of LiteRT or tflite-runtime, safe for threads, for any number of dies.

Both packages bring the same class. It holds the tensors of one batch and is not thread-safe, so a
lock guards it; it is resized when the number of dies changes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import MissingExtraError, ModelFileError
from knowngood._extras import require
from knowngood._model_file import ModelFile

from ._protocol import check_contract

Contract = dict[str, tuple[str, int | None]]
"""Dtype and width, None for a vector, of each input or output by name."""


@dataclass(frozen=True)
class _Package:
    """Where an ``Interpreter`` comes from."""

    engine: str
    module: str
    distribution: str
    extra: str


_PACKAGES = {
    "litert": _Package("litert", "ai_edge_litert.interpreter", "ai-edge-litert", "litert"),
    "tflite": _Package("tflite", "tflite_runtime.interpreter", "tflite-runtime", "tflite"),
}


def lock_interpreter(model: ModelFile, name: str) -> LockedInterpreter:
    """Open ``model`` in the package of the engine ``name``, "litert" or "tflite".

    Raises:
        MissingExtraError: the package is not installed, or does not go with this NumPy.
        ModelFileError: the interpreter refuses the graph.
    """
    package = _PACKAGES[name]
    module = require(package.module, extra=package.extra, needed_for=f"engine {name!r}")
    if name == "tflite":
        _refuse_new_numpy()
    return LockedInterpreter(model, package, module)


def _refuse_new_numpy() -> None:
    """tflite-runtime 2.14 imports under NumPy 2 and then ends the process at its first use."""
    if int(np.__version__.split(".")[0]) >= 2:
        raise MissingExtraError(
            f"engine 'tflite' needs numpy<2, NumPy {np.__version__} is installed. Install "
            "'knowngood[tflite]' in an environment of its own, or use engine 'litert'."
        )


class LockedInterpreter:
    """One interpreter behind a lock, for any number of dies.

    Attributes:
        name: of the engine.
        version: of its package.
        inputs, outputs: the interpreter's details of each, by name.
    """

    def __init__(self, model: ModelFile, package: _Package, module: Any) -> None:
        self.name = package.engine
        self.version = _installed_version(package.distribution)
        self._lock = threading.Lock()
        self._interpreter = _open(module, model)
        self._path = model.path
        self.inputs = {d["name"]: d for d in self._interpreter.get_input_details()}
        self.outputs = {d["name"]: d for d in self._interpreter.get_output_details()}
        self._index = {n: d["index"] for n, d in (self.inputs | self.outputs).items()}
        self._n_dies = -1

    def check(self, inputs: Contract, outputs: Contract) -> None:
        """Compare the graph with its contract.

        Raises:
            ModelFileError: naming the first input or output that differs.
        """
        for what, details, contract in (
            ("inputs", self.inputs, inputs),
            ("outputs", self.outputs, outputs),
        ):
            found = {name: _describe(detail) for name, detail in details.items()}
            check_contract(found, contract, what, self._path)

    def run(self, output: str, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """A new array with an output; the first axis of every input is the dies."""
        interpreter = self._interpreter
        n_dies = len(next(iter(inputs.values())))
        with self._lock:
            if n_dies != self._n_dies:
                self._resize(n_dies, inputs)
            for name, array in inputs.items():
                interpreter.set_tensor(self._index[name], array)
            interpreter.invoke()
            result: NDArray[Any] = interpreter.get_tensor(self._index[output])
        return result

    def _resize(self, n_dies: int, inputs: dict[str, NDArray[Any]]) -> None:
        self._n_dies = -1  # stays unknown if the interpreter refuses
        for name, array in inputs.items():
            is_free = -1 in self.inputs[name]["shape_signature"]
            self._interpreter.resize_tensor_input(self._index[name], array.shape, strict=is_free)
        self._interpreter.allocate_tensors()
        self._n_dies = n_dies


def _open(module: Any, model: ModelFile) -> Any:
    try:
        interpreter = module.Interpreter(model_content=model.data, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(f"{model.path}: the interpreter refuses the graph: {error}") from error
    return interpreter


def _describe(detail: dict[str, Any]) -> tuple[str, int | None]:
    signature = detail["shape_signature"]
    width = int(signature[1]) if len(signature) == 2 else None
    return np.dtype(detail["dtype"]).name, width


def _installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
