"""From good dies in three parts to a network with scaler, layers, head and operating points.

Weights and scaler are learnt from the training dies; validation dies stop the training and set the
score head; calibration dies, which neither has seen, set the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import forward
from knowngood._network import (
    DEFAULT_FPR,
    OPERATING_POINTS,
    HeadKind,
    Network,
    Screen,
)
from knowngood._schema import Schema
from knowngood_quantize.heads import MIN_HELD_OUT, fit_head, unfitted_head
from knowngood_quantize.injection import InjectedSet, limits_of, standard_defects
from knowngood_quantize.scaling import fit_scaler
from knowngood_quantize.thresholds import conformal_thresholds, fit_operating_points

from ._architecture import Architecture, HiddenActivation, default_hidden, default_latent
from ._training import LearningCurve, TrainingRecipe, train

Float32 = NDArray[np.float32]
Group = NDArray[np.int32]
Mask = NDArray[np.bool_]

HEADS: tuple[HeadKind, ...] = ("topk", "mahalanobis", "normalized", "mse")
"""What ``head="auto"`` chooses from; the first of equals wins."""
CHOICE_YIELD_LOSS = 0.02
DEFECTS_FOR_CHOICE = 500
DIES_PER_BLOCK = 4096


@dataclass(frozen=True)
class AutoencoderConfig:
    """What to train and how.

    Attributes:
        hidden: encoder widths before the code; None takes them from the number of tests.
        latent: width of the code; None takes it from the number of tests.
        activation: of the hidden layers.
        dropout: share of hidden activations set to 0 in training.
        head: score head; "auto" takes the one that detects most injected defects on validation
            dies.
        k: residuals that the topk head takes.
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
        if not 0 < self.fpr < 1:
            raise UsageError(f"the yield loss must lie between 0 and 1, found {self.fpr!r}")

    @property
    def operating_points(self) -> tuple[float, ...]:
        """Yield losses that get a threshold, ascending."""
        return tuple(sorted({*OPERATING_POINTS, self.fpr}))

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
    """

    values: Float32
    group: Group

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: Mask | NDArray[np.int64]) -> Part:
        """Some of the dies."""
        return Part(self.values[rows], self.group[rows])


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


class FittedAutoencoder(NamedTuple):
    """A network ready to export, and how its training went."""

    network: Network
    learning_curve: LearningCurve


def fit_autoencoder(
    parts: Parts, schema: Schema, config: AutoencoderConfig, *, progress: bool = False
) -> FittedAutoencoder:
    """Fit scaler, weights, head and thresholds.

    Raises:
        NotEnoughDataError: too few dies in a part, or a test that does not vary in training.
        GateError: training diverged.
    """
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
    network = _with_head(network, parts, config)
    return FittedAutoencoder(
        with_thresholds(network, parts.calibration, config), trained.learning_curve
    )


def _with_head(network: Network, parts: Parts, config: AutoencoderConfig) -> Network:
    kind = _strongest_head(network, parts, config) if config.head == "auto" else config.head
    return _with_head_of_kind(network, kind, parts.validation, parts.patterns, config)


def _strongest_head(network: Network, parts: Parts, config: AutoencoderConfig) -> HeadKind:
    """The kind that, fitted on half of the validation dies, finds most defects on the others.

    A head that learns more from its dies would look better on them than it is.
    """
    held, half = parts.validation, len(parts.validation) // 2
    fitted, judged = held, held
    if half >= MIN_HELD_OUT:
        fitted, judged = held.select(np.arange(half)), held.select(np.arange(half, len(held)))
    injected = inject_defects(judged, network.screen.schema, n_dies=DEFECTS_FOR_CHOICE)
    candidates = [_with_head_of_kind(network, k, fitted, parts.patterns, config) for k in HEADS]
    detected = [_detection(candidate, judged, injected) for candidate in candidates]
    return HEADS[int(np.argmax(detected))]


def _with_head_of_kind(
    network: Network,
    kind: HeadKind,
    held: Part,
    patterns: Mask | None,
    config: AutoencoderConfig,
) -> Network:
    head = fit_head(
        network, held.values, held.group, kind=kind, k=config.k, patterns=patterns,
        seed=config.recipe.seed,
    )  # fmt: skip
    return replace(network, screen=replace(network.screen, head=head))


def _detection(
    network: Network, good: Part, injected: tuple[tuple[InjectedSet, Part], ...]
) -> float:
    """Mean share of the defects found over the classes, at 2 % yield loss."""
    threshold = conformal_thresholds(score_dies(network, good), [CHOICE_YIELD_LOSS])[0]
    found = [float((score_dies(network, dies) > threshold).mean()) for _, dies in injected]
    return float(np.mean(found)) if found else 0.0


def with_thresholds(network: Network, calibration: Part, config: AutoencoderConfig) -> Network:
    """The network with thresholds at the config's operating points."""
    points = fit_operating_points(score_dies(network, calibration), config.operating_points)
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
