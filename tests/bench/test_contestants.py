"""Every contestant answers what the float64 oracle says, and one that does not is found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from benchmarks._accuracy import REFERENCE, measure_accuracy
from benchmarks._cases import ScoreErrors
from benchmarks._contestants import NumPyForward
from benchmarks._run import wrong_answers
from benchmarks._torch_eager import TorchEager
from knowngood._forward import forward
from knowngood._lot import Dies, Lot
from knowngood._network import Network, OperatingPoint
from knowngood_export.comparison import FreshDies
from knowngood_quantize.injection import InjectedSet
from random_networks import ACTIVATIONS, make_dies, make_network

STRICT = ScoreErrors(1e-6, 1e-4, 1e-4)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network_with_threshold(share: float = 0.3, **options) -> Network:
    network = make_network(**options)
    scores = forward(network, make_dies(network, 400)[0]).scores
    threshold = float(np.float32(np.nanquantile(scores, 1 - share)))
    point = OperatingPoint(0.005, threshold, threshold, threshold, 400, True)
    screen = network.screen.with_operating_points([point])
    return Network(screen, network.layers, network.latent_layer, network.detector)


def fresh_of(network: Network) -> FreshDies:
    values, _ = make_dies(network, 400)
    defective = values[:100].copy()
    defective[:, 0] += 8 / network.screen.scaler.inv_scale[0, 0]
    dies = Dies.concatenate([Dies.anonymous(n, lot=str(n)) for n in (40, 60, 300)])
    lot = Lot(values, network.screen.schema, dies)
    return FreshDies(lot, (InjectedSet("spike", defective, np.arange(100), 0),))


class Biased(NumPyForward):
    """Scores a share too high, or gives none for the first die."""

    name = "biased fp32"

    def __init__(self, network: Network, factor: float, *, skip_first: bool = False) -> None:
        super().__init__(network)
        self._factor, self._skip_first = np.float32(factor), skip_first

    def score(self, values):
        scores = super().score(values) * self._factor
        if self._skip_first:
            scores[0] = np.nan
        return scores


@pytest.mark.parametrize("head", ["topk", "normalized", "mse", "mahalanobis"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_torch_scores_like_the_oracle(activation, head):
    network = network_with_threshold(activation=activation, head=head, centre_over_sigma=1e4)
    values, _ = make_dies(network, 60, missing=0.3)
    values[3], values[4, 1] = np.nan, np.inf
    expected = forward(network, values).scores
    assert np.isnan(expected).any()
    assert np.isfinite(expected).any()
    assert_allclose(TorchEager(network).score(values), expected, rtol=1e-5)


def test_right_answers_have_no_flips_and_no_complaint():
    network = network_with_threshold()
    contestants = [TorchEager(network), NumPyForward(network)]
    accuracy = measure_accuracy(network, [], contestants, fresh_of(network))
    assert [a.detector for a in accuracy] == [REFERENCE, "torch fp32", "numpy fp32"]
    assert not wrong_answers(accuracy, {"fp32": STRICT})
    for a in accuracy[1:]:
        assert (a.points[0].flips_good, a.points[0].flips_defective) == (0, 0)


def test_a_biased_contestant_is_found_out_and_its_flips_are_counted():
    network = network_with_threshold()
    fresh = fresh_of(network)
    accuracy = measure_accuracy(network, [], [Biased(network, 1.1)], fresh)
    biased = accuracy[1]
    assert biased.bias == pytest.approx(0.1, rel=1e-3)
    assert biased.errors is not None
    assert biased.errors.good_median == pytest.approx(0.1, rel=1e-3)
    threshold = network.screen.operating_point(0.005).threshold
    scores = forward(network, fresh.good.values).scores.astype(np.float64)
    n_flips = int(((scores <= threshold) & (scores * 1.1 > threshold)).sum())
    assert n_flips > 3
    assert biased.points[0].flips_good == pytest.approx(1e4 * n_flips / 400)
    assert biased.points[0].yield_loss == pytest.approx((scores * 1.1 > threshold).mean())
    first, second, third = np.split(scores * 1.1 > threshold, [40, 100])
    shares = sorted(float(rejected.mean()) for rejected in (first, second, third))
    assert shares[0] < shares[1] < shares[2]
    assert biased.points[0].median_lot == pytest.approx(shares[1])
    assert len(wrong_answers(accuracy, {"fp32": STRICT})) == 3


def test_a_die_that_only_one_of_the_two_scores_is_a_wrong_answer():
    network = network_with_threshold()
    skipping = Biased(network, 1.0, skip_first=True)
    accuracy = measure_accuracy(network, [], [skipping], fresh_of(network))
    assert len(wrong_answers(accuracy, {"fp32": STRICT})) == 3


def test_a_baseline_has_detection_but_no_drift():
    network = network_with_threshold()
    pat = Network(network.screen, (), None, "pat")
    accuracy = measure_accuracy(network, [pat], [], fresh_of(network))
    assert accuracy[1].detector == "pat"
    assert accuracy[1].errors is None
    assert accuracy[1].points[0].flips_good is None
    assert set(accuracy[1].points[0].detection) == {"spike"}
