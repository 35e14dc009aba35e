"""Score heads learnt from held-out good dies: what a residual is worth, and what absence changes.

A residual is divided by σ_r, the scale of its *tail*: the |r| that about two held-out dies exceed
(one in a thousand at most), over what that quantile is of a Gaussian. Tests with heavy tails,
skew or coarse codes then reject no more good dies than the others do, which the interquartile
range (0 where most dies share a code) and the root mean square do not achieve.

Held-out dies are few, and say more of how large a residual is than of its tail. So where the dies
that the network was trained on are given, their residuals, made as large per test as held-out ones
(training makes them smaller), are looked at beside them: the tail's shape is that of all dies.

`mahalanobis` also takes off what residuals of many tests share; `_low_rank` learns the directions,
from held-out and training dies alike.

Missing tests change what a score means; `_missing` measures that and sets `present_gain`,
`present_offset` and `min_present`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import weigh
from knowngood._network import Head, HeadKind, Network

from ._low_rank import fit_low_rank
from ._missing import equalise
from ._residuals import Residuals, residuals_of
from .sampling import evenly_spaced

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Group = NDArray[np.int32]
Mask = NDArray[np.bool_]

MIN_HELD_OUT = 20
"""Held-out good dies without which no head is fitted; 2,000 are needed for a good one."""
TAIL_DIES = 2
"""So many held-out dies lie beyond the quantile that σ_r is taken from: one odd die is no scale."""
LARGEST_QUANTILE = 0.999
SMALLEST_SIGMA = 0.01
"""σ_r is at least this share of the test's own sigma: below it lie float32 and int8 rounding."""
CLIP_SIGMA = 4.0
"""Residuals count up to 4 σ_r towards E[z²], which one odd die must not set."""
MAX_TRAINING_DIES = 8192
"""Of those that the network was trained on: enough for the tail quantile, and quickly done."""


@dataclass(frozen=True)
class HeadCandidate:
    """A kind of head, and how many residuals topk takes; ``k`` is 0 for the other kinds."""

    kind: HeadKind
    k: int = 0


@dataclass(frozen=True, eq=False)
class TrainingDies:
    """Good dies that a network was trained on.

    Attributes:
        values: float32 ``(n_dies, n_tests)``, raw units, NaN where missing.
        group: int32 ``(n_dies,)``.
    """

    values: Float32
    group: Group | None = None


def fit_head(
    network: Network,
    values: Float32,
    group: Group | None = None,
    *,
    kind: HeadKind = "topk",
    k: int = 5,
    patterns: Mask | None = None,
    max_missing: float | None = None,
    residual_weight: Float32 | None = None,
    training: TrainingDies | None = None,
    seed: int = 0,
) -> Head:
    """Fit a score head for a network's layers.

    Args:
        network: layers, scaler and schema; its own head is ignored.
        values: float32 ``(n_dies, n_tests)`` of good dies that it was not trained on, raw units,
            NaN where missing.
        group: int32 ``(n_dies,)``.
        kind: ``"topk"``, ``"normalized"``, ``"mse"`` or ``"mahalanobis"``. The last finds shared
            directions only as far as the dies support them: thousands are worth having, and
            where they show none it scores as ``"normalized"`` does.
        k: residuals that topk takes; as many as there are tests at most.
        patterns: bool ``(n_patterns, n_tests)``, True where a test is *missing*: what is missing
            together in practice, fail dies included. None takes random tests and the prefixes
            that stop-on-fail leaves.
        max_missing: share of the tests that may be missing, 0 to 1. None learns it: as many as
            good dies miss, and further as long as the score keeps its meaning.
        residual_weight: float32 ``(n_tests,)`` instead of 1 / σ_r.
        training: the dies that the network was trained on, which add to what the few held-out
            ones say of tails and shared directions; see the module.
        seed: of the masks.

    Raises:
        NotEnoughDataError: fewer than ``MIN_HELD_OUT`` dies.
        UsageError: an argument is out of range.
    """
    (head,) = fit_heads(
        network, values, group, candidates=(HeadCandidate(kind, k if kind == "topk" else 0),),
        patterns=patterns, max_missing=max_missing, residual_weight=residual_weight,
        training=training, seed=seed,
    )  # fmt: skip
    return head


def fit_heads(
    network: Network,
    values: Float32,
    group: Group | None = None,
    *,
    candidates: Sequence[HeadCandidate],
    patterns: Mask | None = None,
    max_missing: float | None = None,
    residual_weight: Float32 | None = None,
    training: TrainingDies | None = None,
    seed: int = 0,
) -> tuple[Head, ...]:
    """Several heads for one network in little more time than one: each is what ``fit_head`` gives.

    Arguments and errors as there.
    """
    for candidate in candidates:
        _check(network, values, candidate, patterns, max_missing)
    held = residuals_of(network, values, group)
    evidence = _evidence(held, None if training is None else _residuals_of(training, network))
    heads = [_head(evidence, candidate, residual_weight) for candidate in candidates]
    return equalise(network, heads, held, patterns, max_missing, np.random.default_rng(seed))


def _residuals_of(training: TrainingDies, network: Network) -> Residuals:
    """Of at most ``MAX_TRAINING_DIES``, spread evenly."""
    rows = evenly_spaced(len(training.values), MAX_TRAINING_DIES)
    group = None if training.group is None else training.group[rows]
    return residuals_of(network, training.values[rows], group)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What heads are learnt from.

    Attributes:
        held: held-out good dies.
        all_dies: these, and the training dies with their residuals made as large.
        sigma: float64 ``(n_tests,)``, σ_r.
        square: float64 ``(n_tests,)``, E[r²] of held-out dies.
    """

    held: Residuals
    all_dies: Residuals
    sigma: Float64
    square: Float64


def _evidence(held: Residuals, training: Residuals | None) -> _Evidence:
    sigma = residual_sigma(held.residual, held.present)
    if training is None or len(training.residual) == 0:
        return _Evidence(held, held, sigma, _clipped_square(held, sigma))
    own = residual_sigma(training.residual, training.present)
    larger = np.sqrt(_clipped_square(held, sigma) / _clipped_square(training, own))
    as_large = training.residual * larger.astype(np.float32)
    pooled = Residuals(
        np.concatenate([held.u, training.u]),
        np.concatenate([held.residual, as_large]),
        np.concatenate([held.present, training.present]),
    )
    known = held.present.sum(axis=0) >= MIN_HELD_OUT
    sigma = np.where(known, residual_sigma(pooled.residual, pooled.present), sigma)
    return _Evidence(held, pooled, sigma, _clipped_square(held, sigma))


def _head(evidence: _Evidence, candidate: HeadCandidate, residual_weight: Float32 | None) -> Head:
    """The head before what missing tests change is learnt."""
    kind, sigma = candidate.kind, evidence.sigma
    n_tests = len(sigma)
    if residual_weight is None:
        weight = np.ones_like(sigma) if kind == "mse" else 1 / sigma
    else:
        weight = residual_weight.astype(np.float64)
    head = Head(
        kind=kind,
        residual_weight=weight.astype(np.float32),
        expected_square=(evidence.square * weight**2).astype(np.float32),
        present_gain=_constant_gain(candidate, n_tests),
        present_offset=np.zeros(n_tests + 1, dtype=np.float32),
        min_present=1,
        k=min(candidate.k, n_tests) if kind == "topk" else 0,
    )
    return _with_low_rank(head, evidence, sigma * weight) if kind == "mahalanobis" else head


def unfitted_head(n_tests: int) -> Head:
    """A plain mean square, for a network whose head is fitted next."""
    ones, by_present = np.ones(n_tests, dtype=np.float32), np.ones(n_tests + 1, dtype=np.float32)
    return Head("mse", ones, ones, by_present, np.zeros_like(by_present), min_present=1)


def _check(
    network: Network,
    values: Float32,
    candidate: HeadCandidate,
    patterns: Mask | None,
    max_missing: float | None,
) -> None:
    n_tests = network.screen.schema.n_tests
    kind, k = candidate.kind, candidate.k
    if kind not in get_args(HeadKind):
        raise UsageError(f"head must be one of {', '.join(get_args(HeadKind))}, found {kind!r}")
    if kind == "topk" and k < 1:
        raise UsageError(f"topk takes at least one residual, found k = {k}")
    if max_missing is not None and not 0 <= max_missing < 1:
        raise UsageError(f"max_missing is a share from 0 to below 1, found {max_missing!r}")
    if patterns is not None and (patterns.ndim != 2 or patterns.shape[1] != n_tests):
        raise UsageError(
            f"patterns must be bool (n_patterns, {n_tests}), found shape {patterns.shape}"
        )
    if values.ndim != 2 or values.shape[1] != n_tests:
        raise UsageError(f"values must be (n_dies, {n_tests}), found shape {values.shape}")
    if len(values) < MIN_HELD_OUT:
        raise NotEnoughDataError(
            f"a score head needs at least {MIN_HELD_OUT} held-out good dies, found {len(values)}"
        )


def residual_sigma(residual: Float32, present: Mask) -> Float64:
    """σ_r of each test, float64 ``(n_tests,)``.

    A test that fewer than ``MIN_HELD_OUT`` of these dies have gets 1: its residual then counts in
    units of its own spread.

    Args:
        residual: ``(n_dies, n_tests)``, standardised.
        present: bool ``(n_dies, n_tests)``; residuals of missing tests are not looked at.
    """
    sigma = np.ones(residual.shape[1])
    for test in range(residual.shape[1]):
        r = np.abs(residual[present[:, test], test].astype(np.float64))
        if len(r) >= MIN_HELD_OUT:
            share = min(LARGEST_QUANTILE, 1 - TAIL_DIES / len(r))
            gaussian = NormalDist().inv_cdf((1 + share) / 2)
            sigma[test] = max(float(np.quantile(r, share)) / gaussian, SMALLEST_SIGMA)
    return sigma


def _clipped_square(dies: Residuals, sigma: Float64) -> Float64:
    """E[r²] of each test, |r| counting up to ``CLIP_SIGMA`` σ; σ² of a test that few dies have."""
    clipped = np.minimum(np.abs(dies.residual.astype(np.float64)), CLIP_SIGMA * sigma)
    total = np.where(dies.present, clipped * clipped, 0).sum(axis=0)
    count = dies.present.sum(axis=0)
    mean = np.where(count >= MIN_HELD_OUT, total / np.maximum(count, 1), sigma**2)
    floored: Float64 = np.maximum(mean, SMALLEST_SIGMA**2)
    return floored


def _with_low_rank(head: Head, evidence: _Evidence, sigma: Float64) -> Head:
    """The head with shared directions and what whitened residuals are expected to be.

    Args:
        head: weights the residuals.
        evidence: directions are learnt from all its dies, expectations from held-out ones.
        sigma: float64 ``(n_tests,)``, the scale of weighted residuals.
    """
    dies, held = evidence.all_dies, evidence.held
    weighted = weigh(head, dies.residual, dies.present)
    low_rank = fit_low_rank(weighted, dies.present, CLIP_SIGMA * sigma)
    head = replace(head, low_rank=low_rank)
    whitened = weigh(head, held.residual, held.present).astype(np.float32)
    expected = _clipped_square(held._replace(residual=whitened), sigma)
    return replace(head, expected_square=expected.astype(np.float32))


def _constant_gain(candidate: HeadCandidate, n_tests: int) -> Float32:
    gain = 1 / min(candidate.k, n_tests) if candidate.kind == "topk" else 1.0
    return np.full(n_tests + 1, gain, dtype=np.float32)
