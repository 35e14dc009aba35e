"""Activation functions to the bit: section 5 of docs/arithmetic.md, line by line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._fma import fma
from ._network import Activation

Floats = NDArray[np.float32]


def _from_bits(bits: int) -> Floats:
    return np.array(bits, dtype=np.uint32).view(np.float32)


_LOWEST = np.float32(-87)
_LOG2E = _from_bits(0x3FB8AA3B)
_LN2_HI, _LN2_LO = _from_bits(0x3F317218), _from_bits(0xB102E308)
_C2, _C3, _C4 = _from_bits(0x3F000000), _from_bits(0x3E2AAA59), _from_bits(0x3D2AAA64)
_C5, _C6 = _from_bits(0x3C091377), _from_bits(0x3AB6B8C3)
_ONE, _TWO = np.float32(1), np.float32(2)


def activate(activation: Activation, x: Floats) -> Floats:
    """The function of every element of ``x``, float32 of any shape; NaN stays NaN."""
    alpha = np.float32(activation.alpha)
    with np.errstate(all="ignore"):
        match activation.kind:
            case "linear":
                return x
            case "relu":
                return np.where(x < 0, np.float32(0), x)
            case "leaky_relu":
                return np.where(x < 0, alpha * x, x)
            case "elu":
                return np.where(x < 0, alpha * expm1(x), x)
            case "sigmoid":
                return _sigmoid(x)
            case "tanh":
                return _tanh(x)


def exp(x: Floats) -> Floats:
    """e^x for x ≤ 0, float32 of any shape; arguments below −87 count as −87."""
    scale, em = _exp_core(x)
    return np.where(np.isnan(x), x, fma(scale, em, scale))


def expm1(x: Floats) -> Floats:
    """e^x − 1 for x ≤ 0, float32 of any shape; arguments below −87 count as −87."""
    scale, em = _exp_core(x)
    return np.where(np.isnan(x), x, fma(scale, em, scale - _ONE))


def _exp_core(x: Floats) -> tuple[Floats, Floats]:
    """(2^k, e^r − 1) with e^x = 2^k · e^r; anything but x ≤ 0 counts as 0."""
    x = np.maximum(np.where(x <= 0, x, np.float32(0)), _LOWEST)
    k = np.rint(x * _LOG2E)
    r = fma(k, -_LN2_HI, x)
    r = fma(k, -_LN2_LO, r)
    p = np.broadcast_to(_C6, r.shape)
    for coefficient in (_C5, _C4, _C3, _C2):
        p = fma(p, r, coefficient)
    em = fma(r * r, p, r)
    return np.ldexp(_ONE, k.astype(np.int32)), em


def _sigmoid(x: Floats) -> Floats:
    e = exp(-np.abs(x))
    return np.where(x < 0, e / (_ONE + e), _ONE / (_ONE + e))


def _tanh(x: Floats) -> Floats:
    t = expm1(-_TWO * np.abs(x))
    v = -t / (_TWO + t)
    return np.where(x < 0, -v, v)
