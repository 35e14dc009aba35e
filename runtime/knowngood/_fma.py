"""Fused multiply-add in NumPy, which has none: the float32 nearest to the exact a·b + c.

The product of two float32 is exact in float64. Their sum with c is rounded twice, to float64 and
to float32, and that is right unless the first rounding lands on a midpoint of the second. Proof:
midpoints between neighbouring float32 are float64 numbers, and rounding is monotonic, so the sum
rounded to float64 lies on the same side of each midpoint as the exact sum, or on the midpoint.
So only sums on a midpoint are rounded again: to odd (if the sum is inexact, to the one of the two
float64 around it whose last bit is set, which is never a midpoint and stays on the exact sum's
side), then to float32. A midpoint shows in the bits: among normal float32 the lowest 29 bits of
the float64 are 1 followed by 28 zeros; among subnormal ones every sum counts as suspect. Infinities
and NaN end in zeros, so they pass as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 16384
"""Accumulators at work at once: the temporaries of so many stay in a core's cache."""
_LOST_BITS = np.int64(52 - 23)
_TO_THE_TOP = np.int64(64) - _LOST_BITS
_MIDPOINT = np.iinfo(np.int64).min
"""The lost bits of a midpoint, shifted to the top: also the smallest int64."""
_SMALLEST_NORMAL = np.finfo(np.float32).tiny


def fma(
    a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The float32 nearest to the exact ``a · b + c``, element by element; shapes broadcast."""
    with np.errstate(all="ignore"):
        product = np.multiply(a, b, dtype=np.float64)
        addend = np.asarray(c, dtype=np.float64)
        total = np.asarray(product + addend)
        rounded = np.asarray(total.astype(np.float32))
        _round_suspects(rounded, total, *np.broadcast_arrays(product, addend))
    return rounded


def fma_chain(
    x: NDArray[np.float32], weight: NDArray[np.float32], start: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``acc = start[o]; acc = fma(x[i], weight[o, i], acc)`` for i = 0, 1, …, for each die.

    Args:
        x: float32 ``(n_dies, n_in)``.
        weight: float32 ``(n_out, n_in)``.
        start: float32 ``(n_out,)``.

    Returns:
        The accumulators, float32 ``(n_dies, n_out)``.
    """
    n_dies, n_out = len(x), len(weight)
    accumulated = np.empty((n_dies, n_out), dtype=np.float32)
    step = max(1, _BLOCK // n_out)
    with np.errstate(all="ignore"):
        columns = weight.T.astype(np.float64, order="C")
        for first in range(0, n_dies, step):
            part = slice(first, first + step)
            accumulated[part] = _chain_block(x[part], columns, start)
    return accumulated


def _chain_block(
    x: NDArray[np.float32], columns: NDArray[np.float64], start: NDArray[np.float32]
) -> NDArray[np.float32]:
    rounded = np.tile(start, (len(x), 1))
    accumulator = rounded.astype(np.float64)
    product, total = np.empty_like(accumulator), np.empty_like(accumulator)
    lost, magnitude = np.empty(total.shape, dtype=np.int64), np.empty_like(rounded)
    for inputs, column in zip(x.T.astype(np.float64, order="C"), columns, strict=True):
        np.multiply(inputs[:, np.newaxis], column, out=product)
        np.add(product, accumulator, out=total)
        rounded[...] = total
        np.left_shift(total.view(np.int64), _TO_THE_TOP, out=lost)
        np.abs(rounded, out=magnitude)
        smallest = np.fmin.reduce(magnitude, axis=None)  # a NaN hides nothing
        if lost.min() == _MIDPOINT or smallest <= _SMALLEST_NORMAL:
            _round_suspects(rounded, total, product, accumulator)
        accumulator[...] = rounded
    return rounded


def _round_suspects(
    rounded: NDArray[np.float32],
    total: NDArray[np.float64],
    product: NDArray[np.float64],
    addend: NDArray[np.float64],
) -> None:
    """Round those ``product + addend`` again that may sit on a midpoint, in place."""
    is_midpoint = np.left_shift(total.view(np.int64), _TO_THE_TOP) == _MIDPOINT
    is_subnormal = np.abs(rounded) <= _SMALLEST_NORMAL
    suspect = (is_midpoint | is_subnormal) & (total != 0)
    if suspect.any():
        odd = _round_to_odd(product[suspect], addend[suspect], total[suspect])
        rounded[suspect] = odd.astype(np.float32)


def _round_to_odd(
    product: NDArray[np.float64], addend: NDArray[np.float64], total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The exact sum rounded to odd; ``total`` is the sum to nearest, finite and not zero.

    The error of ``total`` is exact: Knuth's TwoSum, and nothing overflows or underflows in float64.
    """
    shadow = total - product
    error = (product - (total - shadow)) + (addend - shadow)
    bits = total.view(np.int64)
    is_even = (bits & 1) == 0
    outwards = (error > 0) == (total > 0)
    neighbour = np.where(outwards, bits + 1, bits - 1)
    return np.where((error != 0) & is_even, neighbour, bits).view(np.float64)
