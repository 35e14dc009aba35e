"""Scores dies with changed floating-point modes; run as a program of its own.

usage: score_in_float_modes.py MODE... MODE is "flush" (subnormals to zero), the number of a
rounding mode of C's ``fesetround``, or any other name for none. Prints what became of a model.
"""

import ctypes
import sys
from ctypes.util import find_library

import numpy as np
import torch

from knowngood import KnowngoodError
from knowngood.engines._reference import score_sealed
from sealed_models import tiny_sealed

libm = ctypes.CDLL(find_library("m"))


def outcome(model, values, precision):
    try:
        scores = score_sealed(model, precision, values).scores
    except KnowngoodError as error:
        return f"{type(error).__name__}: {error}"
    return scores.view(np.uint32).tolist()


def main(*modes):
    model = tiny_sealed()
    values = model.golden.values
    for mode in modes:
        if mode == "flush":
            assert torch.set_flush_denormal(True)
        elif mode.isdecimal():
            assert libm.fesetround(int(mode)) == 0
        outcomes = [outcome(model, values, precision) for precision in model.precisions]
        torch.set_flush_denormal(False)
        libm.fesetround(0)
        sys.stdout.write(f"{mode}\t{outcomes}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
