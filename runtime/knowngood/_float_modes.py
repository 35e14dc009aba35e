"""Whether this thread's floating point is that of docs/arithmetic.md, section 1.

NumPy cannot set rounding and the treatment of subnormal numbers, so a scorer in NumPy can only look
whether a library or the host has changed them.
"""

from __future__ import annotations

import numpy as np

from ._errors import GateError

_HALF, _ONE = np.float32(0.5), np.float32(1)
_SMALLEST_NORMAL = np.finfo(np.float32).tiny
_ABOVE_ONE = np.nextafter(_ONE, np.float32(2))
_MOST_OF_A_STEP = (_ABOVE_ONE - _ONE) * np.float32(0.75)


def require_default_modes() -> None:
    """Refuse to compute what would not be the specified bits.

    Raises:
        GateError: subnormal numbers are flushed to zero, or results are not rounded to nearest.
    """
    with np.errstate(all="ignore"):
        if not _keeps_subnormals():
            raise GateError(
                "this thread takes subnormal numbers for zero, so scores would not be those of "
                "docs/arithmetic.md. Something in the process has set it: "
                "torch.set_flush_denormal(True) (undo it with False), or a library built with "
                "-ffast-math (score before it is loaded, or in a process of its own)"
            )
        if not _rounds_to_nearest():
            raise GateError(
                "this thread does not round to nearest, so scores would not be those of "
                "docs/arithmetic.md. Something in the process has set it, as C's fesetround does: "
                "set FE_TONEAREST before scoring"
            )


def _keeps_subnormals() -> bool:
    """As results of an operation, and as its operands."""
    subnormal = _SMALLEST_NORMAL * _HALF
    return bool(subnormal + subnormal == _SMALLEST_NORMAL)


def _rounds_to_nearest() -> bool:
    """Three quarters of a step away from ±1, every other mode goes the other way on one side."""
    above, below = _ONE + _MOST_OF_A_STEP, -_ONE - _MOST_OF_A_STEP
    return bool(above == _ABOVE_ONE and below == -_ABOVE_ONE)
