"""Recipes compared by measured flips: what is counted, and which recipe wins."""

from __future__ import annotations

import numpy as np
import pytest

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import forward, score_residual
from knowngood._network import Network
from knowngood_quantize import (
    Int8Recipe,
    limits_of,
    quantize,
    quantize_measured,
    simulate,
    standard_defects,
)
from knowngood_quantize.int8_trials import SEED, WINDOW, Trial
from random_networks import make_network

COARSE = Int8Recipe(per_channel=False, rounding="nearest")


def _network_and_dies() -> tuple[Network, np.ndarray]:
    network = make_network((24, 16, 6, 16, 24), head="mse", centre_over_sigma=1.0)
    for layer in network.layers:  # channels of unequal size, which one scale per matrix spoils
        layer.weight[:] *= np.geomspace(0.1, 3, len(layer.weight), dtype=np.float32)[:, None]
    rng, scaler = np.random.default_rng(4), network.screen.scaler
    u = rng.standard_normal((1500, 5)) @ rng.standard_normal((5, 24)) / 2
    u += 0.2 * rng.standard_normal(u.shape)
    return network, (scaler.centre[0] + u / scaler.inv_scale[0]).astype(np.float32)


def test_the_recipe_that_changes_fewest_verdicts_wins_and_gets_all_dies() -> None:
    network, values = _network_and_dies()
    for recipes in ((COARSE, Int8Recipe()), (Int8Recipe(), COARSE)):
        int8, trials = quantize_measured(network, values, None, recipes)
        assert tuple(t.recipe for t in trials) == recipes
        by_recipe = {t.recipe: t for t in trials}
        best, coarse = by_recipe[Int8Recipe()], by_recipe[COARSE]
        assert best.flips_good < 0.7 * coarse.flips_good
        assert best.flips_defective < 0.7 * coarse.flips_defective
        expected = quantize(network, values)
        for found, layer in zip(int8.layers, expected.layers, strict=True):
            np.testing.assert_array_equal(found.weight, layer.weight)


def test_flips_are_counted_one_by_one_on_dies_that_did_not_round() -> None:
    network, values = _network_and_dies()
    (trial,) = quantize_measured(network, values, None, (COARSE,))[1]
    int8, judges = quantize(network, values[:1000], None, COARSE), values[1000:]
    sets = standard_defects(judges, limits=limits_of(network.screen.schema), seed=SEED)
    threshold = np.quantile(forward(network, judges).scores, 1 - 10 / 500)

    def flips(dies: np.ndarray) -> float:
        exact = forward(network, dies)
        residual = exact.standardised - simulate(int8, exact.standardised)
        found = score_residual(network.screen.head, residual, exact.present)
        per_threshold = [
            sum((a > t) != (b > t) for a, b in zip(exact.scores, found, strict=True))
            for t in threshold * WINDOW
        ]
        return 1e4 * float(np.mean(per_threshold)) / len(dies)

    assert trial.flips_good == pytest.approx(flips(judges), rel=1e-3)
    defective = np.concatenate([s.values for s in sets])
    assert trial.flips_defective == pytest.approx(flips(defective), rel=1e-3)


def test_good_and_defective_dies_count_alike() -> None:
    reference = Trial(Int8Recipe(), 3.0, 30.0, 0.0)
    assert reference.cost(reference) == 2
    assert Trial(COARSE, 1.0, 30.0, 0.0).cost(reference) == pytest.approx(1.5)
    assert Trial(COARSE, 3.0, 61.0, 0.0).cost(reference) == pytest.approx(3.0)


def test_too_few_dies_and_no_recipe() -> None:
    network, values = _network_and_dies()
    with pytest.raises(NotEnoughDataError, match="30 good dies, found 27"):
        quantize_measured(network, values[:27])
    with pytest.raises(UsageError, match="found none"):
        quantize_measured(network, values, None, ())
