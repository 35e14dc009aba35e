"""Make a process: draw it, characterise it, set its limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from knowngood._errors import UsageError
from knowngood._schema import Schema
from knowngood_quantize.injection import robust_centre_and_sigma

from ._catalogue import FAMILIES, TIGHTNESS
from ._draw import draw_process, lay_out_blocks
from ._model import Float64, ProcessModel
from ._population import Lots, measure
from ._streams import stream

def process(
    n_tests: int = 512,
    correlation: Literal["tight", "loose"] = "tight",
    seed: int = 0,
) -> ProcessModel:
    """Draw a process: tests in blocks, their sensitivities, units, noise and limits.

    Args:
        n_tests: 4 to 20,000.
        correlation: ``"tight"``, the factors share 97–99.8 % of a test's variance, or ``"loose"``,
            40–70 %; but for the independent tests (8 %). Rounding to whole codes comes on top.
        seed: which process; 0 or more.

    Raises:
        UsageError: an argument is out of range.
    """
    if correlation not in TIGHTNESS:
        raise UsageError(f"correlation must be 'tight' or 'loose', found {correlation!r}")
    if not 4 <= n_tests <= 20_000:
        raise UsageError(f"n_tests must be from 4 to 20000, found {n_tests}")
    if seed < 0:
        raise UsageError(f"seed must be 0 or more, found {seed}")
    blocks = lay_out_blocks(n_tests)
    drawn = draw_process(correlation, seed, blocks)
    return _characterise(drawn)


