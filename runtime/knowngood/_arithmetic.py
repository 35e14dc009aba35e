"""The arithmetic of a score: docs/arithmetic.md in NumPy, each function one of its rules.

All arrays are float32 unless said otherwise, dies along the first axis. No result depends on the
other dies of a batch. Infinities and NaN pass through without warnings; what becomes of them is
said in `engines._reference`, which puts the rules together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ._activations import activate, exp, expm1
from ._fma import fma, fma_chain
from ._integer_product import integer_product
from ._network import MAX_STANDARDISED, Dense, Head, QuantizedDense, Scaler
from ._verdicts import UNSCORED_SCORE

__all__ = [
    "Int8Input",
    "Standardised",
    "activate",
    "dense",
    "dense_int8",
    "exp",
    "expm1",
    "fma",
    "fma_chain",
    "has_enough",
    "quantize_input",
    "score",
    "standardise",
    "sum_of_tests",
    "weighted_residual",
    "with_nan",
]

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
_AnyFloat = TypeVar("_AnyFloat", np.float32, np.float64)

_N_LANES = 16
_SIGNED_LEVELS, _UNSIGNED_LEVELS = np.float32(127), np.float32(255)
_SMALLEST_MAGNITUDE = np.float32(2.0**-100)


@dataclass(frozen=True, eq=False)
class Standardised:
    """Dies in units of the scaler.

    Attributes:
        u: ``(n_dies, n_tests)``; +0 where a test is missing, and throughout dies not evaluable.
        present: bool ``(n_dies, n_tests)``, False throughout dies that are not evaluable.
        evaluable: bool ``(n_dies,)``: every u of a present test is finite and within range.
    """

    u: Floats
    present: Bools
    evaluable: Bools

    def take(self, dies: Bools) -> Standardised:
        """Only the ``dies``, bool ``(n_dies,)``."""
        return Standardised(self.u[dies], self.present[dies], self.evaluable[dies])


def standardise(scaler: Scaler, values: Floats, rows: NDArray[np.int32] | None) -> Standardised:
    """Section 2: raw ``values`` ``(n_dies, n_tests)``, with the scaler's row of each die."""
    known = np.zeros(len(values), dtype=np.int32) if rows is None else rows
    with np.errstate(all="ignore"):
        u = scaler.standardise(values, known)
        present = ~np.isnan(values)
        evaluable: Bools = np.all(np.isnan(values) | (np.abs(u) <= MAX_STANDARDISED), axis=1)
    present &= evaluable[:, np.newaxis]
    u = np.where(present, u, np.float32(0))
    return Standardised(u, present, evaluable)


def dense(layer: Dense, x: Floats) -> Floats:
    """Section 3: ``x`` ``(n_dies, n_in)`` through a float32 layer, ``(n_dies, n_out)``."""
    return activate(layer.activation, fma_chain(x, layer.weight, layer.bias))


@dataclass(frozen=True, eq=False)
class Int8Input:
    """A layer's input in units of each die's own largest magnitude: x ≈ q · scale.

    Attributes:
        q: float64 ``(n_dies, n_in)``, integers from −255 to 255.
        scale: ``(n_dies,)``.
        magnitude: ``(n_dies,)``, largest |x|; NaN for a die that cannot be made int8, whose q and
            scale are then 0.
    """

    q: NDArray[np.float64]
    scale: Floats
    magnitude: Floats


def quantize_input(x: Floats, *, is_positive: bool) -> Int8Input:
    """Section 4, steps 1 to 3, for ``x`` ``(n_dies, n_in)``.

    Args:
        is_positive: whether the activation before gives no negative results.
    """
    levels = _UNSIGNED_LEVELS if is_positive else _SIGNED_LEVELS
    with np.errstate(all="ignore"):
        largest = np.abs(x).max(axis=1)
        is_usable = np.isfinite(largest) & (largest >= _SMALLEST_MAGNITUDE)
        inverse = np.where(is_usable, levels / largest, np.float32(0))
        scale = np.where(is_usable, largest / levels, np.float32(0))
        scaled = x * inverse[:, np.newaxis]
    q = np.where(is_usable[:, np.newaxis], np.rint(scaled), np.float32(0)).astype(np.float64)
    return Int8Input(q, scale, np.where(np.isfinite(largest), largest, UNSCORED_SCORE))


def dense_int8(layer: QuantizedDense, x: Int8Input) -> Floats:
    """Section 4, steps 4 and 5: ``(n_dies, n_out)``; NaN for a die that cannot be made int8."""
    with np.errstate(all="ignore"):
        accumulator = integer_product(x.q, layer.weight)
        scale = x.scale[:, np.newaxis] * layer.weight_scale
        y = accumulator.astype(np.float32) * scale + layer.bias
        y = with_nan(y, np.isnan(x.magnitude))
    return activate(layer.activation, y)


def weighted_residual(head: Head, u: Floats, y: Floats, present: Bools) -> Floats:
    """Section 6: z, or z′ of a mahalanobis head; +0 where a test is missing."""
    with np.errstate(all="ignore"):
        z = np.where(present, (u - y) * head.residual_weight, np.float32(0))
        if head.low_rank is None:
            return z
        shared = fma_chain(z, head.low_rank.project, _zeros(len(head.low_rank.project)))
        part = fma_chain(shared, head.low_rank.subtract, _zeros(z.shape[1]))
        return np.where(present, z - part, np.float32(0))


def score(head: Head, z: Floats, present: Bools) -> Floats:
    """Section 6: scores ``(n_dies,)`` of residuals from ``weighted_residual``; NaN for none."""
    n_present = np.count_nonzero(present, axis=1)
    with np.errstate(all="ignore"):
        if head.kind == "topk":
            largest = _sum_of_largest(np.abs(z), min(head.k, z.shape[1]))
            scores = largest * head.present_gain[n_present] + head.present_offset[n_present]
        else:
            scores = sum_of_tests(z * z) * _gain(head, present)
    is_finite = np.isfinite(z).all(axis=1) & np.isfinite(scores)
    return np.where(is_finite & has_enough(head, present), scores, UNSCORED_SCORE)


def has_enough(head: Head, present: Bools) -> Bools:
    """Section 6: whether enough tests of each die are present for a score, ``(n_dies,)``."""
    n_present = np.count_nonzero(present, axis=1)
    enough: Bools = n_present >= max(head.min_present, 1)
    return enough


def sum_of_tests(t: NDArray[_AnyFloat]) -> NDArray[_AnyFloat]:
    """Section 6: the sums of ``t`` ``(n_dies, n_tests)``, in its precision: float32 or float64."""
    n_dies, n_tests = t.shape
    lanes = np.zeros((n_dies, _N_LANES), dtype=t.dtype)
    for first in range(0, n_tests, _N_LANES):
        block = t[:, first : first + _N_LANES]
        lanes[:, : block.shape[1]] += block
    for half in (8, 4, 2, 1):
        lanes[:, :half] += lanes[:, half : 2 * half]
    return lanes[:, 0].copy()


def with_nan(x: Floats, dies: Bools) -> Floats:
    """``x`` ``(n_dies, n)`` with NaN throughout ``dies``; every NaN has the bits 0x7FC00000."""
    return np.where(dies[:, np.newaxis] | np.isnan(x), UNSCORED_SCORE, x)


def _zeros(n: int) -> Floats:
    return np.zeros(n, dtype=np.float32)


def _gain(head: Head, present: Bools) -> Floats:
    """g: what makes the sum of squares over the tests present a mean over all tests."""
    expected = head.expected_square.astype(np.float64)
    full = sum_of_tests(expected[np.newaxis, :])
    of_present = sum_of_tests(np.where(present, expected, 0.0))
    return (full / (float(len(expected)) * of_present)).astype(np.float32)


def _sum_of_largest(magnitude: Floats, k: int) -> Floats:
    """Missing tests have +0, which is never larger than one present and adds nothing."""
    largest = np.sort(magnitude, axis=1)[:, : -k - 1 : -1]
    total = np.zeros(len(magnitude), dtype=np.float32)
    for column in largest.T:
        total = total + column
    return total
