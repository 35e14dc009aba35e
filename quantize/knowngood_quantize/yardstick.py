"""The yardstick: detection of defects injected into passing dies, at equal yield loss.

Each detector is held to its own threshold at the same share of held-out good dies rejected, so
that an autoencoder, PAT, T² and a PCA residual stand side by side. Tester fails are a poor
yardstick (a limit check finds them all, and stop-on-fail leaks the label); where their AUC is
shown, failing tests are masked, and the limit check and the missing count stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._lot import Lot
from knowngood._manifest import DetectionCurve, Evaluation
from knowngood._network import OPERATING_POINTS
from knowngood._schema import Alignment

from ._ranking import roc_auc
from .injection import InjectedSet, limits_of
from .thresholds import conformal_thresholds

Float32 = NDArray[np.float32]
Group = NDArray[np.int32]
Score = Callable[[Float32, "Group | None"], Float32]
"""Scores float32 ``(n,)`` of raw values ``(n, n_tests)``; NaN where a die cannot be scored."""

YIELD_LOSS_GRID = tuple(
    sorted({*OPERATING_POINTS, *(float(f"{x:.3g}") for x in np.geomspace(0.0005, 0.05, 21))})
)
"""0.05 % to 5 %, evenly on a log scale, with every operating point among them."""
PAIRS_FOR_PATTERNS = 4000


def evaluate(
    detectors: Mapping[str, Score],
    good: Float32,
    group: Group | None,
    injected: Sequence[InjectedSet],
    how: str,
) -> Evaluation:
    """Score good and defective dies with every detector and compare them at equal yield loss.

    Args:
        detectors: by name.
        good: float32 ``(n_good, n_tests)``, held-out passing dies, raw units.
        group: int32 ``(n_good,)``.
        injected: defects injected into these dies; a class without dies is left out.
        how: in words, what was held out.

    Raises:
        NotEnoughDataError: too few good dies for any threshold.
    """
    good_scores = {name: score(good, group) for name, score in detectors.items()}
    defective_scores = {
        name: {s.name: score(s.values, _group_of(group, s)) for s in injected if len(s.values)}
        for name, score in detectors.items()
    }
    evaluation = evaluate_scores(good_scores, defective_scores, how)
    evaluation.facts.update({f"impossible {s.name}": float(s.n_impossible) for s in injected})
    return evaluation


def _group_of(group: Group | None, injected: InjectedSet) -> Group | None:
    return None if group is None else group[injected.source_rows]


def evaluate_scores(
    good: Mapping[str, Float32], defective: Mapping[str, Mapping[str, Float32]], how: str
) -> Evaluation:
    """The evaluation of scores that exist already, such as those of cross-validation folds.

    A defective die that cannot be scored counts as not detected. ``facts`` hold the share of dies
    scored: ``"coverage good DETECTOR"`` and ``"coverage DEFECT DETECTOR"``.

    Args:
        good: scores float32 ``(n_good,)`` by detector.
        defective: scores float32 ``(n_defective,)`` by detector, then by defect.
        how: in words, what was held out.
    """
    curves, facts = [], {}
    for detector, scores in good.items():
        facts[f"coverage good {detector}"] = _share_scored(scores)
        thresholds = conformal_thresholds(scores, YIELD_LOSS_GRID)
        for defect, found in defective[detector].items():
            facts[f"coverage {defect} {detector}"] = _share_scored(found)
            detection = tuple(float((found > t).mean()) for t in thresholds)
            curves.append(DetectionCurve(detector, defect, len(found), detection))
    n_good = max((len(scores) for scores in good.values()), default=0)
    return Evaluation(how, n_good, YIELD_LOSS_GRID, tuple(curves), facts)


def _share_scored(scores: Float32) -> float:
    return float(np.isfinite(scores).mean()) if len(scores) else 0.0


def detection_at(evaluation: Evaluation, detector: str, defect: str, fpr: float) -> float:
    """Share of a class of defects that a detector finds at a yield loss.

    Between the grid's points the curve is linear in the logarithm of the yield loss.

    Raises:
        UsageError: there is no such curve, or the yield loss is outside the grid.
    """
    grid = evaluation.yield_loss
    if not grid or not grid[0] <= fpr <= grid[-1]:
        raise UsageError(f"detection at a yield loss of {fpr:.4%} was not measured")
    for curve in evaluation.curves:
        if (curve.detector, curve.defect) == (detector, defect):
            return float(np.interp(np.log(fpr), np.log(grid), curve.detection))
    listed = ", ".join(sorted({f"{c.detector}/{c.defect}" for c in evaluation.curves})) or "none"
    raise UsageError(f"no detection curve of {detector}/{defect}; there are {listed}")


def fail_die_figures(
    lot: Lot, score: Score, *, alignment: Alignment | None = None
) -> dict[str, float]:
    """How well a score tells tester fails from passes, beside what is trivial.

    Over final attempts with data. The detector sees fail dies with the tests outside their limits
    masked; the other two figures are those a good detector's must be read against.

    Args:
        lot: dies that the detector was not trained on, with all their tests and limits.
        score: the detector.
        alignment: from the lot's tests to the detector's; None if they are the same.

    Returns:
        ``n_pass``, ``n_fail``: dies with data. ``coverage_pass``, ``coverage_fail``: the share of
        them scored. ``fail_die_auc``: of the score; ``limit_check_auc``: of the count of tests
        outside limits; ``missing_count_auc``: of the count of missing tests. An AUC with no dies
        on one side is left out.
    """
    has_data = lot.dies.is_final & ~np.isnan(lot.values).all(axis=1)
    lot = lot.select(has_data & (lot.dies.tester_pass >= 0))
    is_fail = lot.dies.tester_pass == 0
    outside = _outside_limits(lot)
    masked = np.where(outside, np.float32(np.nan), lot.values)
    scores = score(masked if alignment is None else alignment.apply(masked), lot.group)
    figures = {
        "n_pass": float((~is_fail).sum()),
        "n_fail": float(is_fail.sum()),
        "coverage_pass": _share_scored(scores[~is_fail]),
        "coverage_fail": _share_scored(scores[is_fail]),
        "fail_die_auc": roc_auc(scores[~is_fail], scores[is_fail]),
    }
    n_outside, n_missing = outside.sum(axis=1), np.isnan(lot.values).sum(axis=1)
    figures["limit_check_auc"] = roc_auc(n_outside[~is_fail], n_outside[is_fail])
    figures["missing_count_auc"] = roc_auc(n_missing[~is_fail], n_missing[is_fail])
    return {name: figure for name, figure in figures.items() if not np.isnan(figure)}


def _outside_limits(lot: Lot) -> NDArray[np.bool_]:
    limits = limits_of(lot.schema).astype(np.float32)  # STDF limits and results are both float32
    outside: NDArray[np.bool_] = (lot.values < limits[:, 0]) | (lot.values > limits[:, 1])
    return outside


@dataclass(frozen=True)
class MissingPatternCheck:
    """What the missing tests of fail dies alone do to the scores of good dies.

    Attributes:
        auc: good dies with such patterns against the same dies untouched; 0.5 is ideal.
        yield_loss: share of the scored ones above the threshold of the untouched dies.
        nominal: the yield loss that threshold stands for.
        coverage: share of the dies with patterns that are scored.
        n_pairs: dies with patterns.
    """

    auc: float
    yield_loss: float
    nominal: float
    coverage: float
    n_pairs: int


def missing_pattern_check(
    score: Score,
    good: Float32,
    group: Group | None,
    patterns: NDArray[np.bool_],
    *,
    fpr: float = 0.02,
    seed: int = 0,
) -> MissingPatternCheck:
    """Give good dies the missing patterns of fail dies, and see whether they still look good.

    Args:
        score: the detector.
        good: float32 ``(n_good, n_tests)``, held-out good dies, raw units.
        group: int32 ``(n_good,)``.
        patterns: bool ``(n_patterns, n_tests)``, True where a test is *missing*.
        fpr: yield loss of the threshold, fitted on the untouched dies.
        seed: which die gets which pattern.

    Raises:
        UsageError: there is no pattern, or its width is another.
        NotEnoughDataError: too few good dies are scored.
    """
    if patterns.ndim != 2 or len(patterns) == 0 or patterns.shape[1] != good.shape[1]:
        raise UsageError(
            f"patterns must be bool (n_patterns, {good.shape[1]}) with at least one, "
            f"found {patterns.shape}"
        )
    untouched = score(good, group)
    threshold = conformal_thresholds(untouched, [fpr])[0]
    rng = np.random.default_rng(seed)
    die = np.resize(rng.permutation(len(good)), max(len(good), PAIRS_FOR_PATTERNS))
    pattern = rng.integers(len(patterns), size=len(die))
    masked = np.where(patterns[pattern], np.float32(np.nan), good[die])
    scores = score(masked, None if group is None else group[die])
    scored = scores[np.isfinite(scores)]
    return MissingPatternCheck(
        auc=roc_auc(untouched, scored),
        yield_loss=float((scored > threshold).mean()) if len(scored) else 0.0,
        nominal=fpr,
        coverage=_share_scored(scores),
        n_pairs=len(die),
    )
