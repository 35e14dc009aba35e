"""Training: reproducible, robust, masked, stopped early."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from knowngood._errors import GateError, UsageError
from knowngood._network import Dense
from knowngood_export._architecture import Architecture
from knowngood_export._corruption import PEPPER_SIGMA, Masking, Noise
from knowngood_export._orthogonal_momentum import OrthogonalMomentum, orthogonalised
from knowngood_export._training import TrainingRecipe, train

N_TESTS = 30
SHAPE = Architecture((24, 16), 4)
QUICK = TrainingRecipe(epochs=20, batch_size=64, n_threads=1)


def curved_dies(n_dies: int, seed: int) -> NDArray[np.float32]:
    """Three factors; half of the tests follow them with curvature, which no PCA of 4 can."""
    factors = np.random.default_rng(seed).standard_normal((n_dies, 3))
    loadings = np.random.default_rng(99).standard_normal((3, N_TESTS)) / math.sqrt(3)
    h = factors @ loadings
    h[:, ::2] = h[:, ::2] ** 2 - 1
    noise = 0.05 * np.random.default_rng(seed + 1000).standard_normal(h.shape)
    return (h + noise).astype(np.float32)


def rebuild(layers: tuple[Dense, ...], u: NDArray[np.float32]) -> NDArray[np.float32]:
    for layer in layers:
        u = layer.activation.apply(u @ layer.weight.T + layer.bias).astype(np.float32)
    return u


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    u, held_out = curved_dies(400, 0), curved_dies(200, 1)
    recipe = TrainingRecipe(epochs=3, n_threads=1, seed=5, noise=Noise("gaussian", 0.1))
    shape = Architecture((24, 16), 4, dropout=0.1)
    patterns = np.random.default_rng(0).random((5, N_TESTS)) < 0.2
    torch.manual_seed(1)
    first = train(u, held_out, shape, recipe, patterns=patterns)
    torch.manual_seed(2)
    again = train(u, held_out, shape, recipe, patterns=patterns)
    other = train(
        u, held_out, shape, TrainingRecipe(epochs=3, n_threads=1, seed=6), patterns=patterns
    )
    assert first.learning_curve == again.learning_curve
    for a, b in zip(first.layers, again.layers, strict=True):
        assert a.weight.tobytes() == b.weight.tobytes()
        assert a.bias.tobytes() == b.bias.tobytes()
    assert first.learning_curve != other.learning_curve


def test_training_leaves_torchs_random_state_and_threads_as_they_were() -> None:
    state, n_threads = torch.get_rng_state(), torch.get_num_threads()
    recipe = TrainingRecipe(epochs=1, n_threads=n_threads + 1)
    train(curved_dies(64, 0), curved_dies(32, 1), SHAPE, recipe)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == n_threads


def test_training_learns_curvature_that_pca_cannot() -> None:
    u, held_out, fresh = curved_dies(3000, 0), curved_dies(500, 1), curved_dies(500, 2)
    trained = train(u, held_out, SHAPE, TrainingRecipe(batch_size=64, n_threads=1))
    residual = fresh - rebuild(trained.layers, fresh)
    _, _, axes = np.linalg.svd(u - u.mean(axis=0), full_matrices=False)
    centred = fresh - u.mean(axis=0)
    pca_residual = centred - centred @ axes[:4].T @ axes[:4]
    assert (residual**2).mean() < 0.5 * (pca_residual**2).mean()


def test_the_weights_kept_are_those_of_the_best_epoch() -> None:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((100, N_TESTS)).astype(np.float32)  # nothing to learn but these dies
    held_out = rng.standard_normal((200, N_TESTS)).astype(np.float32)
    trained = train(u, held_out, SHAPE, TrainingRecipe(epochs=60, learning_rate=0.015, n_threads=1))
    best = min(point[2] for point in trained.learning_curve)
    r = np.clip(held_out, -8, 8) - rebuild(trained.layers, np.clip(held_out, -8, 8))
    huber = np.where(np.abs(r) <= 1, r**2, 2 * np.abs(r) - 1).mean()
    assert huber <= best * (1 + 1e-5)
    assert trained.learning_curve[-1][2] > 1.02 * best


def test_patience_stops_the_training() -> None:
    u, held_out = curved_dies(60, 0), curved_dies(200, 1)
    patient = TrainingRecipe(epochs=200, patience=3, n_threads=1)
    curve = train(u, held_out, SHAPE, patient).learning_curve
    assert len(curve) < 200
    assert [epoch for epoch, _, _ in curve] == list(range(len(curve)))


def test_missing_tests_take_no_part_whatever_they_would_have_been() -> None:
    u, held_out = curved_dies(300, 0), curved_dies(100, 1)
    u[:, 7] = np.nan
    u[5], u[np.arange(0, 300, 3), 3] = np.nan, np.nan
    trained = train(u, held_out, SHAPE, QUICK)
    assert all(np.isfinite(point[1:]).all() for point in trained.learning_curve)
    assert all(np.isfinite(layer.weight).all() for layer in trained.layers)


def test_masks_make_good_dies_with_missing_tests_look_good() -> None:
    u, held_out, fresh = curved_dies(2000, 0), curved_dies(300, 1), curved_dies(500, 2)
    patterns = np.zeros((1, N_TESTS), dtype=np.bool_)
    patterns[0, 20:] = True
    recipe = TrainingRecipe(epochs=40, batch_size=64, n_threads=1)
    cut = np.where(patterns[0], np.float32(0), fresh)
    loss = [
        float(((fresh - rebuild(t.layers, cut))[:, :20] ** 2).mean())
        for t in (
            train(u, held_out, SHAPE, recipe),
            train(u, held_out, SHAPE, recipe, patterns=patterns),
        )
    ]
    assert loss[1] < 0.7 * loss[0]


def test_gross_outliers_do_not_rule_what_is_learnt() -> None:
    u, held_out, fresh = curved_dies(1000, 0), curved_dies(200, 1), curved_dies(500, 2)
    spoiled = u.copy()
    spoiled[::200, 4] = 1e6
    clean, robust = (
        ((fresh - rebuild(train(x, held_out, SHAPE, QUICK).layers, fresh)) ** 2).mean()
        for x in (u, spoiled)
    )
    assert robust < 1.5 * clean


def test_training_that_diverges_says_so() -> None:
    recipe = TrainingRecipe(epochs=3, learning_rate=1e30, n_threads=1)
    with pytest.raises(GateError, match="learning rate"):
        train(curved_dies(100, 0), curved_dies(50, 1), SHAPE, recipe)


@pytest.mark.parametrize("n_dies", [16, 100, 8_000, 40_000])
def test_the_budget_of_steps_fits_the_number_of_dies(n_dies: int) -> None:
    recipe = TrainingRecipe()
    batch, epochs = recipe.batch_for(n_dies), recipe.epochs_for(n_dies)
    assert 1 <= batch <= min(256, n_dies)
    assert 12 <= epochs <= 300
    assert n_dies // batch * epochs <= 2_500


@pytest.mark.parametrize(
    "arguments",
    [{"epochs": 0}, {"batch_size": -1}, {"learning_rate": 0.0}, {"weight_decay": -0.1}],
)
def test_a_recipe_that_makes_no_sense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments)).replace("_", ".")):
        TrainingRecipe(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "level"), [("gaussian", 0.0), ("masking", 1.0), ("salt", 0.1), ("masking", -0.1)]
)
def test_noise_that_makes_no_sense_is_refused(kind: str, level: float) -> None:
    with pytest.raises(UsageError, match="noise"):
        Noise(kind, level)  # type: ignore[arg-type]


def test_noise_is_of_the_size_asked_for() -> None:
    rng, u = torch.Generator().manual_seed(0), torch.ones(400, 100)
    gaussian = Noise("gaussian", 0.3).apply(u, rng) - u
    assert float(gaussian.std()) == pytest.approx(0.3, rel=0.02)
    masked = Noise("masking", 0.2).apply(u, rng)
    assert float((masked == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    peppered = Noise("salt_and_pepper", 0.2).apply(u, rng)
    for value in (-PEPPER_SIGMA, PEPPER_SIGMA):
        assert float((peppered == value).float().mean()) == pytest.approx(0.1, abs=0.01)


def test_masking_only_takes_tests_away() -> None:
    rng = torch.Generator().manual_seed(0)
    patterns = torch.zeros(2, 40, dtype=torch.bool)
    patterns[0, 30:] = patterns[1, ::4] = True
    present = torch.rand(500, 40, generator=rng) < 0.9
    masked = Masking(patterns).apply(present, rng)
    assert not (masked & ~present).any()
    changed = (masked != present).any(dim=1).float().mean()
    assert 0.2 < float(changed) <= 0.3


@pytest.mark.parametrize("shape", [(40, 17), (17, 40), (12, 12)])
def test_orthogonalised_keeps_directions_and_evens_out_sizes(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalised(matrix)
    inner = u.T @ result @ vh.T
    assert torch.allclose(inner, torch.diag(torch.diag(inner)), atol=1e-4)
    sizes = torch.diag(inner)
    large = s > 0.05 * s.norm()
    assert float(sizes[large].min()) > 0.6
    assert float(sizes.max()) < 1.3


def test_the_optimiser_decays_weights_but_not_biases() -> None:
    weight = torch.nn.Parameter(torch.ones(3, 2))
    bias = torch.nn.Parameter(torch.ones(3))
    optimiser = OrthogonalMomentum([weight, bias], weight_decay=0.5)
    weight.grad, bias.grad = torch.zeros(3, 2), torch.zeros(3)
    optimiser.step(0.1)
    assert torch.allclose(weight, torch.full((3, 2), 0.95))
    assert torch.equal(bias, torch.ones(3))
