"""Make a process: draw it, characterise it, set its limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._schema import Schema
from knowngood_quantize.injection import robust_centre_and_sigma

from ._catalogue import FAMILIES, TIGHTNESS
from ._draw import draw_process, lay_out_blocks
from ._model import Float64, ProcessModel
from ._population import draw_factors, measure, no_effects
from ._streams import stream
from ._wafer import die_positions

N_WAFERS = 3
DIES_PER_WAFER = 1000
N_SITES = 4
WIDTH = (8.0, 12.0)
"""Limits in robust sigma from the centre."""
TAIL_MARGIN = 1.6
"""Limits lie at least so far beyond the worst die characterised: skewed tests get more room."""


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
    return _characterise(draw_process(correlation, seed, blocks))


def _characterise(drawn: ProcessModel) -> ProcessModel:
    """Set centre, sigma and limits from good dies of three wafers."""
    values = _characterisation_values(drawn)
    centre, sigma = robust_centre_and_sigma(values.astype(np.float32))
    rng = stream(drawn.seed, "limits", drawn.correlation, drawn.n_tests)
    low, high = _limits(values, centre, sigma, rng)
    is_one_sided = _draw_one_sided(drawn, rng)
    tests = tuple(
        replace(test, low=None if one_sided else float(lo), high=float(hi))
        for test, lo, hi, one_sided in zip(drawn.schema.tests, low, high, is_one_sided, strict=True)
    )
    schema = Schema(tests, drawn.schema.purpose)
    return replace(drawn, schema=schema, centre=centre, sigma=sigma)


def _characterisation_values(drawn: ProcessModel) -> Float64:
    lot = no_effects(drawn)
    wafer = die_positions(DIES_PER_WAFER)
    sites = (np.arange(DIES_PER_WAFER) % N_SITES + 1).astype(np.int32)
    wafers = []
    for number in range(N_WAFERS):
        rng = stream(drawn.seed, "characterisation", number)
        factors = draw_factors(drawn, lot, wafer.position, rng)
        wafers.append(measure(drawn, lot, factors, sites, rng))
    return np.concatenate(wafers)


def _limits(
    values: Float64, centre: Float64, sigma: Float64, rng: np.random.Generator
) -> tuple[Float64, Float64]:
    """Low and high ``(n_tests,)``, to the decimal that sigma deserves, as float32 stores them."""
    width = rng.uniform(*WIDTH, (2, len(centre))) * sigma
    below = np.maximum(width[0], TAIL_MARGIN * (centre - values.min(axis=0)))
    above = np.maximum(width[1], TAIL_MARGIN * (values.max(axis=0) - centre))
    digit = 10.0 ** np.floor(np.log10(sigma))
    low = (np.floor((centre - below) / digit) * digit).astype(np.float32)
    high = (np.ceil((centre + above) / digit) * digit).astype(np.float32)
    return low.astype(np.float64), high.astype(np.float64)


def _draw_one_sided(drawn: ProcessModel, rng: np.random.Generator) -> NDArray[np.bool_]:
    share = [FAMILIES[b.family].one_sided for b in drawn.blocks for _ in b.columns]
    return rng.random(drawn.n_tests) < np.array(share)
