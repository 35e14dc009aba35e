"""Dies that lie at a threshold: good dies with a fault that grows until their fp32 score is there.

A verdict can change only where the int8 score and the fp32 score lie on two sides of the threshold,
so what counts is the error of int8 *at* the threshold. Few good dies lie there by themselves. So
each is sent along a straight path, at whose start it scores below the threshold and at whose end
above, and stopped where the score crosses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._network import Scaler

from .injection import correlated_blocks, standard_defects
from .sampling import evenly_spaced

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Group = NDArray[np.int32]
Rows = NDArray[np.intp]
Score = Callable[[Float32, Group], Float32]

N_PATHS = 2048
"""Of each kind of fault."""
_LARGEST_ARRAY = 2**24
SPREAD = 4.0
"""Rays end where a die lies this many times as far from the centre."""
RESIDUAL = 6.0
"""What an autoencoder does not explain, grown as far as this."""
DEFECT = 2.0
"""Standard defects, grown as far as this."""
SHIFTED_SHARE, SHIFT_SIGMA = 0.1, 0.5
MISSING_SHARE = 0.05
DIFFERENCE = 3.0
"""What one good die is more than another, grown as far as this."""
EXCURSION_SIGMA = 8.0
COMMON_VARIANCE = 0.8
"""Excursions follow the principal directions that make this share of the variance."""
N_STEPS = 6
N_REFINEMENTS = 2
NEAR = 0.02
"""A die is at the threshold if its score is within this share of it."""


@dataclass(frozen=True, eq=False)
class FaultPath:
    """Dies on straight lines from good to faulty.

    Attributes:
        name: of the fault.
        start, end: float32 ``(n_dies, n_tests)``, raw units, NaN in both where a test is missing.
        group: int32 ``(n_dies,)``.
    """

    name: str
    start: Float32
    end: Float32
    group: Group

    def __len__(self) -> int:
        return len(self.start)

    def at(self, share: Float64 | float, dies: Rows | slice = slice(None)) -> Float32:
        """The dies with that share of the fault, ``(n, n_tests)``; one share for all, or each."""
        start = self.start[dies]
        part = np.asarray(share, dtype=np.float32).reshape(-1, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            return start + part * (self.end[dies] - start)


@dataclass(frozen=True, eq=False)
class BoundaryDies:
    """Dies at a threshold.

    Attributes:
        values: float32 ``(n, n_tests)``, raw.
        group: int32 ``(n,)``.
        fp32: float32 ``(n,)``, fp32 scores, within ``NEAR`` of the threshold.
    """

    values: Float32
    group: Group
    fp32: Float32


def fault_paths(
    scaler: Scaler,
    good: Float32,
    group: Group,
    reconstruct: Callable[[Float32, Group], Float32],
    seed: int = 0,
) -> Iterator[FaultPath]:
    """Paths of good dies, a kind of fault at a time.

    ``own_residual``, ``residual``: what the network does not explain of the die, or of another one,
    grows from nothing on what it makes of the die. ``single_test``, ``block_shift`` and
    ``broken_correlation`` (see ``injection``): from the good die to ``DEFECT`` times the defect.
    ``difference``: what one good die is more than another is added to a third. ``excursion``: the
    die moves along a principal direction of the good dies, as those of a lot do whose process has
    moved. Rays from the centre: ``spread``, through the die itself; ``shifted``, through the die
    with a tenth of its tests half a sigma off; ``missing``, through the die with 5 % of its tests
    missing.

    Args:
        scaler: the model's.
        good: float32 ``(n_dies, n_tests)`` of held-out good dies, raw, NaN where missing.
        group: int32 ``(n_dies,)``.
        reconstruct: the fp32 layers.
        seed: of all that is drawn.
    """
    n_paths = max(1, min(N_PATHS, _LARGEST_ARRAY // good.shape[1]))
    some = evenly_spaced(len(good), n_paths)
    good, group = good[some], group[some]
    rays = _Rays(scaler, good, group, np.arange(n_paths) % len(good), np.random.default_rng(seed))
    yield from rays.residuals(reconstruct)
    yield from _defects(good, group, n_paths, seed)
    yield rays.difference()
    yield rays.excursion()
    yield rays.spread()
    yield rays.shifted()
    yield rays.missing()


@dataclass(frozen=True, eq=False)
class _Rays:
    """Paths that are straight in standardised units; ``rows`` says which good dies take them."""

    scaler: Scaler
    good: Float32
    group: Group
    rows: Rows
    rng: np.random.Generator

    def residuals(self, reconstruct: Callable[[Float32, Group], Float32]) -> Iterator[FaultPath]:
        u = self._standardised(self.good, self.group)
        y = reconstruct(self.good, self.group).astype(np.float64) + 0 * u  # missing stays missing
        unexplained = np.nan_to_num(u - y)
        once = self.rows[: len(self.good)]  # further rounds would bring the same dies
        yield self._path("own_residual", y[once], (y + RESIDUAL * unexplained)[once], once)
        others = self.rng.permutation(self.rows)
        end = y[self.rows] + RESIDUAL * unexplained[others]
        yield self._path("residual", y[self.rows], end, self.rows)

    def difference(self) -> FaultPath:
        u = self._standardised(self.good, self.group)
        more, less = np.nan_to_num(u)[np.stack([self.rng.permutation(self.rows) for _ in range(2)])]
        start = u[self.rows]
        return self._path("difference", start, start + DIFFERENCE * (more - less), self.rows)

    def excursion(self) -> FaultPath:
        u = self._standardised(self.good, self.group)
        directions = _principal_directions(np.nan_to_num(u))
        chosen = self.rng.integers(len(directions), size=len(self.rows))
        sigmas = EXCURSION_SIGMA * self.rng.choice([-1.0, 1.0], (len(self.rows), 1))
        start = u[self.rows]
        return self._path("excursion", start, start + sigmas * directions[chosen], self.rows)

    def spread(self) -> FaultPath:
        rows = self.rows[: len(self.good)]
        u = self._standardised(self.good[rows], self.group[rows])
        return self._path("spread", 0 * u, SPREAD * u, rows)

    def shifted(self) -> FaultPath:
        u = self._standardised(self.good[self.rows], self.group[self.rows])
        is_shifted = self.rng.random(u.shape) < SHIFTED_SHARE
        u += is_shifted * self.rng.choice([-SHIFT_SIGMA, SHIFT_SIGMA], u.shape)
        return self._path("shifted", 0 * u, SPREAD * u, self.rows)

    def missing(self) -> FaultPath:
        u = self._standardised(self.good[self.rows], self.group[self.rows])
        u[self.rng.random(u.shape) < MISSING_SHARE] = np.nan
        return self._path("missing", 0 * u, SPREAD * u, self.rows)

    def _standardised(self, values: Float32, group: Group) -> Float64:
        rows = self.scaler.rows(group, len(values))
        return self.scaler.standardise(values, rows).astype(np.float64)

    def _path(self, name: str, start: Float64, end: Float64, rows: Rows) -> FaultPath:
        group = self.group[rows]
        row = self.scaler.rows(group, len(rows))
        centre, inv_scale = self.scaler.centre[row], self.scaler.inv_scale[row]
        with np.errstate(over="ignore"):
            raw = [(centre + u / inv_scale).astype(np.float32) for u in (start, end)]
        return FaultPath(name, raw[0], raw[1], group)


def _principal_directions(u: Float64) -> Float64:
    """Those of most variance, each as long as its sigma: float64 ``(n_directions, n_tests)``."""
    _, sigma, directions = np.linalg.svd(u - u.mean(axis=0), full_matrices=False)
    share = np.cumsum(sigma**2) / max(float((sigma**2).sum()), np.finfo(np.float64).tiny)
    n = int(np.searchsorted(share, COMMON_VARIANCE)) + 1
    length = sigma[:n, np.newaxis] / np.sqrt(max(1, len(u) - 1))
    scaled: Float64 = length * directions[:n]
    return scaled


def _defects(good: Float32, group: Group, n_paths: int, seed: int) -> Iterator[FaultPath]:
    """Every round over the good dies draws other defects."""
    blocks = correlated_blocks(good)
    rounds = [
        standard_defects(good, groups=group, blocks=blocks, n_dies=n_paths, seed=seed + i)
        for i in range(-(-n_paths // len(good)))
    ]
    for sets in zip(*rounds, strict=True):
        rows = np.concatenate([s.source_rows for s in sets])[:n_paths]
        faulty = np.concatenate([s.values for s in sets])[:n_paths]
        start = good[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            end = start + np.float32(DEFECT) * (faulty - start)
        yield FaultPath(sets[0].name, start, end, group[rows])


class Crossings:
    """Where the dies of a path cross thresholds.

    Args:
        path: the dies.
        score: their fp32 scores.
    """

    def __init__(self, path: FaultPath, score: Score) -> None:
        self._path = path
        self._score = score
        self._shares = np.linspace(0, 1, N_STEPS + 1)
        self._scores = np.array([score(path.at(s), path.group) for s in self._shares])

    def at(self, threshold: float) -> BoundaryDies:
        """The dies that cross ``threshold`` upwards, each where it first does."""
        is_crossing = (self._scores[:-1] <= threshold) & (self._scores[1:] > threshold)
        dies = np.flatnonzero(is_crossing.any(axis=0))
        step = is_crossing[:, dies].argmax(axis=0)
        bracket = _Bracket(
            self._shares[step], self._shares[step + 1],
            self._scores[step, dies], self._scores[step + 1, dies],
        )  # fmt: skip
        group = self._path.group[dies]
        values, scores = self._path.at(bracket.low, dies), bracket.low_score
        for _ in range(N_REFINEMENTS):
            share = bracket.guess(threshold)
            values = self._path.at(share, dies)
            scores = self._score(values, group)
            bracket = bracket.narrowed(share, scores, threshold)
        is_near = np.abs(scores - threshold) <= NEAR * abs(threshold)
        return BoundaryDies(values[is_near], group[is_near], scores[is_near])


@dataclass(frozen=True, eq=False)
class _Bracket:
    """Shares of the fault below and above the crossing, each ``(n,)``, and their scores."""

    low: Float64
    high: Float64
    low_score: Float32
    high_score: Float32

    def guess(self, threshold: float) -> Float64:
        """By a straight line, a little inside the bracket."""
        rise = (self.high_score - self.low_score).astype(np.float64)
        share = np.clip((threshold - self.low_score) / rise, 0.02, 0.98)
        guess: Float64 = self.low + (self.high - self.low) * share
        return guess

    def narrowed(self, share: Float64, score: Float32, threshold: float) -> _Bracket:
        is_below = score <= threshold
        return _Bracket(
            np.where(is_below, share, self.low),
            np.where(is_below, self.high, share),
            np.where(is_below, score, self.low_score),
            np.where(is_below, self.high_score, score),
        )
