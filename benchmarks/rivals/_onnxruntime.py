"""ONNX Runtime: one thread, no spinning, input and output bound once, its Python wrapper left out.

Tried beside it and no faster: no memory arena, no memory pattern, denormals flushed, signed
activations (S8S8), `session.run` (several microseconds slower a call).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ._job import Bind
from ._protocol import Contestant, Folder, in_every_way


def contestants(folder: Folder) -> list[Contestant]:
    return in_every_way(folder, "onnxruntime", ort.__version__, "onnx", _open)


def _open(path: Path) -> Bind:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda n_dies: _Bound(session, n_dies)


class _Bound:
    def __init__(self, session: Any, n_dies: int) -> None:
        (source,), (target,) = session.get_inputs(), session.get_outputs()
        binding = session.io_binding()
        self.x = np.zeros((n_dies, source.shape[1]), np.float32)
        self._y = np.zeros((n_dies, *target.shape[1:]), np.float32)
        for bind, node, array in (
            (binding.bind_input, source, self.x),
            (binding.bind_output, target, self._y),
        ):
            bind(node.name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._keep = binding
        self._session, self._binding = session._sess, binding._iobinding

    def run(self) -> Any:
        self._session.run_with_iobinding(self._binding, None)
        return self._y
