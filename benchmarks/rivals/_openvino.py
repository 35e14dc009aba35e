"""OpenVINO: latency hint, one stream, one thread, float32 not bfloat16, fixed shapes, own arrays.

In fp32 the job stays outside the graph: its optimiser joins centre and scale, which costs three
digits of a score. Its Python wrapper, which builds a dictionary of results, is left out. Tried
beside it and slower: `infer` of the wrapper, `start_async` and `wait`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ._job import Bind
from ._protocol import Contestant, Folder, in_every_way

openvino: Any = import_module("openvino")
CONFIGURATION = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}


def contestants(folder: Folder) -> list[Contestant]:
    core = openvino.Core()

    def open_file(path: Path) -> Bind:
        return lambda n_dies: _Bound(core, path, n_dies)

    version = openvino.__version__.partition("-")[0]
    return in_every_way(folder, "openvino", version, "onnx", open_file, ("int8",))


class _Bound:
    def __init__(self, core: Any, path: Path, n_dies: int) -> None:
        model = core.read_model(str(path))
        model.reshape([n_dies, model.inputs[0].partial_shape[1].get_length()])
        request = core.compile_model(model, "CPU", CONFIGURATION).create_infer_request()
        self.x = np.zeros(tuple(request.model_inputs[0].shape), np.float32)
        self._y = np.zeros(tuple(request.model_outputs[0].shape), np.float32)
        request.set_input_tensor(openvino.Tensor(self.x, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(self._y, shared_memory=True))
        self._request = request
        self._infer = openvino._pyopenvino.InferRequest.infer

    def run(self) -> Any:
        self._infer(self._request, {}, share_outputs=True, decode_strings=False)
        return self._y
