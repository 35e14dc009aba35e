"""ai-edge-quantizer, setting by setting, on the fp32 ``.tflite`` of a network.

Given every fairness: only the dense layers are quantised, all of them, and it is calibrated on the
dies that ours is. Left out: fewer than 8 bits; the Hadamard rotation as an operator of its own,
whose kernel in LiteRT 2.3 damages memory on some widths and ends the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ai_edge_quantizer import quantizer
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

from .._contestants import Float32
from ._contestants import Arithmetic
from ._silence import silence

MAKER = "ai-edge-quantizer"
DEFAULT = "static, min and max"
"""What "LiteRT int8" means: the default algorithm in its favour, ranges that clip no die."""
SIGNATURE = "serving_default"
N_ONE_BY_ONE = 500
"""Dies that its guide's calibration loop is run with; more of them change little and take long."""


@dataclass(frozen=True)
class Setting:
    """A recipe and a way to calibrate.

    Attributes:
        kind: "static", "dynamic" or "weight_only".
        algorithm: a name of ``AlgorithmName``.
        activation_bits: of "static".
        one_by_one: a die in a call, as in its guide: ranges are then moving averages, and clip.
            Else all dies in one, so that they hold the smallest and the largest value.
    """

    name: str
    kind: Literal["static", "dynamic", "weight_only"]
    algorithm: str = "MIN_MAX_UNIFORM_QUANT"
    activation_bits: int = 8
    one_by_one: bool = False
    granularity: str = "CHANNELWISE"

    @property
    def arithmetic(self) -> Arithmetic:
        """What is made integer."""
        if self.kind == "weight_only":
            return "int8 weights only"
        return "int8" if self.activation_bits == 8 else "int16 activations"

    @property
    def is_calibrated(self) -> bool:
        """GPTQ, OSCAR and static ranges need dies."""
        return self.kind == "static" or self.algorithm in ("GPTQ", "OSCAR")

    def recipe(self, fp32: bytes) -> quantizer.Quantizer:
        """A quantiser of the file with this recipe."""
        made = quantizer.Quantizer(bytearray(fp32))
        where = {
            "regex": ".*",
            "operation_name": TFLOperationName.FULLY_CONNECTED,
            "algorithm_key": AlgorithmName[self.algorithm],
        }
        granularity = QuantGranularity[self.granularity]
        if self.kind == "static":
            made.add_static_config(
                **where, weight_num_bits=8, weight_granularity=granularity,
                activation_num_bits=self.activation_bits,
            )  # fmt: skip
        elif self.kind == "dynamic":
            made.add_dynamic_config(**where, num_bits=8, granularity=granularity)
        else:
            made.add_weight_only_config(**where, num_bits=8, granularity=granularity)
        return made

    def calls(self, dies: Float32) -> Iterator[dict[str, Float32]]:
        """What the file is calibrated with, call by call."""
        if not self.one_by_one:
            yield {"values": dies}
            return
        for die in dies[:: -(-len(dies) // N_ONE_BY_ONE)]:
            yield {"values": die[None]}


SETTINGS: tuple[Setting, ...] = (
    Setting(DEFAULT, "static"),
    Setting("static, one die at a time", "static", one_by_one=True),
    Setting("static, OCTAV", "static", "OCTAV"),
    Setting("static, MSE", "static", "MSE"),
    Setting("static, GPTQ", "static", "GPTQ"),
    Setting("static, OSCAR", "static", "OSCAR"),
    Setting("static, OSCAR, one die at a time", "static", "OSCAR", one_by_one=True),
    Setting("dynamic", "dynamic"),
    Setting("dynamic, OCTAV", "dynamic", "OCTAV"),
    Setting("dynamic, MSE", "dynamic", "MSE"),
    Setting("dynamic, GPTQ", "dynamic", "GPTQ"),
    Setting("dynamic, OSCAR", "dynamic", "OSCAR"),
    Setting("dynamic, Hadamard", "dynamic", "DECOMPOSED_HADAMARD_ROTATION"),
    Setting("dynamic, blocks of 32", "dynamic", granularity="BLOCKWISE_32"),
    Setting("static, 16-bit activations", "static", activation_bits=16),
    Setting("static, 16-bit activations, GPTQ", "static", "GPTQ", 16),
    Setting("weights only", "weight_only"),
    Setting("weights only, OCTAV", "weight_only", "OCTAV"),
    Setting("weights only, GPTQ", "weight_only", "GPTQ"),
    Setting("weights only, OSCAR", "weight_only", "OSCAR"),
    Setting("weights only, blocks of 32", "weight_only", granularity="BLOCKWISE_32"),
)


def quantised(setting: Setting, fp32: bytes, dies: Float32) -> bytes:
    """The ``.tflite`` after a setting; ``dies`` are raw values that it may calibrate on.

    Raises:
        Exception: whatever the library raises where it refuses.
    """
    with silence():
        made = setting.recipe(fp32)
        ranges = None
        if setting.is_calibrated:
            ranges = made.calibrate({SIGNATURE: list(setting.calls(dies))}, num_threads=1)
        result = made.quantize(ranges, enable_progress_report=False, enable_progress_bar=False)
        return bytes(result.quantized_model)
