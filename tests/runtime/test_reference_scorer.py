"""A scorer on the reference engine: the range of values, and what a score is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference_models import F32, HEADS, as_file, dies_of, point_at, sealed_from, unit_screen

from knowngood._network import Network
from knowngood._scorer import Scorer
from knowngood._verdicts import Reason
from knowngood.engines._reference import ReferenceEngine
from random_networks import make_network, without_layers


def scorer_of(network: Network) -> Scorer:
    file = as_file(sealed_from(network))
    return Scorer(file, ReferenceEngine.open(file), point_at(0.005))


def test_the_range_of_an_exact_file_ends_at_two_to_the_thirty():
    """A graph's ends a little earlier, as its reason does."""
    network = without_layers(make_network())
    screen = unit_screen(network.screen)
    scorer = scorer_of(replace(network, screen=screen))
    values = np.zeros((3, 12), F32)
    values[:, 4] = 2.0**30, np.nextafter(F32(2.0**30), F32(np.inf)), np.inf
    result = scorer.score(values)
    assert result.reasons.tolist() == [Reason.NONE, Reason.RANGE, Reason.NOT_FINITE]


def test_just_below_the_range_an_overflow_is_not_called_range():
    network = without_layers(make_network(head="mse"))
    screen = unit_screen(network.screen)
    head = replace(screen.head, residual_weight=np.full(12, 1e30, F32))
    scorer = scorer_of(replace(network, screen=replace(screen, head=head)))
    values = np.zeros((1, 12), F32)
    values[0, 4] = np.nextafter(F32(2.0**30), F32(0))
    assert scorer.score(values).reasons.tolist() == [Reason.NOT_FINITE]


@pytest.mark.parametrize("head", HEADS)
def test_contributions_are_of_the_residuals_that_make_the_score(head):
    network = make_network(head=head)
    values, _, _ = dies_of(network, 6)
    result = scorer_of(network).score(values)
    gains = network.screen.head.present_gain
    for die in range(6):
        n_present = int(np.count_nonzero(~np.isnan(values[die])))
        top = result.top_tests(die, k=12)
        assert len(top) == n_present
        z = np.array([c.z for c in top])
        assert (np.diff(np.abs(z)) <= 0).all()
        part = np.abs(z) * (np.arange(n_present) < 5) if head == "topk" else z * z
        assert [c.share for c in top] == pytest.approx((part / part.sum()).tolist(), rel=1e-12)
        score = float(result.scores[die])
        if head == "topk":
            offset = network.screen.head.present_offset[n_present]
            assert np.abs(z[:5]).sum() * gains[n_present] + offset == pytest.approx(score, rel=1e-6)
        elif n_present == 12:
            assert (z * z).mean() == pytest.approx(score, rel=1e-6)
