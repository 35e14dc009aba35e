"""The NumPy forward pass against torch and against sums written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from knowngood._forward import forward, score_residual
from knowngood._network import (
    Activation,
    Dense,
    Head,
    HeadKind,
    LowRank,
    Network,
    Scaler,
    Screen,
)
from knowngood._schema import Schema
from knowngood._verdicts import UNSCORED_SCORE


def make_head(kind: HeadKind, n_tests: int, *, k: int = 0, min_present: int = 1) -> Head:
    rng = np.random.default_rng(3)
    gain = np.ones(n_tests + 1, dtype=np.float32) / max(k, 1)
    weight = np.ones(n_tests) if kind == "mse" else rng.uniform(0.5, 2, n_tests)
    return Head(
        kind,
        residual_weight=weight.astype(np.float32),
        expected_square=rng.uniform(0.5, 2, n_tests).astype(np.float32),
        present_gain=gain,
        present_offset=np.zeros_like(gain),
        min_present=min_present,
        k=k,
        low_rank=make_low_rank(n_tests) if kind == "mahalanobis" else None,
    )


def make_low_rank(n_tests: int) -> LowRank:
    rng = np.random.default_rng(4)
    project, subtract = rng.uniform(-0.5, 0.5, (2, 2, n_tests)).astype(np.float32)
    return LowRank(project, subtract.T.copy())


def make_network(activation: Activation, head: Head, n_tests: int = 6) -> Network:
    rng = np.random.default_rng(5)
    shapes = [(4, n_tests), (2, 4), (4, 2), (n_tests, 4)]
    layers = [
        Dense(
            rng.normal(size=s).astype(np.float32),
            rng.normal(size=s[0]).astype(np.float32),
            activation,
        )
        for s in shapes
    ]
    scaler = Scaler(
        np.array([-1, 7], dtype=np.int32),
        np.array([np.arange(n_tests), np.arange(n_tests) + 0.5]),
        np.array([np.full(n_tests, 2.0), np.full(n_tests, 4.0)]),
    )
    return Network(Screen(Schema.anonymous(n_tests), scaler, head), tuple(layers), latent_layer=1)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (Activation("linear"), torch.nn.Identity()),
        (Activation("relu"), torch.nn.ReLU()),
        (Activation("leaky_relu", 0.1), torch.nn.LeakyReLU(0.1)),
        (Activation("elu", 0.7), torch.nn.ELU(0.7)),
        (Activation("sigmoid"), torch.nn.Sigmoid()),
        (Activation("tanh"), torch.nn.Tanh()),
    ],
)
def test_reconstruction_and_mse_agree_with_torch(
    activation: Activation, function: torch.nn.Module
) -> None:
    head = make_head("mse", 6)
    network = make_network(activation, head)
    values = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    result = forward(network, values)
    u = torch.from_numpy((values - np.arange(6)) * 2.0)
    y = u
    for layer in network.layers:
        y = function(
            torch.nn.functional.linear(
                y, torch.from_numpy(layer.weight).double(), torch.from_numpy(layer.bias).double()
            )
        )
    np.testing.assert_allclose(result.reconstruction, y.numpy(), rtol=1e-6, atol=1e-6)
    expected = ((u.float() - y) ** 2).mean(dim=1).numpy()
    np.testing.assert_allclose(result.scores, expected, rtol=1e-6)


def test_each_die_uses_its_groups_scaler_and_unknown_groups_the_pooled_one() -> None:
    network = make_network(Activation("tanh"), make_head("mse", 6))
    values = np.full((3, 6), 2.5, dtype=np.float32)
    u = forward(network, values, np.array([7, -1, 99], dtype=np.int32)).standardised
    np.testing.assert_array_equal(u[0], (2.5 - (np.arange(6) + 0.5)) * 4)
    np.testing.assert_array_equal(u[1], (2.5 - np.arange(6)) * 2)
    np.testing.assert_array_equal(u[2], u[1])


def test_normalized_head_divides_by_what_the_present_tests_are_expected_to_give() -> None:
    head = make_head("normalized", 4)
    residual = np.array([[1, -2, 3, 4]], dtype=np.float32)
    present = np.array([[True, True, False, True]])
    w, e = head.residual_weight.astype(float), head.expected_square.astype(float)
    total = sum((residual[0, j] * w[j]) ** 2 for j in (0, 1, 3))
    expected = total * (sum(e) / 4) / (e[0] + e[1] + e[3])
    assert score_residual(head, residual, present)[0] == pytest.approx(expected, rel=1e-6)


def test_mahalanobis_takes_off_what_the_tests_share_before_it_squares() -> None:
    ones, zeros = np.ones(3, np.float32), np.zeros(4, np.float32)
    low_rank = LowRank(
        np.array([[0.5, 0.25, -1]], np.float32), np.array([[0.5], [2], [1]], np.float32)
    )
    head = Head(
        "mahalanobis", 2 * ones, np.array([1, 2, 3], np.float32), zeros, zeros, 1, 0, low_rank
    )
    residual = np.array([[1, 2, -1], [1, 2, 100]], np.float32)  # z = 2, 4, −2 and 2, 4, missing
    present = np.array([[True, True, True], [True, True, False]])
    complete = ((2 - 2) ** 2 + (4 - 8) ** 2 + (-2 - 4) ** 2) / 3  # shared: 1 + 1 + 2 = 4
    partial = ((2 - 1) ** 2 + (4 - 4) ** 2) * 2 / (1 + 2)  # shared: 2
    scores = score_residual(head, residual, present)
    np.testing.assert_allclose(scores, [complete, partial], rtol=1e-7)


def test_topk_takes_the_largest_present_residuals() -> None:
    head = make_head("topk", 4, k=2)
    w = head.residual_weight.astype(float)
    residual = np.array([[1, -2, 30, 4]], dtype=np.float32)
    present = np.array([[True, True, False, True]])
    magnitudes = sorted((abs(residual[0, j]) * w[j] for j in (0, 1, 3)), reverse=True)
    expected = sum(magnitudes[:2]) / 2
    assert score_residual(head, residual, present)[0] == pytest.approx(expected, rel=1e-6)


def test_topk_scales_and_shifts_by_the_tests_present() -> None:
    ones = np.ones(3, np.float32)
    gain = np.array([9, 0.75, 0.25, 0.5], np.float32)
    offset = np.array([9, 2, 1.5, 0], np.float32)
    head = Head("topk", np.array([1, 2, 4], np.float32), ones, gain, offset, min_present=1, k=2)
    residual = np.tile(np.array([3, -1, 0.5], np.float32), (4, 1))  # |z| = 3, 2, 2
    present = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]], np.bool_)
    scores = score_residual(head, residual, present)
    assert scores[:3].tolist() == [5 * 0.5, 5 * 0.25 + 1.5, 2 * 0.75 + 2]
    assert np.isnan(scores[3])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize("kind", ["mse", "normalized", "topk", "mahalanobis"])
def test_what_cannot_be_scored_is_the_quiet_nan(bad: float, kind: HeadKind) -> None:
    network = make_network(Activation("tanh"), make_head(kind, 6, k=2, min_present=6))
    values = np.zeros((2, 6), dtype=np.float32)
    values[0, 3] = bad
    scores = forward(network, values).scores
    assert scores[:1].view(np.uint32)[0] == UNSCORED_SCORE.view(np.uint32)
    assert np.isfinite(scores[1])
