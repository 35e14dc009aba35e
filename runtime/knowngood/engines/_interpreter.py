"""``.tflite`` on LiteRT, or on tflite-runtime where NumPy is older than 2.

Both packages bring the same ``Interpreter``. It holds the tensors of one batch and is not
thread-safe, so a lock guards it; it is resized when the number of dies changes.
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

from ._protocol import check_contract, input_contract, output_contract


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


def open_interpreter(model: ModelFile, name: str) -> InterpreterEngine:
    """Open ``model`` in the engine ``name``, "litert" or "tflite"."""
    package = _PACKAGES[name]
    module = require(package.module, extra=package.extra, needed_for=f"engine {name!r}")
    if name == "tflite":
        _refuse_new_numpy()
    return InterpreterEngine(model, package, module)


def _refuse_new_numpy() -> None:
    """tflite-runtime 2.14 imports under NumPy 2 and then ends the process at its first use."""
    if int(np.__version__.split(".")[0]) >= 2:
        raise MissingExtraError(
            f"engine 'tflite' needs numpy<2, NumPy {np.__version__} is installed. Install "
            "'knowngood[tflite]' in an environment of its own, or use engine 'litert'."
        )


class InterpreterEngine:
    """One interpreter behind a lock."""

    def __init__(self, model: ModelFile, package: _Package, module: Any) -> None:
        self.name = package.engine
        self.version = _installed_version(package.distribution)
        self._lock = threading.Lock()
        self._interpreter = _open(module, model)
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        _check_details(inputs, input_contract(model.manifest), "inputs", model)
        _check_details(outputs, output_contract(model.manifest), "outputs", model)
        self._index = {detail["name"]: detail["index"] for detail in (*inputs, *outputs)}
        self._n_dies = -1

    def score(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self._run(values, rows, "score")

    def reconstruct(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self._run(values, rows, "reconstruction")

    def _run(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None, output: str
    ) -> NDArray[np.float32]:
        interpreter = self._interpreter
        with self._lock:
            if len(values) != self._n_dies:
                self._resize(len(values), values.shape[1])
            interpreter.set_tensor(self._index["values"], values)
            if rows is not None:
                interpreter.set_tensor(self._index["group_row"], rows)
            interpreter.invoke()
            result: NDArray[np.float32] = interpreter.get_tensor(self._index[output])
        return result

    def _resize(self, n_dies: int, n_tests: int) -> None:
        self._n_dies = -1  # stays unknown if the interpreter refuses
        resize = self._interpreter.resize_tensor_input
        resize(self._index["values"], [n_dies, n_tests], strict=True)
        if "group_row" in self._index:
            resize(self._index["group_row"], [n_dies], strict=True)
        self._interpreter.allocate_tensors()
        self._n_dies = n_dies


def _open(module: Any, model: ModelFile) -> Any:
    try:
        interpreter = module.Interpreter(model_content=model.data, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(f"{model.path}: the interpreter refuses the graph: {error}") from error
    return interpreter


def _check_details(
    details: list[dict[str, Any]],
    contract: dict[str, tuple[str, int | None]],
    what: str,
    model: ModelFile,
) -> None:
    found = {d["name"]: _describe(d) for d in details}
    check_contract(found, contract, what, model.path)


def _describe(detail: dict[str, Any]) -> tuple[str, int | None]:
    signature = detail["shape_signature"]
    width = int(signature[1]) if len(signature) == 2 else None
    return np.dtype(detail["dtype"]).name, width


def _installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
