"""Thresholds from every lot: held out in turn from networks trained like the model.

A few held-out lots say little about the next one, however many dies they have: lots differ. Where
there are many, each is judged once by a network, with scaler and head, that was trained without it
(cross-fitting; Barber, Candès, Ramdas and Tibshirani, Annals of Statistics 49, 2021). Networks
differ in scale, so scores are told in units of the median of the network's own training dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowngood._network import Network
from knowngood._schema import Schema
from knowngood_quantize.hold_out import HoldOut
from knowngood_quantize.sampling import evenly_spaced
from knowngood_quantize.scaling import unusable_tests
from knowngood_quantize.thresholds import fit_operating_points

from ._fit import AutoencoderConfig, Group, Mask, Part, Parts, fit_autoencoder, score_dies

FEWEST_LOTS = 20
MOST_FOLDS = 4
"""Further networks; with those lots that the model itself has not seen, a fifth of all at most are
left out of each."""
_DIES_FOR_UNIT = 8192


@dataclass(frozen=True, eq=False)
class LotDies:
    """Good dies of many lots.

    Attributes:
        schema: of the columns.
        dies: raw values, and int32 ``lot`` of each, 0 … n_lots − 1.
        held: what the model itself has not seen; its masks fit ``dies``.
        patterns: bool ``(n_patterns, n_tests)``, see ``Parts``.
    """

    schema: Schema
    dies: Part
    held: HoldOut
    patterns: Mask | None

    @property
    def lot(self) -> Group:
        """int32 ``(n_dies,)``."""
        assert self.dies.lot is not None
        return self.dies.lot

    @property
    def n_lots_judged(self) -> int:
        """Lots that some network is judged on: all."""
        return len(np.unique(self.lot))

    @property
    def can_cross_fit(self) -> bool:
        """Whether there are lots enough, held out as wholes."""
        calibration = np.unique(self.lot[self.held.calibration])
        is_whole = not np.isin(self.lot[~self.held.calibration], calibration).any()
        return is_whole and len(np.unique(self.lot)) >= FEWEST_LOTS


def cross_fit_thresholds(
    network: Network, lots: LotDies, config: AutoencoderConfig, *, progress: bool = False
) -> Network:
    """The network with operating points from all lots but those of its own validation.

    Raises:
        NotEnoughDataError, GateError: as of ``fit_autoencoder``.
    """
    head = network.screen.head
    config = replace(config, head=head.kind, k=head.k or config.k)
    held = lots.held
    unit = _unit(network, lots.dies.select(held.train))
    scores = [score_dies(network, lots.dies.select(held.calibration)).astype(np.float64)]
    lot = [lots.lot[held.calibration]]
    for fold in _folds(lots, config.recipe.seed):
        scores.append(unit * _relative_scores(lots, fold, config, progress=progress))
        lot.append(lots.lot[fold.calibration])
    points = fit_operating_points(
        np.concatenate(scores), config.operating_points, np.concatenate(lot)
    )
    return replace(network, screen=network.screen.with_operating_points(points))


def _folds(lots: LotDies, seed: int) -> Iterator[HoldOut]:
    """Splits like the model's own; together they hold each other lot out for calibration once."""
    rng = np.random.default_rng(seed)
    of_model = np.unique(lots.lot[lots.held.calibration])
    others = rng.permutation(np.setdiff1d(lots.lot, of_model))
    n_validation = int(lots.held.validation.sum())
    n_folds = min(MOST_FOLDS, max(2, round(len(others) / len(of_model))))
    for left_out in np.array_split(others, n_folds):
        seen = rng.permutation(np.concatenate([of_model, np.setdiff1d(others, left_out)]))
        n_dies = np.cumsum([(lots.lot == one).sum() for one in seen])
        n_lots = 1 + int(np.searchsorted(n_dies, n_validation))
        yield HoldOut(
            np.isin(lots.lot, seen[n_lots:]),
            np.isin(lots.lot, seen[:n_lots]),
            np.isin(lots.lot, left_out),
            how=f"{len(left_out)} lots left out of a network of its own",
        )


def _relative_scores(
    lots: LotDies, fold: HoldOut, config: AutoencoderConfig, *, progress: bool
) -> NDArray[np.float64]:
    """Scores of the dies left out, by a network that has not seen their lots, in its unit."""
    train = lots.dies.select(fold.train)
    unusable = unusable_tests(train.values)
    columns = np.array([c for c in range(lots.schema.n_tests) if c not in unusable])
    parts = Parts(
        train.of_tests(columns),
        lots.dies.select(fold.validation).of_tests(columns),
        lots.dies.select(fold.calibration).of_tests(columns),
        None if lots.patterns is None else lots.patterns[:, columns],
    )
    schema = lots.schema.select(columns)
    network = fit_autoencoder(parts, schema, config, progress=progress).network
    scores = score_dies(network, parts.calibration).astype(np.float64)
    return scores / _unit(network, parts.train)


def _unit(network: Network, train: Part) -> float:
    some = train.select(evenly_spaced(len(train), _DIES_FOR_UNIT))
    return float(np.nanmedian(score_dies(network, some)))
