"""onnxruntime.quantization, setting by setting, on the fp32 ``.onnx`` of a network.

Given every fairness: only the dense layers are quantised, all of them, and it is calibrated on the
dies that ours is. Left out: keeping some layers in float, which is not the same network in int8;
SmoothQuant, which needs neural-compressor 2; the QOperator format, whose scores are the same; fewer
than 8 bits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)
from onnxruntime.quantization.onnx_model import ONNXModel

from .._contestants import DIES_PER_BLOCK, Float32
from ._contestants import Arithmetic
from ._silence import silence

MAKER = "onnxruntime.quantization"
DEFAULT = "static, default"
AS_IT_COMES = "static, default, score as it comes"
"""Its file subtracts the reconstruction from the *quantised* input, which hides what was clipped.
With all other names the residual is taken from the float input, in the rival's favour."""
_FLOAT_RESULTS = {"OpTypesToExcludeOutputQuantization": ["Gemm"]}
_MOVING_AVERAGE = {"CalibMovingAverage": True}


@dataclass(frozen=True)
class Static:
    """``quantize_static``; a field that is not given has its default."""

    name: str
    per_channel: bool = False
    activations: str = "QInt8"
    weights: str = "QInt8"
    method: str = "MinMax"
    reduce_range: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arithmetic(self) -> Arithmetic:
        """8 or 16 bits of activations."""
        return "int16 activations" if "16" in self.activations else "int8"

    def quantise(self, fp32: Path, out: Path, dies: Float32) -> None:
        """Write the quantised file."""
        quantize_static(
            fp32, out, _Blocks(dies),
            op_types_to_quantize=["Gemm"],
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
            activation_type=QuantType[self.activations],
            weight_type=QuantType[self.weights],
            calibrate_method=CalibrationMethod[self.method],
            extra_options=dict(self.extra),
        )  # fmt: skip


@dataclass(frozen=True)
class Dynamic:
    """``quantize_dynamic``: the activations of a call share a scale, so that a die's score depends
    on its batch; ``block`` dies are in a call."""

    name: str
    per_channel: bool = False
    weights: str = "QInt8"
    block: int = DIES_PER_BLOCK
    arithmetic: Arithmetic = "int8"

    def quantise(self, fp32: Path, out: Path, dies: Float32) -> None:
        """Write the quantised file."""
        quantize_dynamic(
            fp32, out, op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=self.per_channel, weight_type=QuantType[self.weights],
        )  # fmt: skip


@dataclass(frozen=True)
class InBlocks:
    """``MatMulNBitsQuantizer`` with 8 bits: a float scale, and a zero point unless ``symmetric``,
    for every ``block_size`` weights of a row; ``int8_activations`` asks for accuracy level 4."""

    name: str
    block_size: int
    symmetric: bool
    int8_activations: bool

    @property
    def arithmetic(self) -> Arithmetic:
        """Whether it multiplies integers."""
        return "int8 in blocks" if self.int8_activations else "int8 weights only"

    def quantise(self, fp32: Path, out: Path, dies: Float32) -> None:
        """Write the quantised file."""
        model = ONNXModel(onnx.load(fp32))
        model.replace_gemm_with_matmul()
        config = DefaultWeightOnlyQuantConfig(
            block_size=self.block_size, is_symmetric=self.symmetric, bits=8,
            accuracy_level=4 if self.int8_activations else None,
        )  # fmt: skip
        quantizer = MatMulNBitsQuantizer(model.model, algo_config=config)
        quantizer.process()
        quantizer.model.save_model_to_file(str(out), False)


Setting = Static | Dynamic | InBlocks

SETTINGS: tuple[Setting, ...] = (
    Static(DEFAULT),
    Static("static, U8U8", activations="QUInt8", weights="QUInt8"),
    Static("static per channel, S8S8", True),
    Static("static per channel, S8S8 symmetric", True, extra={"ActivationSymmetric": True}),
    Static("static per channel, U8S8", True, "QUInt8"),
    Static("static per channel, U8S8, 7-bit weights", True, "QUInt8", reduce_range=True),
    Static("static per channel, U8S8, entropy", True, "QUInt8", method="Entropy"),
    Static("static per channel, U8S8, percentile", True, "QUInt8", method="Percentile"),
    Static("static per channel, U8S8, distribution", True, "QUInt8", method="Distribution"),
    Static("static per channel, U8S8, moving average", True, "QUInt8", extra=_MOVING_AVERAGE),
    Static("static per channel, U8S8, float results", True, "QUInt8", extra=_FLOAT_RESULTS),
    Static(
        "static per channel, U8S8, float results, percentile", True, "QUInt8",
        method="Percentile", extra=_FLOAT_RESULTS,
    ),
    Static(
        "static per channel, U8S8, float results, moving average", True, "QUInt8",
        extra={**_FLOAT_RESULTS, **_MOVING_AVERAGE},
    ),
    Dynamic("dynamic"),
    Dynamic("dynamic per channel", True),
    Dynamic("dynamic, one die at a time", block=1),
    Dynamic("dynamic per channel, one die at a time", True, block=1),
    Dynamic("dynamic per channel, U8 weights, one die at a time", True, "QUInt8", block=1),
    Static("static per channel, U16S8", True, "QUInt16"),
    Static("static per channel, U16S8, float results", True, "QUInt16", extra=_FLOAT_RESULTS),
    *(
        InBlocks(
            f"blocks of {size}{', symmetric' if symmetric else ''}, "
            f"{'int8' if integer else 'float'} activations",
            size, symmetric, integer,
        )
        for size, symmetric in ((16, False), (32, False), (128, False), (16, True))
        for integer in (True, False)
    ),
)  # fmt: skip


def quantised(setting: Setting, fp32: bytes, dies: Float32) -> bytes:
    """The ``.onnx`` after a setting; ``dies`` are raw values that it may calibrate on.

    Raises:
        Exception: whatever the library raises where it refuses.
    """
    with tempfile.TemporaryDirectory(prefix="knowngood-bench-") as folder, silence():
        source, out = Path(folder, "fp32.onnx"), Path(folder, "quantised.onnx")
        source.write_bytes(fp32)
        setting.quantise(source, out, dies)
        return out.read_bytes()


class _Blocks:
    """The dies a thousand at a time, which every method of calibration needs alike in size."""

    def __init__(self, values: Float32) -> None:
        self._blocks = self._read(values)

    def get_next(self) -> dict[str, Float32] | None:
        return next(self._blocks, None)

    @staticmethod
    def _read(values: Float32) -> Iterator[dict[str, Float32]]:
        size = min(DIES_PER_BLOCK, len(values))
        for start in range(0, len(values) - size + 1, size):
            yield {"values": values[start : start + size]}
