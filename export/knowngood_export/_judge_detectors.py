"""The autoencoder and the classical screens on the same dies: fitted, and held to one yardstick."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from knowngood._good_dies import missing_patterns
from knowngood._lot import Lot
from knowngood._manifest import Evaluation, HeadChoice
from knowngood._network import Network
from knowngood._schema import Schema
from knowngood_quantize.heads import MIN_HELD_OUT
from knowngood_quantize.hold_out import folds, split_hold_out
from knowngood_quantize.injection import InjectedSet
from knowngood_quantize.scaling import unusable_tests
from knowngood_quantize.yardstick import (
    evaluate,
    evaluate_scores,
    fail_die_figures,
    missing_pattern_check,
)

from ._fit import (
    AutoencoderConfig,
    Float32,
    Group,
    Mask,
    Part,
    Parts,
    fit_classical,
    inject_defects,
    learn_layers,
    score_dies,
    with_head,
    with_thresholds,
)
from ._group_numbers import group_numbers
from ._training import LearningCurve

DEFECTS_PER_CLASS = 2000
PATTERN_CHECK_FPR = 0.02
_FOLD_HOLD_OUT = 0.25


class Detectors(NamedTuple):
    """An autoencoder, how it came to be, and PAT, T² and PCA residual on the same dies."""

    autoencoder: Network
    learning_curve: LearningCurve
    head_choice: HeadChoice
    baselines: tuple[Network, ...]

    @property
    def networks(self) -> tuple[Network, ...]:
        """The autoencoder first."""
        return (self.autoencoder, *self.baselines)


def fit_detectors(
    parts: Parts, schema: Schema, config: AutoencoderConfig, *, progress: bool = False
) -> Detectors:
    """Fit all detectors, each with a head and thresholds from the same held-out dies."""
    learned = learn_layers(parts, schema, config, progress=progress)
    classical = fit_classical(learned.network, parts)
    autoencoder = with_head(learned, parts, config, classical)
    judged = tuple(with_thresholds(b, parts.calibration, config) for b in classical)
    return Detectors(*autoencoder, judged)


def evaluate_held_out(
    detectors: Detectors,
    good: Part,
    injected: Sequence[tuple[InjectedSet, Part]],
    how: str,
) -> Evaluation:
    """Every detector on held-out good dies and on the same dies with defects."""
    scores = {n.detector: partial(_score_values, n) for n in detectors.networks}
    evaluation = evaluate(scores, good.values, good.group, [s for s, _ in injected], how)
    return replace(evaluation, head_choice=detectors.head_choice)


def cross_validate(
    lot: Lot,
    good_rows: Mask,
    config: AutoencoderConfig,
    *,
    n_folds: int,
    patterns: Mask | None,
    progress: bool = False,
) -> Evaluation:
    """The yardstick on every good die, each judged by detectors that never saw it.

    For small lots, whose held-out dies alone are too few. Detectors of different folds differ in
    scale, so their scores are divided by the median of their own validation dies before they are
    pooled. Thresholds are another matter: see ``_cross_fit``, which asks for many lots.
    """
    good: dict[str, list[Float32]] = defaultdict(list)
    defective: dict[str, dict[str, list[Float32]]] = defaultdict(lambda: defaultdict(list))
    splits = list(folds(lot.dies, good_rows, n_folds))
    for train_rows, held_rows in splits:
        parts, schema, held = _fold(lot, train_rows, held_rows, patterns)
        detectors = fit_detectors(parts, schema, config, progress=progress)
        injected = inject_defects(
            held, schema, reference=parts.train, n_dies=DEFECTS_PER_CLASS // len(splits)
        )
        for network in detectors.networks:
            unit = np.nanmedian(score_dies(network, parts.validation))
            good[network.detector].append(score_dies(network, held) / unit)
            for s, dies in injected:
                defective[network.detector][s.name].append(score_dies(network, dies) / unit)
    how = (
        f"cross-validated: {int(good_rows.sum())} good dies in {len(splits)} folds, each die "
        "judged by detectors fitted without its fold"
    )
    return evaluate_scores(
        {name: np.concatenate(scores) for name, scores in good.items()},
        {
            name: {defect: np.concatenate(scores) for defect, scores in by_defect.items()}
            for name, by_defect in defective.items()
        },
        how,
    )


def _fold(
    lot: Lot, train_rows: Mask, held_rows: Mask, patterns: Mask | None
) -> tuple[Parts, Schema, Part]:
    """What a fold trains on, the tests it can use, and what it is judged on."""
    split = split_hold_out(lot.dies, train_rows, share=_FOLD_HOLD_OUT)
    held_out = split.validation | split.calibration
    unusable = unusable_tests(lot.values[split.train])
    columns = np.array([c for c in range(lot.schema.n_tests) if c not in unusable])
    train, validation, held = (
        Part(lot.values[rows][:, columns], lot.group[rows])
        for rows in (split.train, held_out, held_rows)
    )
    parts = Parts(train, validation, validation, None if patterns is None else patterns[:, columns])
    parts.require_enough()
    return parts, lot.schema.select(columns), held


def tester_fail_figures(
    network: Network, lot: Lot, seen_rows: Mask, calibration: Part
) -> dict[str, float]:
    """What tester fails can say: their AUC with failing tests masked, and the pattern check.

    Args:
        network: the model.
        lot: all dies, with all their tests.
        seen_rows: bool ``(n_dies,)``, dies that the model was trained or tuned on.
        calibration: held-out good dies, with the model's tests.

    Returns:
        the figures of ``fail_die_figures``, and of good held-out dies that are given the missing
        patterns of fail dies: ``missing_pattern_auc`` against the same dies untouched (0.5 is
        ideal), ``missing_pattern_yield_loss`` at a nominal 2 %, ``missing_pattern_coverage``.
        Figures that these dies cannot give are left out.
    """
    alignment = network.screen.schema.align(lot.schema)
    score = partial(_score_values, network)
    unseen = lot.select(~seen_rows)
    figures = fail_die_figures(unseen, score, alignment=alignment)
    patterns = _fail_patterns(lot)[:, alignment.columns]
    patterns = patterns[~patterns.all(axis=1)]
    if len(patterns) and len(calibration) >= MIN_HELD_OUT:
        check = missing_pattern_check(
            score, calibration.values, calibration.group, patterns, fpr=PATTERN_CHECK_FPR
        )
        figures["missing_pattern_yield_loss"] = check.yield_loss
        figures["missing_pattern_coverage"] = check.coverage
        if check.coverage > 0:
            figures["missing_pattern_auc"] = check.auc
    return figures


def _fail_patterns(lot: Lot) -> NDArray[np.bool_]:
    return missing_patterns(lot.select(lot.dies.tester_pass == 0))


def _score_values(network: Network, values: Float32, group: Group | None) -> Float32:
    return score_dies(network, Part(values, group_numbers("group", group, len(values))))
