"""``model.int8-full.tflite``: the file holds the layers alone, the rest of the score is done here.

values ─ standardise ─▶ u ─ int8 ─▶ interpreter ─ int8 ─▶ y ─ residual of the float u, head ─▶ score

The arithmetic around the layers is that of docs/arithmetic.md. An u beyond the file's static range
is held at its end for the layers, and keeps its value in the residual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood import _arithmetic as arithmetic
from knowngood._errors import ModelFileError, UsageError
from knowngood._manifest import Manifest
from knowngood._model_file import ModelFile
from knowngood._verdicts import UNSCORED_SCORE

from ._locked_interpreter import LockedInterpreter

FULL_INT8 = "int8-full"
"""The precision, in the manifest, of files whose scaler and head are left to this engine."""
_INT8 = np.iinfo(np.int8)


class FullInt8Engine:
    """An interpreter for the layers, NumPy for the rest."""

    def __init__(self, model: ModelFile, interpreter: LockedInterpreter) -> None:
        self.name = interpreter.name
        self.version = interpreter.version
        self._interpreter = interpreter
        self._path = model.path
        self._screen = model.manifest.screen
        contract = int8_contract(model.manifest)
        interpreter.check({"standardised": contract}, {"reconstruction": contract})
        self._input = _Steps.of(interpreter.inputs["standardised"], model)
        self._output = _Steps.of(interpreter.outputs["reconstruction"], model)

    def score(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        head = self._screen.head
        dies = arithmetic.standardise(self._screen.scaler, values, rows)
        y = self._layers(dies.u)
        z = arithmetic.weighted_residual(head, dies.u, y, dies.present)
        return arithmetic.score(head, z, dies.present)

    def reconstruct(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        dies = arithmetic.standardise(self._screen.scaler, values, rows)
        return np.where(dies.evaluable[:, np.newaxis], self._layers(dies.u), UNSCORED_SCORE)

    def latent(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        raise UsageError(
            f"{self._path} gives a reconstruction and no latent code: its graph has one output, "
            "whole int8. Use model.tflite or model.kgd."
        )

    def _layers(self, u: NDArray[np.float32]) -> NDArray[np.float32]:
        q = self._interpreter.run("reconstruction", {"standardised": self._input.to_int8(u)})
        if q.shape != u.shape:
            raise ModelFileError(
                f"{self._path}: the graph gives {q.shape[0]} reconstructions for {len(u)} dies. "
                "Export the model again."
            )
        return self._output.to_float(q)


def int8_contract(manifest: Manifest) -> tuple[str, int | None]:
    """Dtype and width of the graph's input and of its output."""
    return "int8", manifest.screen.schema.n_tests


@dataclass(frozen=True)
class _Steps:
    """How an int8 tensor stands for real numbers: (q − zero_point) · scale."""

    scale: np.float32
    zero_point: np.float32

    @classmethod
    def of(cls, detail: dict[str, Any], model: ModelFile) -> _Steps:
        parameters = detail["quantization_parameters"]
        scales, zero_points = parameters["scales"], parameters["zero_points"]
        if len(scales) != 1 or len(zero_points) != 1 or not 0 < scales[0] < math.inf:
            raise ModelFileError(
                f"{model.path}: the tensor {detail['name']!r} has the scales {list(scales)}, "
                "expected one above 0. Export the model again."
            )
        return cls(np.float32(scales[0]), np.float32(zero_points[0]))

    def to_int8(self, x: NDArray[np.float32]) -> NDArray[np.int8]:
        """Rounded half to even, and held at −128 and 127."""
        steps: NDArray[np.float32] = np.rint(x / self.scale) + self.zero_point
        return steps.clip(_INT8.min, _INT8.max).astype(np.int8)

    def to_float(self, q: NDArray[np.int8]) -> NDArray[np.float32]:
        x: NDArray[np.float32] = (q.astype(np.float32) - self.zero_point) * self.scale
        return x
