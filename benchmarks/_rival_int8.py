"""ONNX Runtime's own ``quantize_static`` on the same network: what its defaults make of it.

Given every fairness: only the dense layers are quantised (scaler, residual and head stay float), it
is calibrated on the same held-out good dies, and its thresholds are refitted on its own scores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from onnxruntime.quantization import quantize_static

from knowngood._model_file import read_model
from knowngood._opening import open_scorer
from knowngood_export._trained import TrainedModel
from knowngood_quantize.thresholds import fit_operating_points

from ._contestants import DIES_PER_BLOCK, Float32, thresholds_of


class QuantizeStatic:
    """The fp32 ``.onnx`` after ``quantize_static``, run like every other ``.onnx`` file."""

    name = "quantize_static int8"
    form = "rival"

    def __init__(self, path: Path, trained: TrainedModel) -> None:
        model = replace(read_model(path), data=_quantize(path, trained.calibration.good))
        self._scorer = open_scorer(model, extrapolate=True, check=False)
        self.version = self._scorer.engine_version
        scores = self.score(trained.calibration.good)
        fprs = tuple(thresholds_of(self._scorer.screen))
        self.thresholds = {p.fpr: p.threshold for p in fit_operating_points(scores, fprs)}

    def score(self, values: Float32) -> Float32:
        return self._scorer.score(values).scores


def _quantize(path: Path, values: Float32) -> bytes:
    with tempfile.TemporaryDirectory(prefix="knowngood-bench-") as folder:
        quantized = Path(folder, "quantized.onnx")
        quantize_static(path, quantized, _Blocks(values), op_types_to_quantize=["Gemm"])
        return quantized.read_bytes()


class _Blocks:
    """The calibration dies, some at a time; what ONNX Runtime calls a CalibrationDataReader."""

    def __init__(self, values: Float32) -> None:
        self._blocks = self._read(values)

    def get_next(self) -> dict[str, Float32] | None:
        return next(self._blocks, None)

    @staticmethod
    def _read(values: Float32) -> Iterator[dict[str, Float32]]:
        for start in range(0, len(values), DIES_PER_BLOCK):
            yield {"values": values[start : start + DIES_PER_BLOCK]}
