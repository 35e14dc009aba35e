"""Thresholds from lots that networks of their own have not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from knowngood._network import Network
from knowngood_export import synthetic
from knowngood_export._cross_fit import LotDies, _folds, cross_fit_thresholds
from knowngood_export._fit import AutoencoderConfig, Part, Parts, fit_autoencoder, score_dies
from knowngood_export._training import TrainingRecipe
from knowngood_export.train_lots import LotTrainingConfig, train_on_lots
from knowngood_quantize.hold_out import HoldOut

CONFIG = AutoencoderConfig(hidden=(12,), latent=4, recipe=TrainingRecipe(epochs=2, seed=5))
N_TESTS, DIES_PER_LOT = 24, 60


def _lots(n_lots: int) -> LotDies:
    """Lots of Gaussian dies; the model itself has not seen lots 0 to 3, and stops by 4 and 5."""
    rng = np.random.default_rng(0)
    lot = np.repeat(np.arange(n_lots, dtype=np.int32), DIES_PER_LOT)
    mixed = rng.standard_normal((len(lot), 6)) @ rng.standard_normal((6, N_TESTS))
    values = (mixed + rng.standard_normal((len(lot), N_TESTS))).astype(np.float32)
    held = HoldOut(lot >= 6, (lot == 4) | (lot == 5), lot < 4, "")
    schema = synthetic.process(N_TESTS, seed=1).schema
    return LotDies(schema, Part(values, np.zeros(len(lot), np.int32), lot), held, None)


def test_every_lot_is_left_out_once_and_never_learnt_from() -> None:
    lots = _lots(20)
    folds = list(_folds(lots, seed=3))
    judged = lots.held.calibration.astype(int) + sum(f.calibration.astype(int) for f in folds)
    assert (judged == 1).all()
    assert len(folds) == 4
    for fold in folds:
        assert (fold.train.astype(int) + fold.validation + fold.calibration == 1).all()
        of_part = [set(lots.lot[m]) for m in (fold.train, fold.validation, fold.calibration)]
        assert sum(map(len, of_part)) == 20  # whole lots
        assert len(of_part[1]) == 2  # as many as stop the model itself


def test_lots_must_be_many_and_held_out_as_wholes() -> None:
    assert _lots(20).can_cross_fit
    assert not _lots(19).can_cross_fit
    lots = _lots(20)
    some = lots.held.calibration.copy()
    some[0] = False
    assert not replace(lots, held=replace(lots.held, calibration=some)).can_cross_fit


@pytest.fixture(scope="module")
def fitted() -> tuple[LotDies, Network, Network]:
    lots = _lots(20)
    dies, held = lots.dies, lots.held
    parts = Parts(
        dies.select(held.train), dies.select(held.validation), dies.select(held.calibration)
    )
    network = fit_autoencoder(parts, lots.schema, CONFIG).network
    return lots, network, cross_fit_thresholds(network, lots, CONFIG)


def test_thresholds_rest_on_all_lots_and_hold_on_new_dies(
    fitted: tuple[LotDies, Network, Network],
) -> None:
    lots, network, crossed = fitted
    points = crossed.screen.operating_points
    assert {p.n_dies for p in points} == {20 * DIES_PER_LOT}
    assert {p.n_dies for p in network.screen.operating_points} == {4 * DIES_PER_LOT}
    assert crossed.screen.head is network.screen.head
    unseen = score_dies(network, lots.dies.select(lots.held.calibration))
    five = next(p for p in points if p.fpr == 0.05)
    assert (unseen > five.threshold).mean() == pytest.approx(0.05, abs=0.04)


def test_scores_of_other_networks_are_told_in_the_models_unit(
    fitted: tuple[LotDies, Network, Network],
) -> None:
    """Thresholds scale with the model's own scores, though its calibration dies are a fifth."""
    lots, network, crossed = fitted
    head = network.screen.head
    louder = replace(head, residual_weight=np.float32(3) * head.residual_weight)
    screen = replace(network.screen, head=louder)
    scaled = cross_fit_thresholds(replace(network, screen=screen), lots, CONFIG)
    for p, q in zip(crossed.screen.operating_points, scaled.screen.operating_points, strict=True):
        assert q.threshold == pytest.approx(3 * p.threshold, rel=1e-4)


def test_training_on_twenty_lots_says_that_it_cross_fits() -> None:
    process = synthetic.process(N_TESTS, "loose", seed=2)
    lots = [
        synthetic.make_lot(process, n_wafers=1, dies_per_wafer=50, lot=f"L{i}", seed=2)
        for i in range(20)
    ]
    config = LotTrainingConfig(CONFIG, n_folds=0)
    crossed = train_on_lots(lots, config=config)
    plain = train_on_lots(lots, config=replace(config, cross_fit=False))
    assert any("cross-fitted" in note for note in crossed.provenance.notes)
    assert not any("cross-fitted" in note for note in plain.provenance.notes)
    n_dies = {m.network.screen.operating_points[0].n_dies for m in (crossed, plain)}
    assert max(n_dies) > 3 * min(n_dies)
    assert len(np.unique(plain.calibration.good_lot)) >= 3
    np.testing.assert_array_equal(crossed.network.layers[0].weight, plain.network.layers[0].weight)
