"""From good dies in three parts to a network with scaler, layers, head and operating points.

Weights and scaler are learnt from the training dies; validation dies stop the training and set the
score head; calibration dies, which neither has seen, set the thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import forward
from knowngood._manifest import HeadChoice
from knowngood._network import (
    DEFAULT_FPR,
    OPERATING_POINTS,
    HeadKind,
    Network,
    Screen,
)
from knowngood._schema import Schema
from knowngood_quantize.head_choice import HeldOut, choose_head, fit_known_head
from knowngood_quantize.heads import MIN_HELD_OUT, HeadCandidate, TrainingDies, unfitted_head
from knowngood_quantize.injection import InjectedSet, limits_of, standard_defects
from knowngood_quantize.scaling import fit_scaler
from knowngood_quantize.thresholds import fit_operating_points

from ._architecture import Architecture, HiddenActivation, default_hidden, default_latent
from ._training import LearningCurve, TrainingRecipe, train
from .baselines import MIN_TRAINING_DIES, Validation, fit_baselines

Float32 = NDArray[np.float32]
Group = NDArray[np.int32]
Mask = NDArray[np.bool_]

HEADS: tuple[HeadKind, ...] = get_args(HeadKind)
DIES_PER_BLOCK = 4096


@dataclass(frozen=True)
class AutoencoderConfig:
    """What to train and how.

    Attributes:
        hidden: encoder widths before the code; None takes them from the number of tests.
        latent: width of the code; None takes it from the number of tests.
        activation: of the hidden layers.
        dropout: share of hidden activations set to 0 in training.
        head: score head; "auto" compares all on validation dies, see
            ``knowngood_quantize.head_choice``.
        k: residuals that the topk head takes; "auto" chooses its own.
        site_groups: a scaler per group (head and site) instead of one for all dies.
        fpr: default yield loss of the model, an operating point beside the standard ones.
        recipe: how the weights are learnt.
    """

    hidden: tuple[int, ...] | None = None
    latent: int | None = None
    activation: HiddenActivation = "relu"
    dropout: float = 0.0
    head: HeadKind | Literal["auto"] = "topk"
    k: int = 5
    site_groups: bool = False
    fpr: float = DEFAULT_FPR
    recipe: TrainingRecipe = field(default_factory=TrainingRecipe)

    def __post_init__(self) -> None:
        if self.head not in (*HEADS, "auto"):
            raise UsageError(f"head must be one of {', '.join(HEADS)} or auto, found {self.head!r}")
        if self.k < 1:
            raise UsageError(f"topk takes at least one residual, found k = {self.k}")
        if not 0 < self.fpr < 1:
            raise UsageError(f"the yield loss must lie between 0 and 1, found {self.fpr!r}")

    @property
    def operating_points(self) -> tuple[float, ...]:
        """Yield losses that get a threshold, ascending."""
        return tuple(sorted({*OPERATING_POINTS, self.fpr}))

    def with_head(self, choice: HeadChoice) -> AutoencoderConfig:
        """The same with the head that was chosen, which is not chosen again."""
        if self.head != "auto":
            return self
        kind = next(head for head in HEADS if head == choice.kind)
        return replace(self, head=kind, k=choice.k or self.k)

    def architecture(self, n_tests: int) -> Architecture:
        """The network for ``n_tests`` tests."""
        latent = default_latent(n_tests) if self.latent is None else self.latent
        hidden = default_hidden(n_tests, latent) if self.hidden is None else self.hidden
        return Architecture(tuple(hidden), latent, self.activation, self.dropout)


@dataclass(frozen=True, eq=False)
class Part:
    """Some good dies in raw units.

    Attributes:
        values: float32 ``(n_dies, n_tests)``, NaN where a test is missing.
        group: int32 ``(n_dies,)``, head and site of each die.
        lot: int32 ``(n_dies,)``, which dies are of one lot, or of one wafer where few lots are
            known; None where nothing is.
    """

    values: Float32
    group: Group
    lot: Group | None = None

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: Mask | NDArray[np.int64]) -> Part:
        """Some of the dies."""
        return Part(
            self.values[rows], self.group[rows], None if self.lot is None else self.lot[rows]
        )

    def of_tests(self, columns: NDArray[np.int64]) -> Part:
        """Some of the tests."""
        return replace(self, values=self.values[:, columns])


@dataclass(frozen=True, eq=False)
class Parts:
    """Good dies, split; and what is missing together on any die of the lots.

    Attributes:
        train, validation, calibration: see the module.
        patterns: bool ``(n_patterns, n_tests)``, True where a test is missing; None if unknown.
    """

    train: Part
    validation: Part
    calibration: Part
    patterns: Mask | None = None

    def require_enough(self) -> None:
        """Raise ``NotEnoughDataError`` if the held-out dies are too few for head or thresholds."""
        n_held = min(len(self.validation), len(self.calibration))
        if n_held < MIN_HELD_OUT:
            n_good = len(self.train) + len(self.validation) + len(self.calibration)
            raise NotEnoughDataError(
                f"{n_good} good dies leave {len(self.validation)} for the score head and "
                f"{len(self.calibration)} for the thresholds, where each needs {MIN_HELD_OUT}: "
                "give more dies (some 200 at the very least, thousands for thresholds worth having)"
            )


class Learned(NamedTuple):
    """Scaler and layers, the head still to be fitted, and how training went."""

    network: Network
    learning_curve: LearningCurve


class FittedAutoencoder(NamedTuple):
    """A network ready to export, how its training went, and how its head came to be."""

    network: Network
    learning_curve: LearningCurve
    head_choice: HeadChoice


def fit_autoencoder(
    parts: Parts, schema: Schema, config: AutoencoderConfig, *, progress: bool = False
) -> FittedAutoencoder:
    """Fit scaler, weights, head and thresholds.

    Raises:
        NotEnoughDataError: too few dies in a part, or a test that does not vary in training.
        GateError: training diverged.
    """
    learned = learn_layers(parts, schema, config, progress=progress)
    compare = config.head == "auto" and len(parts.train) >= MIN_TRAINING_DIES
    classical = fit_classical(learned.network, parts) if compare else ()
    return with_head(learned, parts, config, classical)


def learn_layers(
    parts: Parts, schema: Schema, config: AutoencoderConfig, *, progress: bool = False
) -> Learned:
    """Scaler and weights, from training and validation dies; errors as of ``fit_autoencoder``."""
    scaler = fit_scaler(parts.train.values, parts.train.group if config.site_groups else None)
    architecture = config.architecture(schema.n_tests)
    u, held_out = (
        scaler.standardise(p.values, scaler.rows(p.group, len(p)))
        for p in (parts.train, parts.validation)
    )
    trained = train(
        u, held_out, architecture, config.recipe, patterns=parts.patterns, progress=progress
    )
    screen = Screen(schema, scaler, unfitted_head(schema.n_tests), default_fpr=config.fpr)
    network = Network(screen, trained.layers, architecture.latent_layer)
    return Learned(network, trained.learning_curve)


def fit_classical(network: Network, parts: Parts) -> tuple[Network, ...]:
    """PAT, T² and the PCA residual on the dies and with the scaler of a network."""
    train, held, screen = parts.train, parts.validation, network.screen
    validation = Validation(held.values, held.group, parts.patterns)
    return fit_baselines(
        train.values, train.group, screen.scaler, screen.schema, validation=validation
    )


def with_head(
    learned: Learned, parts: Parts, config: AutoencoderConfig, classical: Sequence[Network]
) -> FittedAutoencoder:
    """The head asked for, or with "auto" the best of all beside the classical screens."""
    held = held_out_of(parts)
    if config.head == "auto":
        head, choice = choose_head(
            learned.network, held, fpr=config.fpr, classical=classical, seed=config.recipe.seed
        )
    else:
        candidate = HeadCandidate(config.head, config.k if config.head == "topk" else 0)
        head, choice = fit_known_head(learned.network, held, candidate, seed=config.recipe.seed)
    network = replace(learned.network, screen=replace(learned.network.screen, head=head))
    return FittedAutoencoder(
        with_thresholds(network, parts.calibration, config), learned.learning_curve, choice
    )


def held_out_of(parts: Parts) -> HeldOut:
    """What a head is learnt from."""
    training = TrainingDies(parts.train.values, parts.train.group)
    return HeldOut(parts.validation.values, parts.validation.group, parts.patterns, training)


def with_thresholds(network: Network, calibration: Part, config: AutoencoderConfig) -> Network:
    """The network with thresholds at the config's operating points."""
    scores = score_dies(network, calibration)
    points = fit_operating_points(scores, config.operating_points, calibration.lot)
    screen = replace(network.screen, default_fpr=config.fpr).with_operating_points(points)
    return replace(network, screen=screen)


def score_dies(
    network: Network, dies: Part, *, dtype: type[np.floating[Any]] = np.float64
) -> Float32:
    """Scores float32 ``(n_dies,)`` in the arithmetic of ``dtype``, NaN where there is none."""
    blocks = (slice(at, at + DIES_PER_BLOCK) for at in range(0, len(dies), DIES_PER_BLOCK))
    scores = [forward(network, dies.values[b], dies.group[b], dtype=dtype).scores for b in blocks]
    return np.concatenate([np.empty(0, dtype=np.float32), *scores])


def inject_defects(
    good: Part, schema: Schema, *, reference: Part | None = None, n_dies: int = 2000, seed: int = 0
) -> tuple[tuple[InjectedSet, Part], ...]:
    """The standard defects, each class with its dies; classes that do not fit are left out."""
    sets = standard_defects(
        good.values,
        limits=limits_of(schema),
        groups=good.group,
        reference=None if reference is None else reference.values,
        n_dies=n_dies,
        seed=seed,
    )
    return tuple((s, Part(s.values, good.group[s.source_rows])) for s in sets if len(s))
