"""Draw a product's tests: how large they are, what moves them, how noisy they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowngood._schema import Purpose, Schema, Test

from ._catalogue import (
    BLOCKS,
    FAMILIES,
    N_FIXTURE_FACTORS,
    PROCESS_FACTORS,
    TIGHTNESS,
    Family,
    Response,
    Tightness,
)
from ._model import Block, Float64, ProcessModel
from ._streams import stream

N_PROCESS = len(PROCESS_FACTORS)
TESTS_PER_BLOCK = 4
"""A program has no more blocks than it can fill with so many tests on average."""
PURPOSE = Purpose("KG512", "25", "WS1", "kg512_ws1", "A")


def lay_out_blocks(n_tests: int) -> tuple[Block, ...]:
    """Share out the tests among the catalogue's blocks, or the first of them if tests are few."""
    kinds = BLOCKS[: max(1, n_tests // TESTS_PER_BLOCK)]
    ends = np.cumsum([kind.share for kind in kinds])
    edges = np.round(np.array([0.0, *ends]) / ends[-1] * n_tests).astype(int)
    return tuple(
        Block(kind.name, kind.family, int(start), int(stop))
        for kind, start, stop in zip(kinds, edges[:-1], edges[1:], strict=True)
        if stop > start
    )


def draw_process(correlation: str, seed: int, blocks: tuple[Block, ...]) -> ProcessModel:
    """Everything but limits, which need a population."""
    n_tests = blocks[-1].stop
    rng = stream(seed, "process", correlation, n_tests)
    families = [FAMILIES[b.family] for b in blocks for _ in b.columns]
    shared = _draw_shared_variance(TIGHTNESS[correlation], n_tests, rng)
    nominal = np.array([_log_uniform(f.centre, rng) for f in families])
    curvature = np.array([rng.uniform(*f.curvature) for f in families])
    is_coded = np.array([f.coded for f in families])
    nothing = np.zeros(n_tests)
    return ProcessModel(
        correlation=correlation,
        seed=seed,
        schema=Schema(_name_tests(blocks), PURPOSE),
        blocks=blocks,
        loadings=_draw_loadings(blocks, rng) * (shared > 0)[:, None],
        fixture_loadings=_draw_fixture_loadings(n_tests, rng),
        radial=rng.uniform(-0.5, 0.5, N_PROCESS + len(blocks)),
        shared_variance=shared,
        response=np.array([f.response for f in families], dtype=np.int8),
        curvature=curvature,
        noise_dof=_draw_noise_dof(shared == 0, rng),
        nominal=np.round(nominal) * is_coded + nominal * ~is_coded,
        scale=_draw_scale(families, nominal, curvature, rng),
        is_coded=is_coded,
        centre=nothing,
        sigma=nothing,
    )


def _draw_scale(
    families: list[Family], nominal: Float64, curvature: Float64, rng: np.random.Generator
) -> Float64:
    """Sigma of each test in its units.

    A code is a few counts wide, whatever its centre; an exponential test's sigma follows from its
    exponent, so that it is lognormal about its nominal value.
    """
    relative = np.array([_log_uniform(f.relative_sigma, rng) for f in families])
    counts = rng.uniform(1.5, 8.0, len(families))
    is_coded = np.array([f.coded for f in families])
    is_exponential = np.array([f.response == Response.EXPONENTIAL for f in families])
    relative = np.where(is_exponential, np.sqrt(np.expm1(curvature**2)), relative)
    return np.where(is_coded, counts, nominal * relative)


def _log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    low, high = np.log(bounds)
    return float(np.exp(rng.uniform(low, high)))


def _draw_shared_variance(tightness: Tightness, n_tests: int, rng: np.random.Generator) -> Float64:
    shared = rng.uniform(*tightness.shared_variance, n_tests)
    n_independent = int(tightness.independent * n_tests)
    shared[rng.choice(n_tests, n_independent, replace=False)] = 0.0
    return shared


def _draw_noise_dof(is_independent: NDArray[np.bool_], rng: np.random.Generator) -> Float64:
    """A fifth of the noises are heavy-tailed; independent tests are exponential as often."""
    n_tests = len(is_independent)
    kind = rng.random(n_tests)
    dof = np.where(kind < 0.2, rng.uniform(4.0, 8.0, n_tests), np.inf)
    return np.where(is_independent & (kind > 0.8), 0.0, dof)


def _draw_loadings(blocks: tuple[Block, ...], rng: np.random.Generator) -> Float64:
    """Unit rows: the family's direction, bent for each test, and the block's own factor."""
    loadings = np.zeros((blocks[-1].stop, N_PROCESS + len(blocks)))
    for index, block in enumerate(blocks):
        n = block.stop - block.start
        direction = _family_direction(FAMILIES[block.family])
        bent = direction + 0.5 * _unit_rows(rng.standard_normal((n, N_PROCESS)))
        own = rng.uniform(0.1, 0.4) * rng.uniform(0.6, 1.4, n)
        loadings[block.columns, :N_PROCESS] = _unit_rows(bent) * np.sqrt(1 - own)[:, None]
        loadings[block.columns, N_PROCESS + index] = np.sqrt(own)
    sign = np.where(rng.random(len(loadings)) < 0.1, -1.0, 1.0)
    return loadings * sign[:, None]


def _family_direction(family: Family) -> Float64:
    direction = np.array([family.moved_by.get(name, 0.0) for name in PROCESS_FACTORS])
    unit: Float64 = direction / np.linalg.norm(direction)
    return unit


def _unit_rows(matrix: Float64) -> Float64:
    unit: Float64 = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit


def _draw_fixture_loadings(n_tests: int, rng: np.random.Generator) -> Float64:
    """Most tests hardly see the site, a few see it at a sigma and more."""
    raw = 0.10 * rng.standard_t(3.0, (n_tests, N_FIXTURE_FACTORS))
    return np.clip(raw, -0.5, 0.5)


def _name_tests(blocks: tuple[Block, ...]) -> tuple[Test, ...]:
    return tuple(
        Test(10_000 * (b + 1) + i, f"{block.name}_{i:03d}", units=FAMILIES[block.family].units)
        for b, block in enumerate(blocks)
        for i in range(block.stop - block.start)
    )
