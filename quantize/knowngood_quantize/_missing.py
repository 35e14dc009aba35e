"""What missing tests do to a score, measured on held-out good dies, and made up for.

Good dies are scored again under masks of every size. Fewer tests give smaller extremes; but a
network that expects what is missing leaves larger residuals elsewhere. Neither is the die's fault.
For each number of tests present, `topk` gets a gain and an offset with which masked good dies are

* the same in the middle: their median score is that of complete dies (the offset sees to it), and
* no worse in the tail: they exceed its high quantiles at most 1.5 times as often (the gain does).

The offset is never negative, so neither is a score. Where no gain above a fifth of a complete die's
will do, a score says too little about a die, and `min_present` leaves it unscored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowngood._forward import score_residual
from knowngood._network import Head, Network

from ._ranking import roc_auc
from ._residuals import Residuals, reconstructed

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

DIES_PER_LEVEL = 600
LEVEL_STEP = 1.15
"""Masks of about the same size make a level: sizes 1, 2, 3 … then 15 % apart."""
SHARED_LOSS = 1.5
"""How much more often than complete dies masked ones may exceed a high quantile."""
TAIL_QUANTILES = (0.9, 0.95, 0.98)
TAIL_DIES = 3
"""Quantiles beyond the first that fewer complete dies exceed are left alone: they are noise."""
FACTOR_RANGE = (0.2, 1.5)
"""The gain, over that of complete dies; below it a defect moves a score too little."""
AUC_RANGE = (0.4, 0.55)
"""Masked against complete good dies; outside it a score no longer means the same."""
LARGEST_SHARE = 0.5
"""At most so many tests may be missing, unless good dies themselves miss more."""
OWN_QUANTILE = 0.999
OWN_MARGIN = 1.5
"""What good dies miss, times this, may always be missing: another lot may miss a little more."""


@dataclass(frozen=True)
class _Level:
    """Scores of good dies under masks of about one size, with the gain of complete dies.

    Attributes:
        n_present: tests present, the median over the dies.
        scores: float32 ``(n,)``.
    """

    n_present: int
    scores: Float32


def equalise(
    network: Network,
    heads: Sequence[Head],
    held: Residuals,
    patterns: Mask | None,
    max_missing: float | None,
    rng: np.random.Generator,
) -> tuple[Head, ...]:
    """Heads with what depends on the number of tests present learnt; all see the same masks.

    Args:
        network: its layers reconstruct masked dies; its own head is ignored.
        heads: they score every number of tests, with a gain of 1 / k.
        held: held-out good dies.
        patterns: bool ``(n_patterns, n_tests)``, True where missing; None for prefixes and random.
        max_missing: share of the tests that may be missing; None learns it.
        rng: of the masks.
    """
    n_tests = held.u.shape[1]
    counts = held.present.sum(axis=1)
    missed_by_good = np.quantile(n_tests - counts, OWN_QUANTILE, method="lower")
    own = max(1, n_tests - math.ceil(OWN_MARGIN * missed_by_good))
    usual = int(np.median(counts))
    complete = held.select(counts >= usual)
    masks = _masks(patterns, held.present, rng)
    levels = _levels(network, heads, complete, masks, usual, rng)
    return tuple(
        _equalised(head, _score(head, complete), levels_of_head, usual, own, max_missing)
        for head, levels_of_head in zip(heads, levels, strict=True)
    )


def _equalised(
    head: Head,
    reference: Float32,
    levels: list[_Level],
    usual: int,
    own: int,
    max_missing: float | None,
) -> Head:
    n_tests = len(head.residual_weight)
    if head.kind == "topk" and levels:
        head = _matched(head, reference, levels, usual)
    if max_missing is not None:
        allowed = n_tests - int(max_missing * n_tests)
    else:
        allowed = min(own, _smallest_present(head, reference, levels, own))
    return replace(head, min_present=max(1, min(allowed, n_tests)))


def _score(head: Head, dies: Residuals) -> Float32:
    return score_residual(head, dies.residual, dies.present, dtype=np.float32)


def _masks(patterns: Mask | None, present: Mask, rng: np.random.Generator) -> Mask:
    """Distinct masks, True where missing, that leave at least one test."""
    made = _prefixes_and_random(present.shape[1], rng) if patterns is None else patterns
    masks: Mask = np.unique(np.concatenate([made, ~present]), axis=0)
    n_missing = masks.sum(axis=1)
    partial: Mask = masks[(n_missing > 0) & (n_missing < present.shape[1])]
    return partial


def _prefixes_and_random(n_tests: int, rng: np.random.Generator) -> Mask:
    """What stop-on-fail leaves, and tests missing here and there, of every size."""
    sizes = np.unique(np.geomspace(1, max(1, n_tests * LARGEST_SHARE), 40).round().astype(int))
    prefixes = np.arange(n_tests) >= n_tests - sizes[:, None]
    ranks = rng.random((8 * len(sizes), n_tests)).argsort(axis=1).argsort(axis=1)
    return np.concatenate([np.repeat(prefixes, 8, axis=0), ranks < np.repeat(sizes, 8)[:, None]])


def _levels(
    network: Network,
    heads: Sequence[Head],
    complete: Residuals,
    masks: Mask,
    usual: int,
    rng: np.random.Generator,
) -> list[list[_Level]]:
    """Of each head, from most to fewest tests present, all below ``usual``."""
    n_missing = masks.sum(axis=1)
    size_class = np.rint(np.log(n_missing) / np.log(LEVEL_STEP)).astype(int)
    scores: dict[int, list[Float32]] = {}
    for size in np.unique(size_class):
        of_size = masks[size_class == size]
        die = np.resize(rng.permutation(len(complete.u)), DIES_PER_LEVEL)
        here = complete.present[die] & ~of_size[rng.integers(len(of_size), size=DIES_PER_LEVEL)]
        n_present = int(np.median(here.sum(axis=1)))
        if 0 < n_present < usual and n_present not in scores:
            u = np.where(here, complete.u[die], np.float32(0))
            masked = reconstructed(network, u, here)
            scores[n_present] = [_score(head, masked) for head in heads]
    return [_scored_levels(scores, index) for index in range(len(heads))]


def _scored_levels(scores: dict[int, list[Float32]], index: int) -> list[_Level]:
    levels = (
        _Level(n_present, of_heads[index][np.isfinite(of_heads[index])])
        for n_present, of_heads in sorted(scores.items(), reverse=True)
    )
    return [level for level in levels if len(level.scores)]


def _matched(head: Head, reference: Float32, levels: list[_Level], usual: int) -> Head:
    """The head with a gain and an offset: 1 / k and 0 from the usual count up, linear between."""
    factors = _smooth([_factor(reference, level.scores) for level in levels])
    offsets = [
        max(0.0, float(np.median(reference) - factor * np.median(level.scores)))
        for factor, level in zip(factors, levels, strict=True)
    ]
    at = [len(head.residual_weight), usual, *(level.n_present for level in levels)]
    factor = _by_present(at, [1.0, 1.0, *factors])
    return replace(
        head,
        present_gain=(factor / head.k).astype(np.float32),
        present_offset=_by_present(at, [0.0, 0.0, *offsets]).astype(np.float32),
    )


def _factor(reference: Float32, masked: Float32) -> float:
    """What masked scores are multiplied by before an offset makes the medians equal.

    So much that they vary as those of complete dies do beyond the median, and not so much that
    the offset would be negative.
    """
    middle, masked_middle = np.median(reference), np.median(masked)
    factors = [_ratio(middle, masked_middle)]
    for share in _tail_quantiles(reference):
        beyond = np.quantile(masked, 1 - SHARED_LOSS * (1 - share))
        factors.append(_ratio(np.quantile(reference, share) - middle, beyond - masked_middle))
    return float(np.clip(min(factors), *FACTOR_RANGE))


def _ratio(reference: np.floating, masked: np.floating) -> float:
    return float(reference / masked) if masked > 0 else FACTOR_RANGE[1]


def _smooth(factors: list[float]) -> list[float]:
    """No factor above the mean of itself and its neighbours: few dies make single ones too large.

    Never larger than before, which the tail would not allow.
    """
    padded = np.pad(factors, 1, mode="edge")
    mean = np.convolve(padded, [0.25, 0.5, 0.25], mode="valid")
    return [min(factor, float(limit)) for factor, limit in zip(factors, mean, strict=True)]


def _by_present(at: list[int], values: list[float]) -> NDArray[np.float64]:
    """``(n_tests + 1,)``: linear between falling counts ``at``; the first of equals wins."""
    known = dict(zip(reversed(at), reversed(values), strict=True))
    counts = sorted(known)
    return np.interp(np.arange(at[0] + 1), counts, [known[count] for count in counts])


def _smallest_present(head: Head, reference: Float32, levels: list[_Level], own: int) -> int:
    """The fewest tests at which, and above which, scores of good dies mean the same."""
    n_tests = len(head.residual_weight)
    smallest = n_tests
    for level in levels:
        factor = head.present_gain[level.n_present] / head.present_gain[n_tests]
        scores = level.scores * factor + head.present_offset[level.n_present]
        too_few = level.n_present < n_tests * (1 - LARGEST_SHARE)
        if too_few or not _means_the_same(reference, scores):
            if level.n_present < own:
                break
            continue
        smallest = level.n_present
    return smallest


def _means_the_same(reference: Float32, masked: Float32) -> bool:
    if not AUC_RANGE[0] <= roc_auc(reference, masked) <= AUC_RANGE[1]:
        return False
    return all(
        float((masked > np.quantile(reference, share)).mean()) <= 2 * (1 - share)
        for share in _tail_quantiles(reference)
    )


def _tail_quantiles(reference: Float32) -> list[float]:
    first, *others = TAIL_QUANTILES
    return [first, *(share for share in others if len(reference) * (1 - share) >= TAIL_DIES)]
