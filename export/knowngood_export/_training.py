"""Train an autoencoder on standardised good dies.

The loss is the mean over the tests present of a Huber function of the residual u − y, quadratic up
to one sigma, on dies cut at ±8 sigma, so that no heavy tail rules what is learnt. The learning rate
rises for a tenth of the steps and then follows a cosine down to zero; the weights with the least
held-out loss are kept, be they those before the first step: a network of ReLU pairs starts as the
PCA of its dies. The same seed and thread count give the same bits on one machine.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from knowngood._errors import GateError, UsageError
from knowngood._network import Dense
from knowngood_quantize.sampling import evenly_spaced

from ._architecture import Architecture, build_module, dense_layers
from ._corruption import Masking, Noise
from ._orthogonal_momentum import OrthogonalMomentum
from ._pca_start import can_start_as_pca, start_as_pca

CLIP_SIGMA = 8.0
HUBER_SIGMA = 1.0
STEPS = 1200
"""Optimiser steps that ``epochs=None`` aims at."""
FEWEST_EPOCHS, MOST_EPOCHS = 12, 300
FEWEST_STEPS_PER_EPOCH = 8
SMALLEST_BATCH = 16
WARM_UP = 0.1
LEARNING_RATE = 0.015
DIES_FOR_FULL_RATE = 5000
HELD_OUT_DIES = 4096
"""At most so many held-out dies are looked at after each epoch."""

TRAINING_STREAM, HELD_OUT_STREAM = 0, 1

LearningCurve = tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class TrainingRecipe:
    """How to train.

    Attributes:
        epochs: passes over the dies; None aims at 1,200 steps, within 12 to 300 epochs.
        batch_size: dies in a step; small sets use less, so that an epoch has eight steps.
        learning_rate: at its highest; None takes 0.015, and less for a network that starts as PCA
            where there are fewer than 5,000 dies: large steps would forget what it knows, and few
            dies cannot teach it again.
        weight_decay: the L2 pull on weights, decoupled: a factor 1 − rate · weight_decay a step.
        patience: epochs without a better held-out loss before training stops; None never stops.
        noise: for denoising training.
        seed: of weights, order, masks and noise.
        n_threads: of torch; None leaves torch's own number, which depends on the machine. Another
            number gives other last bits, and more than one gains little: these matrices are small,
            and threads that wait for each other on a busy machine cost several times as much.
    """

    epochs: int | None = None
    batch_size: int = 256
    learning_rate: float | None = None
    weight_decay: float = 0.0
    patience: int | None = None
    noise: Noise | None = None
    seed: int = 0
    n_threads: int | None = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "patience", "n_threads"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} must be above 0, found {value}")
        if self.seed < 0:
            raise UsageError(f"the seed must be 0 or more, found {self.seed}")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"weight decay must be 0 or more, found {self.weight_decay}")

    def rate_for(self, n_dies: int, *, starts_as_pca: bool) -> float:
        """The highest learning rate for ``n_dies``."""
        if self.learning_rate is not None:
            return self.learning_rate
        return LEARNING_RATE * (min(1.0, n_dies / DIES_FOR_FULL_RATE) if starts_as_pca else 1.0)

    def batch_for(self, n_dies: int) -> int:
        """Dies in a step when there are ``n_dies``."""
        return min(self.batch_size, max(SMALLEST_BATCH, n_dies // FEWEST_STEPS_PER_EPOCH), n_dies)

    def epochs_for(self, n_dies: int) -> int:
        """Passes over ``n_dies`` dies."""
        if self.epochs is not None:
            return self.epochs
        wanted = math.ceil(STEPS * self.batch_for(n_dies) / n_dies)
        return min(max(wanted, FEWEST_EPOCHS), MOST_EPOCHS)


class TrainedLayers(NamedTuple):
    """What training gives: float32 layers, and (epoch, training loss, held-out loss).

    Epoch 0 is the network before the first step.
    """

    layers: tuple[Dense, ...]
    learning_curve: LearningCurve


class _Dies(NamedTuple):
    """Standardised dies as tensors: u with missing tests 0, and which tests are present."""

    u: torch.Tensor
    present: torch.Tensor

    @classmethod
    def of(cls, u: NDArray[np.float32]) -> _Dies:
        present = ~np.isnan(u)
        clean = np.clip(np.where(present, u, np.float32(0)), -CLIP_SIGMA, CLIP_SIGMA)
        return cls(torch.from_numpy(clean), torch.from_numpy(present))

    def select(self, rows: torch.Tensor) -> _Dies:
        return _Dies(self.u[rows], self.present[rows])

    def masked(self, masking: Masking, rng: torch.Generator) -> _Dies:
        return _Dies(self.u, masking.apply(self.present, rng))


def train(
    u: NDArray[np.float32],
    held_out: NDArray[np.float32],
    architecture: Architecture,
    recipe: TrainingRecipe,
    *,
    patterns: NDArray[np.bool_] | None = None,
    progress: bool = False,
) -> TrainedLayers:
    """Train on ``u`` and keep the weights that do best on ``held_out``.

    Args:
        u: float32 ``(n_dies, n_tests)``, standardised good dies, NaN where a test is missing.
        held_out: the same for dies of other lots, wafers or blocks.
        architecture: the network.
        recipe: how to train it.
        patterns: bool ``(n_patterns, n_tests)``, True where a test is missing, as seen on the
            tester; None or no pattern with a missing test means that no tests are masked.
        progress: show a progress bar where standard error is a terminal.

    Raises:
        GateError: the loss is no longer finite.
    """
    dies, held = _Dies.of(u), _Dies.of(_spread(held_out, HELD_OUT_DIES))
    masking = Masking(torch.from_numpy(_with_missing(patterns, u.shape[1])))
    with _torch_state(recipe):
        module = build_module(u.shape[1], architecture)
        is_pca = can_start_as_pca(u.shape[1], architecture)
        if is_pca:
            start_as_pca(module, architecture, dies.u)
        rate = recipe.rate_for(len(u), starts_as_pca=is_pca)
        masked = held.masked(masking, _stream(recipe, HELD_OUT_STREAM))
        curve = _fit(_Steps(module, masking, recipe, rate, len(u)), dies, masked, progress)
    return TrainedLayers(dense_layers(module), curve)


def _stream(recipe: TrainingRecipe, number: int) -> torch.Generator:
    """Random streams that do not depend on each other."""
    return torch.Generator().manual_seed(recipe.seed * 2 + number)


def _spread(values: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most ``most`` rows, evenly spread."""
    if len(values) <= most:
        return values
    return values[evenly_spaced(len(values), most)]


def _with_missing(patterns: NDArray[np.bool_] | None, n_tests: int) -> NDArray[np.bool_]:
    if patterns is None:
        return np.zeros((0, n_tests), dtype=np.bool_)
    return patterns[patterns.any(axis=1) & ~patterns.all(axis=1)]


@contextmanager
def _torch_state(recipe: TrainingRecipe) -> Iterator[None]:
    """Seed torch and set its threads for a while; both are as before afterwards."""
    n_threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.n_threads or n_threads)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)


def _fit(steps: _Steps, dies: _Dies, held_out: _Dies, progress: bool) -> LearningCurve:
    """Train the module of ``steps``; it ends with its best weights."""
    module, recipe = steps.module, steps.recipe
    best = _evaluate(module, held_out)
    best_epoch, best_weights = 0, copy.deepcopy(module.state_dict())
    curve = [(0, _evaluate(module, dies.select(torch.arange(len(dies.u))[:HELD_OUT_DIES])), best)]
    with _progress_bar(steps.n_epochs, progress) as bar:
        for epoch in range(1, steps.n_epochs + 1):
            trained, held = steps.run_epoch(dies), _evaluate(module, held_out)
            _require_finite(trained, held, epoch, steps.highest_rate)
            curve.append((epoch, trained, held))
            if held < best:
                best, best_epoch, best_weights = held, epoch, copy.deepcopy(module.state_dict())
            bar.set_postfix(held_out=f"{held:.4f}", best=f"{best:.4f}")
            bar.update()
            if recipe.patience is not None and epoch - best_epoch >= recipe.patience:
                break
    module.load_state_dict(best_weights)
    module.eval()
    return tuple(curve)


class _Steps:
    """Module, optimiser, schedule and random streams over the whole of training."""

    def __init__(
        self,
        module: nn.Sequential,
        masking: Masking,
        recipe: TrainingRecipe,
        highest_rate: float,
        n_dies: int,
    ) -> None:
        self.module, self.recipe, self.highest_rate = module, recipe, highest_rate
        self.n_epochs = recipe.epochs_for(n_dies)
        self._masking, self._batch = masking, recipe.batch_for(n_dies)
        # whole batches only: a last small one would count its dies for more than the others
        self._n_batches = n_dies // self._batch
        self._n_steps, self._done = self.n_epochs * self._n_batches, 0
        self._rng = _stream(recipe, TRAINING_STREAM)
        self._optimiser = OrthogonalMomentum(module.parameters(), weight_decay=recipe.weight_decay)

    def run_epoch(self, dies: _Dies) -> float:
        """One pass in a new order; the mean training loss."""
        self.module.train()
        order = torch.randperm(len(dies.u), generator=self._rng)
        batches = order[: self._n_batches * self._batch].reshape(self._n_batches, self._batch)
        return sum(self._step(dies.select(rows)) for rows in batches) / self._n_batches

    def _step(self, dies: _Dies) -> float:
        batch = dies.masked(self._masking, self._rng)
        noise = self.recipe.noise
        shown = batch.u if noise is None else noise.apply(batch.u, self._rng)
        loss = _loss(self.module(shown * batch.present), batch)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimiser.step(self._learning_rate())
        self._done += 1
        return float(loss.detach())

    def _learning_rate(self) -> float:
        done = self._done / self._n_steps
        warm = min(1.0, (self._done + 1) / (WARM_UP * self._n_steps + 1))
        cosine = 0.5 * (1 + math.cos(math.pi * max(0.0, done - WARM_UP) / (1 - WARM_UP)))
        return self.highest_rate * warm * cosine


def _loss(y: torch.Tensor, dies: _Dies) -> torch.Tensor:
    """Mean over the tests present of (u − y)², linear beyond ``HUBER_SIGMA``."""
    huber = nn.functional.huber_loss(y, dies.u, reduction="none", delta=HUBER_SIGMA)
    return 2 * (huber * dies.present).sum() / dies.present.sum().clamp_min(1)


@torch.no_grad()
def _evaluate(module: nn.Sequential, dies: _Dies) -> float:
    module.eval()
    return float(_loss(module(dies.u * dies.present), dies))


def _require_finite(trained: float, held: float, epoch: int, rate: float) -> None:
    if not (math.isfinite(trained) and math.isfinite(held)):
        raise GateError(
            f"training diverged in epoch {epoch} (training loss {trained}, held-out loss {held}): "
            f"lower the learning rate, which is {rate:g}"
        )


def _progress_bar(n_epochs: int, progress: bool) -> tqdm[None]:
    hidden = not (progress and sys.stderr.isatty())
    return tqdm(total=n_epochs, desc="training", unit="epoch", disable=hidden)
