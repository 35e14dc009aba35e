"""Which score head suits a network and its dies: heads compared by the injected defects they find.

Each candidate is fitted on two thirds of the held-out good dies and judged on the others, in turn,
so that every die is judged by heads that have not seen it: a head that learns more from its dies
would look better on them than it is. All are held to the same yield loss: the one asked for, or the
nearest operating point that the dies support.

Defects are those of `injection`, in blocks as large as the dies show (|correlation| of 0.4 with
the first test, up to 64 tests): a head that is chosen on the tightest tests alone misses the rest.

The merit of a head is the mean over the classes of the share it finds, less ``LOST_COUNTS`` times

* what it falls short of the best classical screen in each correlation class, where it must be a
  standard error ahead to count as even: a screen that costs a network must not lose to one that
  costs none where it claims to be better;
* what it rejects, beyond twice the yield loss, of good dies that are given the missing tests of
  others: a score must mean the same whatever is missing.

With fewer than ``FEWEST_TO_CHOOSE`` dies the table says too little to go by, and the first
candidate is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from knowngood._forward import score_residual
from knowngood._manifest import HeadChoice, HeadTrial
from knowngood._network import (
    DEFAULT_FPR,
    MIN_EXCEEDANCES,
    OPERATING_POINTS,
    Head,
    Network,
)

from ._correlated_blocks import CORRELATION_STEPS, correlated_blocks
from ._residuals import Residuals, residuals_of
from .heads import MIN_HELD_OUT, HeadCandidate, TrainingDies, fit_head, fit_heads
from .injection import InjectedSet, limits_of, standard_defects
from .thresholds import MIN_SCORES, conformal_thresholds

Float32 = NDArray[np.float32]
Group = NDArray[np.int32]
Mask = NDArray[np.bool_]

CANDIDATES = (
    *(HeadCandidate("topk", k) for k in (5, 10, 3, 15, 20, 30)),
    HeadCandidate("mahalanobis"),
    HeadCandidate("normalized"),
    HeadCandidate("mse"),
)
"""What is chosen from; the first of equals wins, and where nothing can be injected."""
AS_GOOD = 0.01
"""Merit that differs by less than a point is called equal: held-out dies of a lot say no more."""
FEWEST_TO_CHOOSE = 200
"""Held-out dies; with fewer, a few dies found or not would decide."""
CORRELATION_CLASSES = ("block_shift", "broken_correlation")
LOST_COUNTS = 10
N_FOLDS = 3
DEFECTS_PER_CLASS = 2000
LARGEST_BLOCK = 64
_MISSING = "missing"
"""Name of good dies with the missing tests of others, which stand beside the defects."""


class ChosenHead(NamedTuple):
    """A head fitted on all held-out dies, and how it came to be."""

    head: Head
    choice: HeadChoice


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The dies that heads are fitted and compared on.

    Attributes:
        values: float32 ``(n_dies, n_tests)``, good dies that neither network nor thresholds have
            seen, raw units, NaN where missing.
        group: int32 ``(n_dies,)`` or None.
        patterns: bool ``(n_patterns, n_tests)``, True where missing; see ``fit_head``.
        training: the dies that the network was trained on; None if they are gone.
    """

    values: Float32
    group: Group | None = None
    patterns: Mask | None = None
    training: TrainingDies | None = None


def fit_known_head(
    network: Network, held: HeldOut, candidate: HeadCandidate, *, seed: int = 0
) -> ChosenHead:
    """The head asked for, with the record of the dies that it had.

    Errors as of ``fit_head``.
    """
    head = _fitted(network, held, candidate, seed)
    return ChosenHead(head, _record(head, held, asked=candidate.kind))


def choose_head(
    network: Network,
    held: HeldOut,
    *,
    candidates: Sequence[HeadCandidate] = CANDIDATES,
    fpr: float = DEFAULT_FPR,
    classical: Sequence[Network] = (),
    seed: int = 0,
) -> ChosenHead:
    """Compare heads by the injected defects they find on held-out good dies, and take the best.

    Args:
        network: layers, scaler and schema; its own head is ignored.
        held: the dies.
        candidates: what to choose from.
        fpr: yield loss asked for. Compared is there, or at the next operating point with ten
            held-out dies above its threshold, or else at the largest operating point.
        classical: screens fitted on the same dies, which a head should not lose to.
        seed: of masks and defects.

    Raises:
        NotEnoughDataError: fewer than ``MIN_HELD_OUT`` dies.
        UsageError: a candidate or a shape is out of range.
    """
    fpr_used = comparable_fpr(fpr, len(held.values))
    defects = _defects(network, held, seed)
    n_tests = network.screen.schema.n_tests
    possible = [c for c in candidates if c.k <= n_tests] or list(candidates[:1])
    rivals = tuple(
        _trial(screen.detector, 0, _scores(screen, held, defects), fpr_used) for screen in classical
    )
    sets = (*defects, *_with_missing(held, seed))
    judged = zip(possible, _cross_fitted(network, held, possible, sets, seed), strict=True)
    n_defective = {each.name: len(each) for each in defects}
    floor = _floor(rivals, n_defective)
    trials = tuple(
        _with_merit(_trial(candidate.kind, candidate.k, scores, fpr_used), floor, fpr_used)
        for candidate, scores in judged
    )
    best = possible[_best(trials, len(held.values))]
    head = _fitted(network, held, best, seed)
    choice = replace(
        _record(head, held, asked="auto"),
        fpr_asked=fpr,
        fpr=fpr_used,
        n_defective=n_defective,
        trials=trials,
        classical=rivals,
        too_few=len(held.values) < FEWEST_TO_CHOOSE,
    )
    return ChosenHead(head, choice)


def _best(trials: Sequence[HeadTrial], n_held_out: int) -> int:
    """The first whose merit is as good as any; the very first where the dies are too few."""
    if n_held_out < FEWEST_TO_CHOOSE:
        return 0
    enough = max(trial.merit for trial in trials) - AS_GOOD
    return next(index for index, trial in enumerate(trials) if trial.merit >= enough)


def comparable_fpr(fpr: float, n_good: int) -> float:
    """The yield loss asked for, or the next operating point that so many good dies support."""
    points = [fpr, *(point for point in OPERATING_POINTS if point > fpr)]
    supported = [point for point in points if point * n_good >= MIN_EXCEEDANCES]
    return supported[0] if supported else points[-1]


def _fitted(network: Network, held: HeldOut, candidate: HeadCandidate, seed: int) -> Head:
    return fit_head(
        network, held.values, held.group, kind=candidate.kind, k=candidate.k,
        patterns=held.patterns, training=held.training, seed=seed,
    )  # fmt: skip


def _record(head: Head, held: HeldOut, *, asked: str) -> HeadChoice:
    n_axes = 0 if head.low_rank is None else int(head.low_rank.project.any(axis=1).sum())
    n_training = 0 if held.training is None else len(held.training.values)
    return HeadChoice(asked, head.kind, head.k, n_axes, len(held.values), n_training)


def _defects(network: Network, held: HeldOut, seed: int) -> tuple[InjectedSet, ...]:
    """The classes that these dies allow."""
    reference = held.values if held.training is None else held.training.values
    sets = standard_defects(
        held.values,
        limits=limits_of(network.screen.schema),
        groups=held.group,
        reference=reference,
        blocks=correlated_blocks(reference, threshold=CORRELATION_STEPS[-1], largest=LARGEST_BLOCK),
        n_dies=DEFECTS_PER_CLASS,
        seed=seed,
    )
    return tuple(each for each in sets if len(each))


def _with_missing(held: HeldOut, seed: int) -> tuple[InjectedSet, ...]:
    """The good dies, each with the missing tests of a die drawn at random; none if all have all."""
    if held.patterns is None:
        return ()
    patterns = held.patterns[held.patterns.any(axis=1) & ~held.patterns.all(axis=1)]
    if len(patterns) == 0:
        return ()
    n_dies = len(held.values)
    drawn = patterns[np.random.default_rng(seed).integers(len(patterns), size=n_dies)]
    masked = np.where(drawn, np.float32(np.nan), held.values)
    return (InjectedSet(_MISSING, masked, np.arange(n_dies), 0),)


class _Scores(NamedTuple):
    """Of good dies, float32 ``(n_good,)``, and of the other sets by name."""

    good: Float32
    others: dict[str, Float32]


def _trial(kind: str, k: int, scores: _Scores, fpr: float) -> HeadTrial:
    """What lies above the threshold of the good dies; a defective die unscored is not found."""
    defective = {name: each for name, each in scores.others.items() if name != _MISSING}
    if np.isfinite(scores.good).sum() < MIN_SCORES:
        return HeadTrial(kind, k, dict.fromkeys(defective, 0.0))
    threshold = conformal_thresholds(scores.good, [fpr])[0]
    found = {name: float((each > threshold).mean()) for name, each in defective.items()}
    masked = scores.others.get(_MISSING, np.empty(0, dtype=np.float32))
    masked = masked[np.isfinite(masked)]
    lost = float((masked > threshold).mean()) if len(masked) >= MIN_SCORES else 0.0
    return HeadTrial(kind, k, found, lost)


def _scores(network: Network, held: HeldOut, defects: Sequence[InjectedSet]) -> _Scores:
    dies = _residuals(network, held, defects)
    good, *defective = (_score(network.screen.head, each) for each in dies)
    return _Scores(good, {d.name: s for d, s in zip(defects, defective, strict=True)})


def _residuals(network: Network, held: HeldOut, defects: Sequence[InjectedSet]) -> list[Residuals]:
    """Of the good dies, and of each set."""
    groups = [None if held.group is None else held.group[d.source_rows] for d in defects]
    return [
        residuals_of(network, held.values, held.group),
        *(residuals_of(network, d.values, g) for d, g in zip(defects, groups, strict=True)),
    ]


def _score(head: Head, dies: Residuals) -> Float32:
    return score_residual(head, dies.residual, dies.present, dtype=np.float32)


def _cross_fitted(
    network: Network,
    held: HeldOut,
    candidates: Sequence[HeadCandidate],
    defects: Sequence[InjectedSet],
    seed: int,
) -> list[_Scores]:
    """Of each candidate: every die scored by a head fitted without its stretch of dies."""
    dies = _residuals(network, held, defects)
    sources = [np.arange(len(held.values)), *(d.source_rows for d in defects)]
    scores = [[np.empty(len(s), dtype=np.float32) for s in sources] for _ in candidates]
    for judged in _stretches(len(held.values)):
        heads = _fitted_without(network, held, candidates, judged, seed)
        for residuals, source, of_set in zip(dies, sources, zip(*scores, strict=True), strict=True):
            rows = np.isin(source, judged)
            for head, scored in zip(heads, of_set, strict=True):
                scored[rows] = _score(head, residuals.select(rows))
    names = [d.name for d in defects]
    return [_Scores(good, dict(zip(names, rest, strict=True))) for good, *rest in scores]


def _stretches(n_dies: int) -> list[NDArray[np.intp]]:
    """Thirds in the order of test, which is that of wafers; all dies where a third is too few."""
    rows = np.arange(n_dies)
    too_few = n_dies - -(-n_dies // N_FOLDS) < MIN_HELD_OUT
    return [rows] if too_few else np.array_split(rows, N_FOLDS)


def _fitted_without(
    network: Network,
    held: HeldOut,
    candidates: Sequence[HeadCandidate],
    judged: NDArray[np.intp],
    seed: int,
) -> tuple[Head, ...]:
    kept = np.ones(len(held.values), dtype=np.bool_)
    kept[judged] = len(judged) == len(kept)
    group = None if held.group is None else held.group[kept]
    return fit_heads(
        network, held.values[kept], group, candidates=candidates, patterns=held.patterns,
        training=held.training, seed=seed,
    )  # fmt: skip


def _floor(rivals: Sequence[HeadTrial], n_defective: dict[str, int]) -> dict[str, float]:
    """What a head has to find of each correlation class, so as not to lose to a rival."""
    best = {
        name: max((rival.detection[name] for rival in rivals), default=0.0)
        for name in CORRELATION_CLASSES
        if name in n_defective
    }
    return {
        name: share + math.sqrt(share * (1 - share) / n_defective[name])
        for name, share in best.items()
    }


def _with_merit(trial: HeadTrial, floor: dict[str, float], fpr: float) -> HeadTrial:
    detection = trial.detection
    n_classes = max(len(detection), 1)
    lost = sum(max(0.0, share - detection[name]) for name, share in floor.items())
    too_many = max(0.0, trial.missing_loss - 2 * fpr)
    mean = (sum(detection.values()) - LOST_COUNTS * lost) / n_classes
    return replace(trial, merit=mean - LOST_COUNTS * too_many)
