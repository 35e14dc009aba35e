"""What a model is, apart from any file format: scaler, layers, score head, operating points.

values (n_dies, n_tests) ─ Scaler ─▶ u ─ layers ─▶ y ─ Head(u − y) ─▶ score ─ threshold ─▶ verdict

`Screen` is everything except the layers: with it a score becomes a verdict with reasons and
contributions. `Network` adds the float32 layers, `QuantizedNetwork` their int8 form.
The classical baselines are networks too: PAT has no layers (y = 0), the PCA residual has two
linear ones, Hotelling's T² one (y = u − W·u with W the whitening matrix).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._errors import OperatingPointError, UsageError
from ._schema import Schema

FloatArray = NDArray[np.floating[Any]]
ActivationKind = Literal["linear", "relu", "leaky_relu", "elu", "sigmoid", "tanh"]
HeadKind = Literal["mse", "normalized", "topk", "mahalanobis"]
POOLED_GROUP = -1
"""Row 0 of every scaler: the scaler of all groups together, used for unknown groups."""
OPERATING_POINTS = (0.0005, 0.001, 0.005, 0.01, 0.02, 0.05)
DEFAULT_FPR = 0.005
MIN_EXCEEDANCES = 10
"""A threshold with fewer expected exceedances among the calibration dies is unsupported."""
MAX_STANDARDISED = 2.0**30
"""|u| above this makes a die UNSCORED (range)."""


@dataclass(frozen=True)
class Activation:
    """An activation function; ``alpha`` is the slope of leaky_relu and the scale of elu."""

    kind: ActivationKind = "linear"
    alpha: float = 0.0

    @property
    def is_positive(self) -> bool:
        """Whether its results are never negative."""
        return self.kind in ("relu", "sigmoid")

    def apply(self, x: FloatArray) -> FloatArray:
        """The function of every element, in the precision of ``x``."""
        alpha = x.dtype.type(self.alpha)
        result: FloatArray
        match self.kind:
            case "linear":
                result = x
            case "relu":
                result = np.maximum(x, 0)
            case "leaky_relu":
                result = np.where(x > 0, x, alpha * x)
            case "elu":
                result = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
            case "sigmoid":
                result = 1 / (1 + np.exp(-np.clip(x, -80, 80)))
            case "tanh":
                result = np.tanh(x)
        return result


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: ``activation(x @ weight.T + bias)``.

    Attributes:
        weight: float32 ``(n_out, n_in)``.
        bias: float32 ``(n_out,)``.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Activation = Activation()


@dataclass(frozen=True)
class Scaler:
    """Robust standardisation, per group: ``u = float32((double(x) − centre) · inv_scale)``.

    Attributes:
        groups: int32 ``(n_groups,)``; entry 0 is ``POOLED_GROUP``.
        centre: float64 ``(n_groups, n_tests)`` in each test's units.
        inv_scale: float64 ``(n_groups, n_tests)``, 1 / robust sigma.
    """

    groups: NDArray[np.int32]
    centre: NDArray[np.float64]
    inv_scale: NDArray[np.float64]

    def rows(self, group: NDArray[np.int32] | None, n_dies: int) -> NDArray[np.int32]:
        """The row of each die's group, int32 ``(n_dies,)``; 0 (pooled) for unknown groups."""
        if group is None or len(self.groups) == 1:
            return np.zeros(n_dies, dtype=np.int32)
        order = np.argsort(self.groups)
        place = np.minimum(np.searchsorted(self.groups, group, sorter=order), len(order) - 1)
        found = order[place]
        return np.where(self.groups[found] == group, found, 0).astype(np.int32)

    def standardise(
        self, values: NDArray[np.float32], rows: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """u, float32 ``(n_dies, n_tests)``; NaN where the test is missing."""
        centre, inv_scale = self.centre[rows], self.inv_scale[rows]
        if len(self.groups) == 1:
            centre, inv_scale = self.centre[0], self.inv_scale[0]
        with np.errstate(over="ignore", invalid="ignore"):
            return ((values.astype(np.float64) - centre) * inv_scale).astype(np.float32)


@dataclass(frozen=True, eq=False)
class LowRank:
    """The few directions that residuals of good dies share, and how they are taken off.

    z′ = z − subtract · (project · z) is the residual whitened: Σ z′² is its squared Mahalanobis
    distance under a covariance of low rank plus diagonal.

    Attributes:
        project: float32 ``(rank, n_tests)``.
        subtract: float32 ``(n_tests, rank)``.
    """

    project: NDArray[np.float32]
    subtract: NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """How the residual of the tests present becomes one score.

    With z = (u − y) · residual_weight, and z = 0 where a test is missing; for ``mahalanobis`` z is
    whitened by ``low_rank`` first, and again 0 where a test is missing:

    ``mse``, ``normalized``, ``mahalanobis``: Σ z² · mean(expected_square) / Σ expected_square of
    the tests present.
    ``topk``: (sum of the min(k, m) largest |z|) · present_gain[m] + present_offset[m], with m the
    tests present.

    So a score means the same whatever is missing. Fewer than ``min_present`` tests give no score.

    Attributes:
        residual_weight: float32 ``(n_tests,)``; 1 for mse, 1 / σ_r otherwise.
        expected_square: float32 ``(n_tests,)``, E[z²] on held-out good dies.
        present_gain: float32 ``(n_tests + 1,)``; used by topk, entry n_tests is 1 / k.
        present_offset: float32 ``(n_tests + 1,)``, 0 or more; used by topk, entry n_tests is 0.
        k: how many residuals topk takes; 0 for the other heads.
        low_rank: of mahalanobis, None for the other heads.
    """

    kind: HeadKind
    residual_weight: NDArray[np.float32]
    expected_square: NDArray[np.float32]
    present_gain: NDArray[np.float32]
    present_offset: NDArray[np.float32]
    min_present: int
    k: int = 0
    low_rank: LowRank | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold at a nominal yield loss, with what its calibration dies can say about it.

    Attributes:
        fpr: nominal share of good dies that are rejected.
        threshold: representable in float32; a die passes if its score is ≤ this.
        low, high: 95 % sampling interval of the threshold.
        n_dies: held-out good dies that it was fitted on.
        supported: at least ``MIN_EXCEEDANCES`` of them are expected above it, where lots that
            differ have moved it too.
    """

    fpr: float
    threshold: float
    low: float
    high: float
    n_dies: int
    supported: bool


@dataclass(frozen=True)
class Screen:
    """All that turns a residual into an explained verdict: everything but the layers."""

    schema: Schema
    scaler: Scaler
    head: Head
    operating_points: tuple[OperatingPoint, ...] = ()
    default_fpr: float = DEFAULT_FPR

    def operating_point(self, fpr: float, *, extrapolate: bool = False) -> OperatingPoint:
        """The operating point at ``fpr``.

        Raises:
            OperatingPointError: it is not in the file, or unsupported and not ``extrapolate``.
        """
        for point in self.operating_points:
            if math.isclose(point.fpr, fpr, rel_tol=1e-6):
                return _supported(point, extrapolate)
        listed = ", ".join(f"{p.fpr:.2%}" for p in self.operating_points) or "none"
        raise OperatingPointError(
            f"the model has no operating point at a yield loss of {fpr:.4%}; it lists {listed}."
        )

    def with_operating_points(self, points: Iterable[OperatingPoint]) -> Screen:
        """The same screen with other thresholds: each exported form has its own."""
        return replace(self, operating_points=tuple(points))


def _supported(point: OperatingPoint, extrapolate: bool) -> OperatingPoint:
    if point.supported or extrapolate:
        return point
    raise OperatingPointError(
        f"the threshold at a yield loss of {point.fpr:.2%} rests on {point.n_dies} good dies, of "
        f"which fewer than {MIN_EXCEEDANCES} are expected above it. "
        "Train with more dies and lots, choose a larger yield loss, or ask for extrapolation "
        "(extrapolate=True, --extrapolate)."
    )


@dataclass(frozen=True)
class Network:
    """A detector with float32 layers.

    Attributes:
        screen: schema, scaler, head and thresholds.
        layers: applied in order to u with missing tests 0; none means y = 0.
        latent_layer: index of the layer whose output is the latent code, None if there is none.
        detector: "autoencoder", "pat", "t2" or "pca".
    """

    screen: Screen
    layers: tuple[Dense, ...]
    latent_layer: int | None = None
    detector: str = "autoencoder"

    def __post_init__(self) -> None:
        _check_widths(self.screen.schema.n_tests, self.layers)

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of the input and of each layer's output."""
        return (self.screen.schema.n_tests, *(len(layer.bias) for layer in self.layers))


def _check_widths(n_tests: int, layers: tuple[Dense, ...]) -> None:
    width = n_tests
    for index, layer in enumerate(layers):
        n_out, n_in = layer.weight.shape
        if n_in != width or layer.bias.shape != (n_out,):
            raise UsageError(
                f"layer {index} takes {n_in} inputs and has {len(layer.bias)} biases, "
                f"expected {width} inputs and {n_out} biases"
            )
        width = n_out
    if layers and width != n_tests:
        raise UsageError(f"the last layer gives {width} values, expected one per test: {n_tests}")


@dataclass(frozen=True)
class StaticRange:
    """Calibrated quantisation of a layer's input: real = (q − zero_point) · scale, q −128 … 127."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class QuantizedDense:
    """A fully connected layer with int8 weights: real = weight · weight_scale[channel].

    Attributes:
        weight: int8 ``(n_out, n_in)`` in −127 … 127.
        weight_scale: float32 ``(n_out,)``, per output channel.
        bias: float32 ``(n_out,)``.
        static_input: how the input is made int8; None takes each die's own largest magnitude.
    """

    weight: NDArray[np.int8]
    weight_scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Activation
    static_input: StaticRange | None = None


@dataclass(frozen=True)
class QuantizedNetwork:
    """A detector whose layers are int8; scaler, residual and head stay in float32."""

    network: Network
    layers: tuple[QuantizedDense, ...]

    @property
    def screen(self) -> Screen:
        """Schema, scaler, head and thresholds, shared with the float32 network."""
        return self.network.screen
