from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from knowngood._contributions import Residuals, explain
from knowngood._forward import forward
from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._network import POOLED_GROUP, Head, LowRank, Network
from knowngood._opening import open_scorer
from knowngood._scorer import Scorer
from knowngood._verdicts import Reason
from sealed_models import seal_up
from tiny_models import tiny_network, tiny_onnx


def scorer_of(network: Network) -> Scorer:
    return open_scorer(parse_model(tiny_onnx(network), "tiny.onnx"))


def by_hand(network: Network, values: np.ndarray, group=None) -> np.ndarray:
    """Signed z of each test, from the oracle's float64 pass; NaN where it is missing."""
    passed = forward(network, values, group)
    z = (passed.standardised - passed.reconstruction) * network.screen.head.residual_weight
    return np.where(passed.present, z, np.nan)


@pytest.mark.parametrize("head", ["topk", "mse", "normalized"])
def test_signed_sorted_and_shared_out(head):
    network = tiny_network(head=head)
    values = np.array([[9.0, -8.0, 3.0, 2.0, np.nan, 1.0]], dtype=np.float32)
    top = scorer_of(network).score(values).top_tests(0, k=6)
    z = by_hand(network, values)[0]
    order = [i for i in np.argsort(-np.abs(z)) if np.isfinite(z[i])]
    assert [c.test for c in top] == [network.screen.schema.tests[i] for i in order]
    np.testing.assert_allclose([c.z for c in top], z[order], rtol=1e-5)
    if head == "topk":
        expected = np.abs(z[order]) * (np.arange(5) < 3)
    else:
        expected = z[order] ** 2
    np.testing.assert_allclose([c.share for c in top], expected / expected.sum(), rtol=1e-5)
    assert sum(c.share for c in top) == pytest.approx(1)


def test_value_and_expected_value_are_in_the_tests_units():
    network = tiny_network(groups=(POOLED_GROUP, 256))
    values = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], dtype=np.float32)
    group = np.array([256], dtype=np.int32)
    y = forward(network, values, group).reconstruction[0]
    scaler = network.screen.scaler
    for contribution in scorer_of(network).score(values, group).top_tests(0, k=6):
        i = network.screen.schema.tests.index(contribution.test)
        assert contribution.value == values[0, i]
        assert contribution.expected == pytest.approx(
            scaler.centre[1, i] + y[i] / scaler.inv_scale[1, i], rel=1e-5
        )
        assert (contribution.z > 0) == (contribution.value > contribution.expected)


def test_ties_go_to_the_lower_index():
    base = tiny_network(head="mse")
    flat = Network(base.screen, ())  # no layers: y = 0, z = u
    u = np.array([[2.0, -3.0, 3.0, 2.0, -3.0, 0.5]], dtype=np.float32)
    values = (base.screen.scaler.centre[0] + u / base.screen.scaler.inv_scale[0]).astype(np.float32)
    residuals = Residuals.of(
        flat.screen, values, np.zeros(1, np.int32), np.zeros_like(values, dtype=np.float32)
    )
    exact = Residuals(residuals.values, residuals.rows, residuals.reconstruction, u, u != 0)
    assert exact.largest(0, 5).tolist() == [1, 2, 4, 0, 3]


def test_missing_tests_are_never_listed_and_k_may_be_any_size():
    scorer = scorer_of(tiny_network())
    values = np.array([[1.0, np.nan, 3.0, np.nan, 5.0, 6.0]], dtype=np.float32)
    result = scorer.score(values)
    assert {c.test.name for c in result.top_tests(0, k=99)} == {"T0", "T2", "T4", "T5"}
    assert len(result.top_tests(0, k=2)) == 2
    assert result.top_tests(0, k=0) == ()


SCORERS = {
    "onnx": lambda: scorer_of(tiny_network()),
    "kgd": lambda: open_scorer(
        parse_model(encode(seal_up(tiny_network())), "tiny.kgd"), precision="fp32"
    ),
}


@pytest.mark.parametrize("kind", SCORERS)
def test_a_die_with_too_few_tests_has_the_contributions_of_those_it_has(kind):
    network, scorer = tiny_network(), SCORERS[kind]()
    values = np.full((1, 6), np.nan, dtype=np.float32)
    values[0, [1, 4]] = 30.0, -30.0
    result = scorer.score(values)
    assert result.reasons.tolist() == [Reason.TOO_MANY_MISSING]
    z = by_hand(network, values)[0]
    order = sorted((1, 4), key=lambda i: -abs(z[i]))
    for top in (result.top_tests(0), scorer.explain(values)):
        assert [c.test for c in top] == [network.screen.schema.tests[i] for i in order]
        np.testing.assert_allclose([c.z for c in top], z[order], rtol=1e-5)
        assert sum(c.share for c in top) == pytest.approx(1)


@pytest.mark.parametrize("kind", SCORERS)
@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ([np.nan] * 6, Reason.NO_DATA),
        ([1.0, 2.0, 3.0, np.inf, 5.0, 6.0], Reason.NOT_FINITE),
        ([1.0, 2.0, 3.0, 3e38, 5.0, 6.0], Reason.RANGE),
        ([1.0, np.nan, np.nan, np.nan, np.nan, 3e38], Reason.TOO_MANY_MISSING),
    ],
)
def test_a_die_without_data_or_residuals_has_no_contributions(kind, odd, reason):
    scorer, values = SCORERS[kind](), np.array([odd], dtype=np.float32)
    result = scorer.score(values)
    assert result.reasons.tolist() == [reason]
    assert result.top_tests(0) == ()
    assert scorer.explain(values) == ()


def test_residuals_that_are_not_finite_are_no_contributions():
    screen = tiny_network().screen
    values = screen.scaler.centre[:1].astype(np.float32)
    reconstruction = np.zeros_like(values)
    reconstruction[0, 2] = np.inf
    residuals = Residuals.of(screen, values, np.zeros(1, np.int32), reconstruction)
    assert explain(screen, values[0], residuals.ranking(screen, 0, 6), k=6) == ()


def test_the_shifted_test_comes_first():
    network = tiny_network(n_tests=20)
    scaler = network.screen.scaler
    values = np.tile(scaler.centre[0], (1, 1)).astype(np.float32)
    values[0, 13] += 40 / scaler.inv_scale[0, 13]
    top = scorer_of(network).score(values).top_tests(0)
    assert top[0].test.name == "T13"
    assert top[0].z > 0


def test_mahalanobis_shares_out_what_is_left_of_the_residuals():
    base = tiny_network(n_tests=4, head="mse")
    low_rank = LowRank(np.full((1, 4), 0.5, np.float32), np.full((4, 1), 0.5, np.float32))
    ones, zeros = np.ones(4, np.float32), np.zeros(5, np.float32)
    head = Head("mahalanobis", ones, ones, zeros, zeros, 1, 0, low_rank)
    screen = replace(base.screen, head=head)
    u = np.array([[3.0, 3.0, 3.0, -1.0]])
    values = screen.scaler.centre[:1] + u / screen.scaler.inv_scale[:1]
    rows = np.zeros(1, np.int32)
    residuals = Residuals.of(screen, values.astype(np.float32), rows, np.zeros((1, 4), np.float32))
    top = explain(screen, residuals.values[0], residuals.ranking(screen, 0, 4), k=4)
    assert top[0].test == screen.schema.tests[3]  # the one that does not go with the others
    np.testing.assert_allclose([c.z for c in top], [-3, 1, 1, 1], rtol=1e-5)
    np.testing.assert_allclose([c.share for c in top], np.array([9, 1, 1, 1]) / 12, rtol=1e-5)
