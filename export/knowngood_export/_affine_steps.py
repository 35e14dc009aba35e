"""Affine maps and activations in a row, merged into the layers of a `Network`.

What a torch module or a foreign file computes is read as such steps; batch normalisation, input
scaling and biases that stand alone are affine maps with a diagonal weight, and fold into the dense
ones beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._network import Activation, Dense

Matrix = NDArray[np.float64]
MOST_ALONE = 2**14
"""Width of a diagonal map that becomes a layer of its own, with a square matrix of weights."""


class StepError(ValueError):
    """Steps that do not fit together."""


@dataclass(frozen=True, eq=False)
class Affine:
    """``weight @ x + bias``, in float64; a diagonal weight is kept as a vector.

    Attributes:
        weight: ``(n_out, n_in)``, or ``(n,)`` for a diagonal one.
        bias: ``(n_out,)``.
    """

    weight: Matrix
    bias: Matrix

    @property
    def is_diagonal(self) -> bool:
        return self.weight.ndim == 1


Step = Affine | Activation


def dense_layers(steps: Iterable[Step], n_tests: int) -> Iterator[Dense]:
    """Layers over ``n_tests`` tests; weights are rounded to float32 once, after merging.

    Raises:
        StepError: a map takes another number of values than it is given.
    """
    width = n_tests
    pending: Affine | None = None
    for step in steps:
        if isinstance(step, Affine):
            if pending is not None and not (pending.is_diagonal or step.is_diagonal):
                yield _dense(pending, Activation(), width)
                width, pending = len(pending.bias), None
            pending = step if pending is None else _compose(step, pending)
        else:
            pending = pending or _identity(width)
            yield _dense(pending, step, width)
            width, pending = len(pending.bias), None
    if pending is not None:
        yield _dense(pending, Activation(), width)


def batch_norm(
    mean: Matrix, variance: Matrix, epsilon: float, gain: Matrix | float, shift: Matrix | float
) -> Affine:
    """``(x − mean) / √(variance + epsilon) · gain + shift``, statistics ``(n,)``."""
    scale = gain / np.sqrt(variance + epsilon)
    return Affine(scale, shift - mean * scale)


def _identity(width: int) -> Affine:
    return Affine(np.ones(width), np.zeros(width))


def _compose(outer: Affine, inner: Affine) -> Affine:
    """``outer`` after ``inner``, at least one of them diagonal."""
    if outer.weight.shape[-1] != len(inner.bias):
        raise StepError(
            f"a layer takes {outer.weight.shape[-1]} values, the one before it gives "
            f"{len(inner.bias)}"
        )
    if outer.is_diagonal:
        scale = outer.weight if inner.is_diagonal else outer.weight[:, np.newaxis]
        return Affine(scale * inner.weight, outer.weight * inner.bias + outer.bias)
    return Affine(outer.weight * inner.weight, outer.weight @ inner.bias + outer.bias)


def _dense(affine: Affine, activation: Activation, width: int) -> Dense:
    if affine.is_diagonal and len(affine.bias) > MOST_ALONE:
        raise StepError(
            f"an activation of {len(affine.bias):,} values without a dense layer before it would "
            f"need a weight for each pair; at most {MOST_ALONE:,} are taken"
        )
    weight = np.diag(affine.weight) if affine.is_diagonal else affine.weight
    if weight.shape[1] != width:
        raise StepError(f"a layer takes {weight.shape[1]} values, it is given {width}")
    return Dense(weight.astype(np.float32), affine.bias.astype(np.float32), activation)
