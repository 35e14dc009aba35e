"""From lots in files to a trained model: what ``knowngood train`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._good_dies import missing_patterns, select_good_dies
from knowngood._lot import Lot
from knowngood._manifest import Evaluation, HeadChoice, Provenance, Source
from knowngood._network import Network
from knowngood._read_lot import merge_lots, read_lot
from knowngood._schema import Schema
from knowngood_quantize.hold_out import HoldOut, clusters, split_hold_out
from knowngood_quantize.scaling import unusable_tests

from ._cross_fit import LotDies, cross_fit_thresholds
from ._fit import AutoencoderConfig, Mask, Part, Parts, inject_defects
from ._judge_detectors import (
    DEFECTS_PER_CLASS,
    Detectors,
    cross_validate,
    evaluate_held_out,
    fit_detectors,
    tester_fail_figures,
)
from ._sources import source_of
from ._trained import CalibrationSet, Int8Dies, TrainedModel
from ._versions import versions

FEWEST_TESTS = 4
SMALL_HOLD_OUT = 2000
"""Fewer calibration dies than this, and the yardstick is cross-validated."""
N_FOLDS = 5


@dataclass(frozen=True)
class LotTrainingConfig:
    """How to go from lots to a model.

    Attributes:
        autoencoder: what to train and how.
        trim: leave gross outliers out of the good dies.
        hold_out: share of the good dies held out.
        n_folds: of the cross-validated yardstick; 0 never cross-validates, None takes 5 where fewer
            than 2,000 dies are held out for thresholds.
        cross_fit: with 20 lots or more, fit thresholds on nearly all of them, by further networks
            that leave some out each. It takes several times as long.
    """

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    trim: bool = True
    hold_out: float = 0.3
    n_folds: int | None = None
    cross_fit: bool = True

    def __post_init__(self) -> None:
        if self.n_folds is not None and (self.n_folds < 0 or self.n_folds == 1):
            raise UsageError(f"the number of folds must be 0, or 2 or more, found {self.n_folds}")


DEFAULT_CONFIG = LotTrainingConfig()


def train_lots(
    paths: Sequence[str | Path],
    *,
    config: LotTrainingConfig = DEFAULT_CONFIG,
    good_if: str | None = None,
    progress: bool = False,
) -> TrainedModel:
    """Read lots, choose their good dies, train, and judge the model beside the classical screens.

    Args:
        paths: STDF, CSV, Parquet or NumPy files, tested alike.
        config: how.
        good_if: which dies the tester called good, for files that do not say; see ``read_lot``.
        progress: show progress bars where standard error is a terminal.

    Raises:
        InputError: a file cannot be read; its subclasses: the files do not fit together
            (``SchemaMismatchError``), or too few good dies or tests (``NotEnoughDataError``).
        UsageError: no files, or ``good_if`` is no condition.
        GateError: training diverged.
    """
    if not paths:
        raise UsageError("no lots to train on; name at least one file")
    lots = [read_lot(path, good_if=good_if) for path in paths]
    sources = tuple(source_of(Path(path), lot) for path, lot in zip(paths, lots, strict=True))
    return train_on_lots(lots, config=config, sources=sources, progress=progress)


def train_on_lots(
    lots: Sequence[Lot],
    *,
    config: LotTrainingConfig = DEFAULT_CONFIG,
    sources: tuple[Source, ...] = (),
    progress: bool = False,
) -> TrainedModel:
    """``train_lots`` for lots that are in memory already."""
    data = _prepare(merge_lots(lots), config)
    detectors = fit_detectors(data.parts, data.schema, config.autoencoder, progress=progress)
    calibration = data.parts.calibration
    injected = inject_defects(
        calibration, data.schema, reference=data.parts.train, n_dies=DEFECTS_PER_CLASS
    )
    how = f"{len(calibration)} good dies held out for thresholds, and their like with defects"
    evaluation = evaluate_held_out(detectors, calibration, injected, how)
    if n_folds := _n_folds(config, len(calibration)):
        pooled = _cross_validate(data, config, detectors.head_choice, n_folds, progress)
        facts = {**evaluation.facts, **pooled.facts}
        evaluation = replace(pooled, facts=facts, head_choice=evaluation.head_choice)
    seen = data.hold_out.train | data.hold_out.validation
    figures = tester_fail_figures(detectors.autoencoder, data.lot, seen, calibration)
    evaluation = replace(evaluation, facts={**evaluation.facts, **figures})
    network, lots_used = detectors.autoencoder, data.good_lots()
    provenance = _provenance(data, detectors, config, sources)
    if config.cross_fit and lots_used.can_cross_fit:
        network = cross_fit_thresholds(network, lots_used, config.autoencoder, progress=progress)
        provenance = replace(provenance, notes=(*provenance.notes, _told(network, lots_used)))
    return TrainedModel(
        network=network,
        baselines=detectors.baselines,
        calibration=CalibrationSet.of(calibration, injected),
        int8_dies=Int8Dies.of(data.parts.train, data.parts.validation),
        provenance=provenance,
        evaluation=evaluation,
    )


def _told(network: Network, lots: LotDies) -> str:
    n_dies = max(point.n_dies for point in network.screen.operating_points)
    return (
        f"thresholds are cross-fitted: {n_dies:,} dies of {lots.n_lots_judged} lots, those that "
        "the model has learnt from scored by networks trained without them"
    )


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Good dies ready for training.

    Attributes:
        lot: all dies of all lots with all their tests.
        good_rows: bool ``(n_dies,)``.
        columns: int64 ``(n_tests,)``, the lot's columns that the model uses.
        parts: values of these columns.
        dropped: dies left out, by reason.
        notes: what the user has to know.
    """

    lot: Lot
    good_rows: Mask
    columns: NDArray[np.int64]
    hold_out: HoldOut
    parts: Parts
    dropped: dict[str, int]
    notes: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        return self.lot.schema.select(self.columns)

    def good_lots(self) -> LotDies:
        """All good dies by lot."""
        good, held = self.good_rows, self.hold_out
        _, lot = np.unique(self.lot.dies.lot[good], return_inverse=True)
        dies = Part(
            self.lot.values[good][:, self.columns], self.lot.group[good], lot.astype(np.int32)
        )
        masks = (held.train[good], held.validation[good], held.calibration[good])
        return LotDies(self.schema, dies, HoldOut(*masks, held.how), self.parts.patterns)


def _prepare(lot: Lot, config: LotTrainingConfig) -> _Prepared:
    chosen = select_good_dies(lot, trim=config.trim)
    if not chosen.rows.any():
        counts = ", ".join(f"{n} {reason}" for reason, n in chosen.dropped.items())
        raise NotEnoughDataError(f"none of the {len(lot.dies)} dies is a good one: {counts}")
    held = split_hold_out(
        lot.dies, chosen.rows, share=config.hold_out, seed=config.autoencoder.recipe.seed
    )
    unusable = unusable_tests(lot.values[held.train])
    columns = np.array([c for c in range(lot.schema.n_tests) if c not in unusable], dtype=np.int64)
    dropped_tests = tuple(
        f"test {lot.schema.tests[c].label} dropped: {why}" for c, why in unusable.items()
    )
    _require_tests(columns, dropped_tests)
    train, validation, calibration = (
        Part(lot.values[rows][:, columns], lot.group[rows], clusters(lot.dies, rows)[rows])
        for rows in (held.train, held.validation, held.calibration)
    )
    patterns = missing_patterns(lot)[:, columns]
    parts = Parts(train, validation, calibration, patterns)
    parts.require_enough()
    notes = (*lot.facts.odd, *chosen.notes, *dropped_tests)
    return _Prepared(lot, chosen.rows, columns, held, parts, chosen.dropped, notes)


def _require_tests(columns: NDArray[np.int64], dropped: Sequence[str]) -> None:
    if len(columns) < FEWEST_TESTS:
        shown = "; ".join(dropped[:5]) + ("; …" if len(dropped) > 5 else "")
        raise NotEnoughDataError(
            f"{len(columns)} tests can be learnt from, where at least {FEWEST_TESTS} are needed"
            + (f" ({shown})" if shown else "")
        )


def _n_folds(config: LotTrainingConfig, n_calibration: int) -> int:
    if config.n_folds is not None:
        return config.n_folds
    return N_FOLDS if n_calibration < SMALL_HOLD_OUT else 0


def _cross_validate(
    data: _Prepared, config: LotTrainingConfig, choice: HeadChoice, n_folds: int, progress: bool
) -> Evaluation:
    """With the model's head in every fold: scores of different heads are not to be pooled."""
    lot = Lot(data.lot.values[:, data.columns], data.schema, data.lot.dies)
    return cross_validate(
        lot,
        data.good_rows,
        config.autoencoder.with_head(choice),
        n_folds=n_folds,
        patterns=data.parts.patterns,
        progress=progress,
    )


def _provenance(
    data: _Prepared,
    detectors: Detectors,
    config: LotTrainingConfig,
    sources: tuple[Source, ...],
) -> Provenance:
    parts = data.parts
    return Provenance(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=versions(),
        seed=config.autoencoder.recipe.seed,
        sources=sources,
        n_train=len(parts.train),
        n_held_out=len(parts.validation) + len(parts.calibration),
        dropped=data.dropped,
        hold_out=data.hold_out.how,
        learning_curve=detectors.learning_curve,
        notes=data.notes,
    )
