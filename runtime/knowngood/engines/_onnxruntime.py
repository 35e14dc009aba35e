"""``.onnx`` on ONNX Runtime: one thread, no spinning, buffers bound once per thread and batch."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import ModelFileError
from knowngood._extras import require
from knowngood._model_file import ModelFile

from ._fork import let_forked_children_exit
from ._int8_overflow import int8_products_may_saturate
from ._protocol import check_contract, input_contract, output_contract

_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}


class OnnxRuntimeEngine:
    """One inference session; its ``run`` is thread-safe, each thread has its own bindings."""

    name = "onnxruntime"

    def __init__(self, model: ModelFile) -> None:
        ort = require("onnxruntime", extra="onnxruntime", needed_for="scoring .onnx files")
        let_forked_children_exit()
        self.version: str = ort.__version__
        self._session = _open_session(ort, model)
        self._n_tests = model.manifest.screen.schema.n_tests
        for what, nodes, contract in (
            ("inputs", self._session.get_inputs(), input_contract(model.manifest)),
            ("outputs", self._session.get_outputs(), output_contract(model.manifest)),
        ):
            found = {node.name: _describe_node(node) for node in nodes}
            check_contract(found, contract, what, model.path)
        self._bound = threading.local()

    def score(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        binding, scores = self._binding(len(values))
        binding.bind_cpu_input("values", values)
        if rows is not None:
            binding.bind_cpu_input("group_row", rows)
        self._session.run_with_iobinding(binding)
        return scores.copy()

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
        feeds = {"values": values} if rows is None else {"values": values, "group_row": rows}
        result: NDArray[np.float32] = self._session.run([output], feeds)[0]
        return result

    def _binding(self, n_dies: int) -> tuple[Any, NDArray[np.float32]]:
        """This thread's binding of the scores to a buffer, kept while the batch size stays."""
        bound = self._bound
        if getattr(bound, "n_dies", None) != n_dies:
            bound.n_dies = None  # stays so if anything below fails
            bound.scores = np.empty(n_dies, dtype=np.float32)
            bound.binding = self._session.io_binding()
            bound.binding.bind_output(
                "score", "cpu", 0, np.float32, bound.scores.shape, bound.scores.ctypes.data
            )
            bound.n_dies = n_dies
        return bound.binding, bound.scores


def _open_session(ort: Any, model: ModelFile) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if int8_products_may_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exception classes share no public base but this
        raise ModelFileError(f"{model.path}: ONNX Runtime refuses the graph: {error}") from error


def _describe_node(node: Any) -> tuple[str, int | None]:
    width = node.shape[1] if len(node.shape) == 2 else None
    return _DTYPES.get(node.type, node.type), width
