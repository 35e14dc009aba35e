"""What a foreign file itself gives, in the runtime its format belongs to: to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import MissingExtraError, ModelFileError
from knowngood._extras import require

from ._read import ForeignNetwork

Float32 = NDArray[np.float32]


def run_in_own_runtime(network: ForeignNetwork, u: Float32) -> Float32 | None:
    """Reconstructions float32 ``(n_dies, n_tests)``; None for Keras, whose runtime is not needed.

    Dies go in one by one, repeated where a file has a fixed batch: this is not for whole lots.

    Args:
        network: as `read_network` gives it.
        u: float32 ``(n_dies, n_tests)``, finite, scaled as the file expects it. Where the file
            takes integers they are quantised by its own scale, and its results dequantised.

    Raises:
        ModelFileError: the runtime refuses the file.
        MissingExtraError: the runtime is not installed.
    """
    opened = {"onnx": _open_onnx, "tflite": _open_tflite}.get(network.format)
    if opened is None:
        return None
    try:
        run, batch = opened(network)
        rows = [run(np.broadcast_to(x.reshape(network.input_shape), (batch, *network.input_shape)))
                for x in u]  # fmt: skip
    except MissingExtraError:
        raise
    except Exception as error:  # the runtimes' exception classes share no public base but this
        raise ModelFileError(f"{network.path}: its own runtime refuses it: {error}") from error
    result: Float32 = np.stack([row[0].astype(np.float32).ravel() for row in rows])
    return result


_Run = Callable[[Float32], NDArray[Any]]


def _open_onnx(network: ForeignNetwork) -> tuple[_Run, int]:
    """What runs a batch, and how many dies it must be of; so too `_open_tflite`."""
    ort = require("onnxruntime", extra="onnxruntime", needed_for="checking an imported .onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # fuses into int8
    session = ort.InferenceSession(str(network.path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    dtype = np.float64 if given.type == "tensor(double)" else np.float32

    def run(x: Float32) -> NDArray[Any]:
        result: NDArray[Any] = session.run(None, {given.name: x.astype(dtype)})[0]
        return result

    return run, given.shape[0] if isinstance(given.shape[0], int) else 1


def _open_tflite(network: ForeignNetwork) -> tuple[_Run, int]:
    module = require(
        "ai_edge_litert.interpreter", extra="litert", needed_for="checking an imported .tflite"
    )
    interpreter = module.Interpreter(model_content=network.data, num_threads=1)
    interpreter.allocate_tensors()
    given, found = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(x: Float32) -> NDArray[Any]:
        interpreter.set_tensor(given["index"], _to_integers(x, given))
        interpreter.invoke()
        return _to_real(interpreter.get_tensor(found["index"]), found)

    return run, int(given["shape"][0])


def _to_integers(x: Float32, detail: dict[str, Any]) -> NDArray[Any]:
    dtype: np.dtype[Any] = np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return x.astype(dtype)
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(dtype)
    steps: NDArray[np.float64] = np.rint(x.astype(np.float64) / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def _to_real(array: NDArray[Any], detail: dict[str, Any]) -> NDArray[Any]:
    if array.dtype.kind == "f":
        return array
    scale, zero_point = detail["quantization"]
    real: NDArray[np.float64] = (array.astype(np.float64) - zero_point) * scale
    return real
