"""Whatever turns dies into scores: a file in its engine, with every head of the set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from knowngood._network import Head, HeadKind

from .._contestants import DIES_PER_BLOCK, Float32
from ._dies import Dies

Arithmetic = Literal["fp32", "int8", "int8 in blocks", "int16 activations", "int8 weights only"]
"""What is made integer: "int8" is weights and activations, as in every file of ours that says so.

"int8 in blocks" has a scale for every few weights of a row and, where activations are integers,
for every few of them, which is more than 8 bits a weight; "int8 weights only" multiplies in float.
"""
Reconstruct = Callable[[Float32], Float32]
OUTPUT_OF_HEAD = "score"
OUTPUT = "reconstruction"
N_AT_OPENING = 2
"""Dies that a file is opened for: XNNPACK refuses some files only when it is not one."""


@dataclass(frozen=True, eq=False)
class Contestant:
    """One way to score with one network.

    Attributes:
        maker: "knowngood", "onnxruntime.quantization" or "ai-edge-quantizer".
        setting: what its maker was told.
        engine: that the file is run in, "" of what is scored natively.
        n_bytes: of the file.
        scores: float32 ``(n_dies,)`` of dies by head.
        own_scores: of raw values, what a file of ours gives out by the set's first head.
    """

    maker: str
    setting: str
    arithmetic: Arithmetic
    engine: str
    n_bytes: int
    scores: Callable[[Dies], dict[HeadKind, Float32]]
    own_scores: Callable[[Float32], Float32] | None = None

    @property
    def name(self) -> str:
        """Unique within a set."""
        return f"{self.maker} {self.setting}"


def by_reconstruction(
    reconstruct: Reconstruct, heads: Mapping[HeadKind, Head], block: int = DIES_PER_BLOCK
) -> Callable[[Dies], dict[HeadKind, Float32]]:
    """Scores by every head of what a file reconstructs, ``block`` dies in a call.

    Scaler, residual and head are float in every file, so that one file serves all heads.
    """

    def scores(dies: Dies) -> dict[HeadKind, Float32]:
        found: dict[HeadKind, list[Float32]] = {kind: [] for kind in heads}
        for rows in dies.blocks():
            values = dies.values[rows]
            parts = [reconstruct(values[i : i + block]) for i in range(0, len(values), block)]
            reconstruction = np.concatenate(parts)
            for kind, head in heads.items():
                found[kind].append(dies.score(head, reconstruction, rows))
        return {kind: np.concatenate([np.empty(0, np.float32), *s]) for kind, s in found.items()}

    return scores


def by_own_score(
    score: Callable[[Float32], Float32], kind: HeadKind
) -> Callable[[Dies], dict[HeadKind, Float32]]:
    """What a file itself gives out, by the head that is in it."""

    def scores(dies: Dies) -> dict[HeadKind, Float32]:
        parts = [score(dies.values[rows]) for rows in dies.blocks()]
        return {kind: np.concatenate([np.empty(0, np.float32), *parts])}

    return scores


class OnnxFile:
    """An ``.onnx`` of this network in ONNX Runtime, on one thread."""

    engine = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, data: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )

    def reconstruct(self, values: Float32) -> Float32:
        """Standardised, float32 ``(n, n_tests)``."""
        return self._run(OUTPUT, values)

    def score(self, values: Float32) -> Float32:
        """The file's own scores, float32 ``(n,)``."""
        return self._run(OUTPUT_OF_HEAD, values)

    def _run(self, output: str, values: Float32) -> Float32:
        found: Float32 = self._session.run([output], {"values": values})[0]
        return found


class TfliteFile:
    """A ``.tflite`` of this network in LiteRT, on one thread.

    XNNPACK refuses some of what is quantised, a channel of zeros among it; such a file is run by
    LiteRT's own kernels.
    """

    engine = f"LiteRT {version('ai-edge-litert')}"

    def __init__(self, data: bytes) -> None:
        try:
            self._interpreter = _interpreter(data, OpResolverType.AUTO)
        except RuntimeError:
            self._interpreter = _interpreter(data, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
            self.engine = f"{self.engine} without XNNPACK"
        (details,) = self._interpreter.get_input_details()
        self._input = details["index"]
        runner = self._interpreter.get_signature_runner()
        self._outputs = {n: d["index"] for n, d in runner.get_output_details().items()}
        self._n_dies = N_AT_OPENING

    def reconstruct(self, values: Float32) -> Float32:
        """Standardised, float32 ``(n, n_tests)``."""
        return self._run(OUTPUT, values)

    def score(self, values: Float32) -> Float32:
        """The file's own scores, float32 ``(n,)``."""
        return self._run(OUTPUT_OF_HEAD, values).reshape(-1)

    def _run(self, output: str, values: Float32) -> Float32:
        if len(values) != self._n_dies:
            self._interpreter.resize_tensor_input(self._input, values.shape)
            self._interpreter.allocate_tensors()
            self._n_dies = len(values)
        self._interpreter.set_tensor(self._input, values)
        self._interpreter.invoke()
        found: Float32 = self._interpreter.get_tensor(self._outputs[output])
        return found


def _interpreter(data: bytes, resolver: OpResolverType) -> Interpreter:
    interpreter = Interpreter(
        model_content=data, num_threads=1, experimental_op_resolver_type=resolver
    )
    (details,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(details["index"], (N_AT_OPENING, details["shape"][1]))
    interpreter.allocate_tensors()
    return interpreter
