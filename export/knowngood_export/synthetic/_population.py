"""Draw dies of a process: where their factors come from, and what the tester reads.

A factor of a die is the sum of its lot's shift, its wafer's, a bend from centre to edge that the
process has, a gradient across the wafer, and the die's own; within a lot its variance is about 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._catalogue import N_FIXTURE_FACTORS, PROCESS_FACTORS, Response
from ._model import Float64, ProcessModel
from ._streams import stream

WAFER_SIGMA = 0.15
GRADIENT_SIGMA = 0.20
DIE_SIGMA = 0.95

LOT_SIGMA = 0.08
"""Lot shift of an ordinary factor, in its own sigma within a lot."""
EXCURSION_SIGMA = 2.0
PROCESS_EXCURSIONS, BLOCK_EXCURSIONS = 0.05, 0.15
"""Shares of the factors that a lot has elsewhere: another furnace; a new mask, another board."""
LARGEST_SHIFT = 3.0
OWN_SHIFT = 0.3
"""Lot shift of a test by itself (calibration), in sigma of its own noise."""


@dataclass(frozen=True, eq=False)
class LotEffects:
    """What all dies of a lot have in common.

    Attributes:
        factors: float64 ``(n_factors,)``, in sigma of the factor.
        tests: float64 ``(n_tests,)``, in the test's scale.
    """

    factors: Float64
    tests: Float64


def no_effects(process: ProcessModel) -> LotEffects:
    """The lot that lies where the process was characterised."""
    return LotEffects(np.zeros(process.n_factors), np.zeros(process.n_tests))


def draw_lot_effects(process: ProcessModel, rng: np.random.Generator) -> LotEffects:
    """A lot's shift: small for most factors, large for a few; a little for each test itself."""
    is_of_block = np.arange(process.n_factors) >= len(PROCESS_FACTORS)
    share = np.where(is_of_block, BLOCK_EXCURSIONS, PROCESS_EXCURSIONS)
    is_excursion = rng.random(process.n_factors) < share
    sigma = np.where(is_excursion, EXCURSION_SIGMA, LOT_SIGMA)
    factors = np.clip(sigma * rng.standard_normal(process.n_factors), -LARGEST_SHIFT, LARGEST_SHIFT)
    own = np.sqrt(1 - process.shared_variance) * OWN_SHIFT
    return LotEffects(factors, own * rng.standard_normal(process.n_tests))


def draw_factors(
    process: ProcessModel, lot: LotEffects, position: Float64, rng: np.random.Generator
) -> Float64:
    """Factors of the dies of one wafer.

    Args:
        process: the process.
        lot: the lot's effects.
        position: float64 ``(n_dies, 2)``, x and y in wafer radii, 0 at the centre.
        rng: the wafer's stream.

    Returns:
        float64 ``(n_dies, n_factors)``.
    """
    n_factors = process.n_factors
    wafer = WAFER_SIGMA * rng.standard_normal(n_factors)
    gradient = GRADIENT_SIGMA * rng.standard_normal((2, n_factors))
    radius_squared = (position**2).sum(axis=1, keepdims=True)
    bend = (2 * radius_squared - 1) * process.radial
    die = DIE_SIGMA * rng.standard_normal((len(position), n_factors))
    factors: Float64 = lot.factors + wafer + position @ gradient + bend + die
    return factors


def site_coordinates(process: ProcessModel, sites: NDArray[np.int32]) -> Float64:
    """Where each die's site stands in fixture space: ``(n_dies, 3)``, the same in every lot."""
    numbers, which = np.unique(sites, return_inverse=True)
    coordinates = [
        stream(process.seed, "site", int(n)).standard_normal(N_FIXTURE_FACTORS) for n in numbers
    ]
    return np.array(coordinates).reshape(-1, N_FIXTURE_FACTORS)[which]


def measure(
    process: ProcessModel,
    lot: LotEffects,
    factors: Float64,
    sites: NDArray[np.int32],
    rng: np.random.Generator,
) -> Float64:
    """Test the dies once.

    Args:
        process: the process.
        lot: the lot's effects.
        factors: float64 ``(n_dies, n_factors)``.
        sites: int32 ``(n_dies,)``.
        rng: the stream of the measurement's noise.

    Returns:
        float64 ``(n_dies, n_tests)`` in the tests' units, complete.
    """
    noise = _draw_noise(process.noise_dof, len(factors), rng)
    noise *= np.sqrt(1 - process.shared_variance)
    values = respond(process, factors)
    values *= np.sqrt(process.shared_variance)
    values += noise
    values += site_coordinates(process, sites) @ process.fixture_loadings.T
    values += lot.tests
    values *= process.scale
    values += process.nominal
    values[:, process.is_coded] = np.round(values[:, process.is_coded])
    return values


def respond(process: ProcessModel, factors: Float64) -> Float64:
    """What the factors make of each test, mean 0 and variance 1 for standard normal factors.

    Returns:
        float64 ``(n_dies, n_tests)``; the rest of a die's value is noise, site and lot.
    """
    index = factors @ process.loadings.T
    response = _shape(index, process)
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    at_nodes = _shape(np.repeat(nodes[:, None], process.n_tests, axis=1), process)
    weights = weights / weights.sum()
    mean = weights @ at_nodes
    response -= mean
    response /= np.sqrt(weights @ (at_nodes - mean) ** 2)
    return response


def _shape(index: Float64, process: ProcessModel) -> Float64:
    """The response to ``index`` (n, n_tests), which is limited to ±8 where powers need it."""
    shaped = index.copy()
    for kind in (Response.EXPONENTIAL, Response.DELAY, Response.SPEED):
        columns = np.flatnonzero(process.response == kind)
        bent = process.curvature[columns] * np.clip(index[:, columns], -8.0, 8.0)
        if kind == Response.EXPONENTIAL:
            shaped[:, columns] = np.exp(bent)
        elif kind == Response.DELAY:
            shaped[:, columns] = (1 - bent) ** -1.3
        else:
            shaped[:, columns] = (1 + bent) ** 1.3
    return shaped


def _draw_noise(dof: Float64, n_dies: int, rng: np.random.Generator) -> Float64:
    """Noise of variance 1: Gaussian, Student's t or exponential, by test."""
    noise = rng.standard_normal((n_dies, len(dof)))
    heavy = np.flatnonzero(np.isfinite(dof) & (dof > 0))
    spread = np.sqrt(dof[heavy] / (dof[heavy] - 2))
    noise[:, heavy] = rng.standard_t(dof[heavy], (n_dies, len(heavy))) / spread
    exponential = np.flatnonzero(dof == 0)
    noise[:, exponential] = rng.standard_exponential((n_dies, len(exponential))) - 1
    return noise
