"""GPTQ: weights rounded so that a layer's outputs move least, not each weight by itself.

After Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained
transformers" (2022): inputs are taken one by one, those that vary most first, and the error of each
rounded weight is made up for by those not yet rounded. Three things are added, each because scores
of dies of other lots then drift less:

* What is aimed at are the outputs of the float32 network; what comes in are the inputs as the int8
  layers before hand them on. So each layer mends what it can of the error of earlier ones.
* An output counts on a die as its activation lets it through: while a relu is shut it may be off.
  (In layers of moderate width, see ``GATED_INPUTS``.)
* The scale of a channel is the one, of a few around its largest weight, that leaves least error.

NumPy only, in float64; nothing is drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._network import Activation, FloatArray

Float64 = NDArray[np.float64]

WEIGHT_MAX = 127
DAMPING = 0.03
"""Added to the diagonal of a Hessian, as a share of its mean. It stands for what calibration dies
do not show: without it weights move freely where good dies do not vary, and the scores of defective
ones pay."""
UNGATED = 0.15
"""What all dies count in the Hessian of an output, against those on which its activation lets it
through: on another lot it is open elsewhere."""
SCALE_FACTORS = np.linspace(0.96, 1.07, 12)
"""Scales tried for a channel, over the one that makes its largest weight 127."""
GATED_INPUTS = 256
"""Outputs of a layer with more inputs share one Hessian of all dies: one for each costs more than
everything else together, and scores drift no less."""
INPUTS_AT_ONCE = 1024
"""Of a wider layer so many inputs are rounded together; later ones make up for earlier ones."""
BLOCK_BYTES = 2**25
"""Memory for the Hessians of the outputs that are rounded together."""
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
SLOPE_STEP = 1e-3
ROUNDING = 1e-9
"""Of the mean square of the inputs: what rounding can take off a Hessian's diagonal, and more."""


@dataclass(frozen=True, eq=False)
class RoundedLayer:
    """A layer in whole weights.

    Attributes:
        weight: int8 ``(n_out, n_in)``, −127 … 127.
        scale: float32 ``(n_out,)``.
        bias: float32 ``(n_out,)``, so that outputs are right in the mean.
    """

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]

    def apply(self, inputs: Float64) -> Float64:
        """Outputs before the activation, float64 ``(n_dies, n_out)``."""
        weight = self.weight * self.scale[:, None].astype(np.float64)
        sums: Float64 = inputs @ weight.T + self.bias.astype(np.float64)
        return sums

    def right_in_the_mean(self, task: LayerTask) -> RoundedLayer:
        """With the bias that makes outputs right in the mean of the dies."""
        missed = (task.outputs - self.apply(task.inputs)).mean(axis=0)
        return replace(self, bias=(self.bias + missed).astype(np.float32))


def require_finite_inputs(index: int, x: FloatArray) -> None:
    """Refuse a network whose layer ``index`` is given inputs that are not finite.

    Raises:
        UsageError: they are not.
    """
    if not np.isfinite(x).all():
        raise UsageError(f"the inputs of layer {index} are not finite: train the model again")


@dataclass(frozen=True, eq=False)
class LayerTask:
    """What a layer is to do on calibration dies.

    Attributes:
        inputs: float64 ``(n_dies, n_in)``, what the int8 layer multiplies: steps times their size.
        outputs: float64 ``(n_dies, n_out)``, the float32 network's before the activation.
        activation: what follows.
    """

    inputs: Float64
    outputs: Float64
    activation: Activation

    def slopes(self) -> Float64 | None:
        """Squared slope of the activation, ``(n_dies, n_out)``, 1 in the mean; None if constant."""
        if self.activation.kind == "linear":
            return None
        above = self.activation.apply(self.outputs + SLOPE_STEP)
        below = self.activation.apply(self.outputs - SLOPE_STEP)
        slope: Float64 = ((above - below) / (2 * SLOPE_STEP)) ** 2
        open_share = slope.mean(axis=0)
        return np.where(open_share > 0, slope / np.where(open_share > 0, open_share, 1), 1.0)


def round_layer(
    weight: NDArray[np.float32], task: LayerTask, *, per_channel: bool = True
) -> RoundedLayer:
    """Round weights, float32 ``(n_out, n_in)``; without ``per_channel`` to one scale for all."""
    exact = weight.astype(np.float64)
    n_out, n_in = exact.shape
    scales = _scales_tried(exact, per_channel)
    steps, scale = np.empty((n_out, n_in), np.int8), np.empty(n_out, np.float32)
    bias = np.empty(n_out, np.float32)
    slopes = task.slopes() if n_in <= GATED_INPUTS else None
    for rows in _blocks(n_out, n_in, is_gated=slopes is not None):
        gate = None if slopes is None else slopes[:, rows]
        found = _round_rows(exact[rows], scales[rows], task.inputs, task.outputs[:, rows], gate)
        steps[rows], scale[rows], bias[rows] = found
    return RoundedLayer(steps, scale, bias)


def round_in_turns(
    weight: NDArray[np.float32],
    task: LayerTask,
    originals: NDArray[np.intp],
    turns: NDArray[np.intp],
    *,
    per_channel: bool = True,
) -> RoundedLayer:
    """Round a layer with copied outputs: each copy makes up for the error of those before it.

    Args:
        weight: float32 ``(n_out, n_in)``.
        task: what it is to do; copies have the same outputs.
        originals: intp ``(n_out,)``, the output that each is a copy of.
        turns: intp ``(n_out,)``, 0 for an original and 1, 2, … for its copies.
    """
    if not turns.any():
        return round_layer(weight, task, per_channel=per_channel)
    steps, scale = np.empty(weight.shape, np.int8), np.empty(len(weight), np.float32)
    bias, owed = np.empty(len(weight), np.float32), np.zeros(task.outputs.shape)
    for turn in range(int(turns.max()) + 1):
        rows = np.flatnonzero(turns == turn)
        places = originals[rows]
        aim = replace(task, outputs=task.outputs[:, rows] + owed[:, places])
        rounded = round_layer(weight[rows], aim, per_channel=per_channel)
        steps[rows], scale[rows], bias[rows] = rounded.weight, rounded.scale, rounded.bias
        owed[:, places] += task.outputs[:, rows] - rounded.apply(task.inputs)
    return RoundedLayer(steps, scale, bias)


def _scales_tried(weight: Float64, per_channel: bool) -> Float64:
    """``(n_out, n_scales)``, each exact in float32."""
    largest = np.abs(weight).max(axis=1)
    if not per_channel:
        largest = np.full_like(largest, largest.max())
    factors = SCALE_FACTORS if per_channel and weight.shape[1] <= INPUTS_AT_ONCE else np.ones(1)
    base = np.where(largest > 0, np.maximum(largest / WEIGHT_MAX, 2 * SMALLEST_SCALE), 1.0)
    return (base[:, None] * factors).astype(np.float32).astype(np.float64)


def _blocks(n_out: int, n_in: int, *, is_gated: bool) -> Iterator[slice]:
    """Outputs that are rounded together."""
    together = min(n_in, INPUTS_AT_ONCE)
    per_row = 8 * together * max(2 * len(SCALE_FACTORS), together if is_gated else 0)
    size = max(1, BLOCK_BYTES // per_row)
    return (slice(start, start + size) for start in range(0, n_out, size))


def _round_rows(
    weight: Float64, scales: Float64, inputs: Float64, outputs: Float64, gate: Float64 | None
) -> tuple[NDArray[np.int8], NDArray[np.float32], Float64]:
    """Steps ``(rows, n_in)``, scales and biases ``(rows,)``."""
    share = np.ones((1, 1)) if gate is None else UNGATED + (1 - UNGATED) * gate
    current = weight.copy()
    steps, scale = np.empty(weight.shape, np.int8), scales[:, 0]
    for start in range(0, weight.shape[1], INPUTS_AT_ONCE):
        columns = slice(start, start + INPUTS_AT_ONCE)
        x = inputs[:, columns]
        missed = outputs - inputs @ current.T
        hessian, covariance = _moments(x, missed, share, gate)
        steps[:, columns], scale = _nearest_plane(current[:, columns], scales, hessian, covariance)
        current[:, columns] = steps[:, columns] * scale[:, None]
    bias = ((outputs - inputs @ current.T) * share).mean(axis=0)
    return steps, scale.astype(np.float32), bias


def _moments(
    x: Float64, missed: Float64, share: Float64, gate: Float64 | None
) -> tuple[Float64, Float64]:
    """Damped Hessians ``(rows or 1, n, n)``; covariances of x and ``missed``, ``(rows, n)``."""
    n_dies, n = x.shape
    mean_x = (share.T @ x) / n_dies if gate is not None else x.mean(axis=0, keepdims=True)
    mean_missed = (missed * share).mean(axis=0)
    covariance = (missed * share).T @ x / n_dies - mean_missed[:, None] * mean_x
    everyone = x.T @ x / n_dies
    if gate is None:
        hessian = everyone[None].copy()
    else:
        hessian = UNGATED * everyone + (1 - UNGATED) * _gated(x, gate)
    hessian -= mean_x[:, :, None] * mean_x[:, None, :]
    diagonal = np.arange(n)
    variance = np.maximum(hessian[:, diagonal, diagonal], 0).mean(axis=1, keepdims=True)
    floor = ROUNDING * float(np.trace(everyone)) / n + SMALLEST_SCALE
    hessian[:, diagonal, diagonal] += DAMPING * variance + floor
    return hessian, covariance


def _gated(x: Float64, gate: Float64) -> Float64:
    """Second moments of x over the dies that each output is open on, ``(rows, n, n)``."""
    moments = np.empty((gate.shape[1], x.shape[1], x.shape[1]))
    for row, weight in enumerate(gate.T):
        is_open = weight > 0
        weighted = x[is_open] * np.sqrt(weight[is_open])[:, None]
        moments[row] = weighted.T @ weighted / len(x)
    return moments


def _nearest_plane(
    weight: Float64, scales: Float64, hessian: Float64, covariance: Float64
) -> tuple[NDArray[np.int8], Float64]:
    """Whole steps ``(rows, n)``, and the scale of each row that suits them best.

    With δ = steps · scale − weight and c the covariance of inputs and what is missed so far, the
    error is δ·H·δᵀ − 2·c·δᵀ. Written with H = L·Lᵀ and L·v = cᵀ it is, but for a constant,
    Σₖ (Lₖₖ·δₖ + Σᵢ﹥ₖ δᵢ·Lᵢₖ − vₖ)². From the last k to the first, each step is chosen so that its
    term is least. That is GPTQ without H inverted.

    Args:
        weight: ``(rows, n)``, unrounded.
        scales: ``(rows, n_scales)``, to choose from.
        hessian: ``(rows or 1, n, n)``.
        covariance: ``(rows, n)``.
    """
    order = np.argsort(np.diagonal(hessian.mean(axis=0)), kind="stable")
    root = np.linalg.cholesky(hessian[:, order[:, None], order])
    weight = weight[:, order]
    steps = np.empty((*scales.shape, weight.shape[1]), np.int8)
    owed = np.repeat(-_solve_lower(root, covariance[:, order])[:, None], scales.shape[1], axis=1)
    error = np.zeros(scales.shape)
    for k in reversed(range(weight.shape[1])):
        pivot = root[:, k, k, None]
        aim = weight[:, k, None] - owed[:, :, k] / pivot
        whole = np.clip(np.rint(aim / scales), -WEIGHT_MAX, WEIGHT_MAX)
        error += ((whole * scales - aim) * pivot) ** 2
        owed[:, :, :k] += (whole * scales - weight[:, k, None])[:, :, None] * root[:, None, k, :k]
        steps[:, :, k] = whole
    best, rows = error.argmin(axis=1), np.arange(len(weight))
    chosen = np.empty(weight.shape, np.int8)
    chosen[:, order] = steps[rows, best]
    return chosen, scales[rows, best]


def _solve_lower(root: FloatArray, right: Float64) -> Float64:
    """v ``(rows, n)`` with root · v = right; NumPy has no triangular solver."""
    v = np.empty_like(right)
    for k in range(right.shape[1]):
        known = np.einsum("ri,ri->r", root[:, k, :k], v[:, :k]) if k else 0.0
        v[:, k] = (right[:, k] - known) / root[:, k, k]
    return v
