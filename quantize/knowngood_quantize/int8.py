"""int8 form of a network: which numbers the exported int8 files hold.

Weights are symmetric with a scale per output channel, −127 … 127, rounded by GPTQ (`_gptq`) so that
outputs on good dies stay where they are, or each to the nearest; neurons that do nothing are filled
with copies first (`_spare_neurons`). A layer's input is made int8 in units of the die's own largest
magnitude, so that neither a shifted lot nor one wild reading leaves the range: 255 steps where the
input cannot be negative, 127 to either side elsewhere. A static range from good dies costs less and
can be asked for, but clips what lies beyond: an outlier screen meets just such dies. Scaler,
residual and head stay float32, and so does the bias. `simulate` computes what comes out.
docs/int8.md says what each part is worth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import (
    Dense,
    FloatArray,
    Network,
    QuantizedDense,
    QuantizedNetwork,
    StaticRange,
)

from ._gptq import (
    SMALLEST_SCALE,
    WEIGHT_MAX,
    LayerTask,
    RoundedLayer,
    require_finite_inputs,
    round_in_turns,
)
from ._smoothing import smooth
from ._spare_neurons import FilledNetwork, fill_spare_neurons
from .sampling import evenly_spaced
from .static_ranges import INT8_MAX, INT8_MIN, calibration_dies, range_of

INPUT_MAX_POSITIVE = 255
"""Steps of an input that is never negative; others have 127 to either side."""
ACCUMULATOR_MAX = 2**31 - 1
MAX_ROUNDING_DIES = 4096
"""More calibration dies cost time and round no better."""
WILD = 16.0
"""A die this many times as far from the centre as the median die, squared, guides no rounding."""


@dataclass(frozen=True)
class Int8Recipe:
    """How a network is made int8.

    Attributes:
        activations: "per_die": scaled by each die's largest magnitude; "static": one range for
            all, the smallest and largest value on held-out good dies.
        per_channel: one weight scale per output channel; False gives one per matrix, which
            costs accuracy and serves comparison.
        range_margin: share by which a static range is widened beyond what good dies show.
        rounding: "gptq": weights rounded together, so that the network's outputs on good dies move
            least; "nearest": each by itself.
        fill_spare_neurons: hidden neurons that do nothing carry copies of others, which makes
            weights finer and costs nothing; with "gptq", a scale per channel, and as many dies as
            the widest layer has inputs.
        bias_correction: biases such that each layer's outputs on good dies are right in the mean.
        smoothing: strength of SmoothQuant between the layers, 0 (none) to 1.
    """

    activations: Literal["per_die", "static"] = "per_die"
    per_channel: bool = True
    range_margin: float = 0.0
    rounding: Literal["gptq", "nearest"] = "gptq"
    fill_spare_neurons: bool = True
    bias_correction: bool = True
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.activations not in ("per_die", "static"):
            raise UsageError(f"activations are per_die or static, found {self.activations!r}")
        if self.rounding not in ("gptq", "nearest"):
            raise UsageError(f"rounding is gptq or nearest, found {self.rounding!r}")
        if not 0 <= self.range_margin <= 10:
            raise UsageError(f"range_margin must be from 0 to 10, found {self.range_margin!r}")
        if not 0 <= self.smoothing <= 1:
            raise UsageError(f"smoothing must be from 0 to 1, found {self.smoothing!r}")
        for name in ("per_channel", "fill_spare_neurons", "bias_correction"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is true or false, found {getattr(self, name)!r}")

    def to_json(self) -> str:
        """JSON text that ``from_json`` reads back equal."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Int8Recipe:
        """The recipe written by ``to_json``.

        Raises:
            UsageError: not a recipe, or a field this version does not know.
        """
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(f"not an int8 recipe: {error}") from error


def quantize(
    network: Network,
    values: NDArray[np.float32] | None = None,
    group: NDArray[np.int32] | None = None,
    recipe: Int8Recipe = Int8Recipe(),
) -> QuantizedNetwork:
    """Make a network int8.

    Args:
        network: in float32; its thresholds do not hold for the int8 form and must be refitted.
        values: float32 ``(n_dies, n_tests)`` of held-out good dies, raw units, NaN where missing.
            Dies out of range, which get no score, set no range and guide no rounding. Without
            values weights are rounded to the nearest, whatever the recipe says; static ranges need
            them.
        group: int32 ``(n_dies,)``.
        recipe: how.

    Raises:
        NotEnoughDataError: dies are needed for ranges or rounding, and none is in range.
        UsageError: a layer's weights, or its inputs on these dies, are not finite, or a layer is so
            wide that its int32 sums could overflow.
    """
    _require_finite_layers(network)
    if values is None:
        if recipe.activations == "static":
            raise NotEnoughDataError("static int8 ranges are taken from good dies, found none")
        rounded = [_nearest(layer, recipe.per_channel) for layer in network.layers]
        return _quantized(network, network.layers, rounded, [None] * len(rounded))
    u = calibration_dies(network, values, group)
    near = _rounding_dies(u)
    filled = _prepared(network, near, recipe)
    ranges = _static_ranges(filled.layers, u, recipe)
    rounded = list(_rounded(filled, near, ranges, recipe))
    return _quantized(network, filled.layers, rounded, ranges)


def _prepared(network: Network, u: NDArray[np.float32], recipe: Int8Recipe) -> FilledNetwork:
    """The layers that are rounded: in float32 all but the network's own function."""
    if recipe.smoothing:
        network = smooth(network, u, recipe.smoothing)
    is_filled = recipe.fill_spare_neurons and recipe.per_channel and recipe.rounding == "gptq"
    if is_filled and len(u) >= max(network.widths):  # fewer dies do not show which neuron can go
        rounded = [_nearest(layer, recipe.per_channel) for layer in network.layers]
        plain = _quantized(network, network.layers, rounded, [None] * len(rounded))
        return fill_spare_neurons(network, u, lambda dies: simulate(plain, dies))
    return FilledNetwork.plain(network.layers)


def _quantized(
    network: Network,
    layers: Sequence[Dense],
    rounded: Sequence[RoundedLayer],
    ranges: Sequence[StaticRange | None],
) -> QuantizedNetwork:
    made = tuple(
        QuantizedDense(r.weight, r.scale, r.bias, layer.activation, static)
        for layer, r, static in zip(layers, rounded, ranges, strict=True)
    )
    _require_no_overflow(made)
    return QuantizedNetwork(network, made)


def _require_finite_layers(network: Network) -> None:
    for index, layer in enumerate(network.layers):
        for name, array in (("weights", layer.weight), ("bias", layer.bias)):
            if not np.isfinite(array).all():
                raise UsageError(
                    f"the {name} of layer {index} are not finite: train the model again"
                )


def _require_no_overflow(layers: tuple[QuantizedDense, ...]) -> None:
    """Σ|input|·|weight| of each output channel, at its very largest, fits into int32."""
    is_positive = False
    for index, layer in enumerate(layers):
        steps = _largest_step(layer.static_input, is_positive)
        largest = steps * int(np.abs(layer.weight.astype(np.int64)).sum(axis=1).max(initial=0))
        if largest > ACCUMULATOR_MAX:
            raise UsageError(
                f"layer {index} has {layer.weight.shape[1]:,} inputs, too many for int8: a sum of "
                f"products may reach {largest:,}, and int32 ends at {ACCUMULATOR_MAX:,}. Export "
                "fp32 only, or train with fewer tests or a narrower layer"
            )
        is_positive = layer.activation.is_positive


def _largest_step(static: StaticRange | None, is_positive: bool) -> int:
    if static is not None:
        return max(INT8_MAX - static.zero_point, static.zero_point - INT8_MIN)
    return INPUT_MAX_POSITIVE if is_positive else WEIGHT_MAX


def _static_ranges(
    layers: Sequence[Dense], u: NDArray[np.float32], recipe: Int8Recipe
) -> list[StaticRange] | list[None]:
    if recipe.activations == "per_die":
        return [None] * len(layers)
    ranges = []
    x: FloatArray = u
    for index, layer in enumerate(layers):
        require_finite_inputs(index, x)
        ranges.append(range_of(x).widened(1 + recipe.range_margin).to_int8())
        x = layer.activation.apply(x @ layer.weight.T + layer.bias)
    return ranges


def _rounding_dies(u: NDArray[np.float32]) -> NDArray[np.float32]:
    """Some of the dies, evenly spaced, none so far out that it outweighs all others."""
    rows = evenly_spaced(len(u), MAX_ROUNDING_DIES)
    distance = (u[rows].astype(np.float64) ** 2).sum(axis=1)
    near: NDArray[np.float32] = u[rows[distance <= WILD * np.median(distance)]]
    return near


def _rounded(
    filled: FilledNetwork,
    u: NDArray[np.float32],
    ranges: Sequence[StaticRange | None],
    recipe: Int8Recipe,
) -> Iterator[RoundedLayer]:
    """Layer by layer, each on what the int8 layers before it hand on."""
    exact: FloatArray = u.astype(np.float64)
    handed_on, is_positive = u, False
    for index, (layer, static) in enumerate(zip(filled.layers, ranges, strict=True)):
        require_finite_inputs(index, handed_on)
        steps, size = _int8_input(handed_on, static, is_positive)
        inputs = steps.astype(np.float64) * size
        outputs = (exact @ layer.weight.T + layer.bias).astype(np.float64)
        task = LayerTask(inputs, outputs, layer.activation)
        if recipe.rounding == "nearest":
            rounded = _nearest(layer, recipe.per_channel)
            if recipe.bias_correction:
                rounded = rounded.right_in_the_mean(task)
        else:
            places = filled.originals[index], filled.turns[index]
            rounded = round_in_turns(layer.weight, task, *places, per_channel=recipe.per_channel)
            if not recipe.bias_correction:
                rounded = replace(rounded, bias=layer.bias)
        yield rounded
        with np.errstate(over="ignore"):
            handed_on = layer.activation.apply(rounded.apply(inputs)).astype(np.float32)
        exact, is_positive = layer.activation.apply(outputs), layer.activation.is_positive


def _nearest(layer: Dense, per_channel: bool) -> RoundedLayer:
    weight = layer.weight
    largest = np.abs(weight).max(axis=1)
    if not per_channel:
        largest = np.full_like(largest, largest.max())
    scale = np.maximum(largest / np.float32(WEIGHT_MAX), np.float32(SMALLEST_SCALE))
    scale = np.where(largest > 0, scale, np.float32(1)).astype(np.float32)
    steps = np.rint(weight.astype(np.float64) / scale[:, None].astype(np.float64))
    steps = np.clip(steps, -WEIGHT_MAX, WEIGHT_MAX)
    return RoundedLayer(steps.astype(np.int8), scale, layer.bias)


def weight_steps(quantized: QuantizedNetwork) -> tuple[float, ...]:
    """Of each layer, the least number of steps that an output's largest weight spans.

    Outputs whose weights are all 0 do not count; a layer of nothing else gives 127. A scale per
    output channel leaves each at 119 or more, if GPTQ widened it most; one scale per matrix leaves
    an output whose weights are small with a handful, and its verdicts to chance.
    """
    return steps_of_layers(quantized.layers)


def steps_of_layers(layers: Sequence[QuantizedDense]) -> tuple[float, ...]:
    """``weight_steps`` of layers by themselves, such as those of a ``.kgd``."""
    largest = [np.abs(layer.weight.astype(np.int16)).max(axis=1) for layer in layers]
    return tuple(float(steps[steps > 0].min(initial=WEIGHT_MAX)) for steps in largest)


def simulate(quantized: QuantizedNetwork, u: NDArray[np.float32]) -> NDArray[np.float64]:
    """y, float64 ``(n_dies, n_tests)``: what the int8 ONNX file computes, up to float32.

    Inputs are rounded half to even as QuantizeLinear does; layers' outputs are not rounded.

    Args:
        quantized: the int8 form.
        u: float32 ``(n_dies, n_tests)``, standardised, missing tests given as 0.
    """
    if not quantized.layers:
        return np.zeros(u.shape)
    x: NDArray[Any] = u
    is_positive = False
    for layer in quantized.layers:
        steps, scale = _int8_input(x.astype(np.float32), layer.static_input, is_positive)
        acc = steps.astype(np.float64) @ layer.weight.T.astype(np.float64)  # exact, as in int32
        x = layer.activation.apply(acc * scale * layer.weight_scale.astype(np.float64) + layer.bias)
        is_positive = layer.activation.is_positive
    return x.astype(np.float64)


def _int8_input(
    x: NDArray[np.float32], static: StaticRange | None, is_positive: bool
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Whole steps ``(n, n_in)`` from zero, and the step's size, ``(n, 1)`` or ``(1, 1)``."""
    if static is not None:
        steps = np.rint(x / np.float32(static.scale)) + static.zero_point
        return np.clip(steps, INT8_MIN, INT8_MAX) - static.zero_point, np.full((1, 1), static.scale)
    largest = np.maximum(np.abs(x).max(axis=1, keepdims=True), SMALLEST_SCALE).astype(np.float64)
    size = largest / (INPUT_MAX_POSITIVE if is_positive else WEIGHT_MAX)
    return np.rint(x / size), size
