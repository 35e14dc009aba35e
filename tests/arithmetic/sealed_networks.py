"""Small sealed models and dies to score, as nasty as the format allows, made by hypothesis.

Hypothesis chooses shapes, kinds and a pool of odd numbers; a seeded generator fills the arrays from
these, since drawing each weight would be too slow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from knowngood._network import (
    POOLED_GROUP,
    Activation,
    ActivationKind,
    Dense,
    Head,
    HeadKind,
    LowRank,
    OperatingPoint,
    QuantizedDense,
    Scaler,
    Screen,
)
from knowngood._schema import Schema
from knowngood._sealed import Band, Golden, LayerPrecision, SealedModel

ACTIVATIONS: tuple[ActivationKind, ...] = (
    "linear", "relu", "leaky_relu", "elu", "sigmoid", "tanh",
)  # fmt: skip
HEADS: tuple[HeadKind, ...] = ("mse", "normalized", "topk", "mahalanobis")
FPR = 0.005
LARGEST = np.finfo(np.float32).max
_KINDS_OF_NUMBERS = (
    *["ordinary"] * 6, *["grid", "halfway"] * 2, "steps", "pool", "tiny", "huge", "any",
)  # fmt: skip
_KINDS_OF_DIES = (
    "typical", "typical", "missing", "pool", "grid", "halfway", "steps", "edge", "any", "centre",
    "wild",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """A model without bands, and dies for it.

    Attributes:
        values: float32 ``(n_dies, n_tests)``.
        group: int32 ``(n_dies,)`` or None.
    """

    model: SealedModel
    values: NDArray[np.float32]
    group: NDArray[np.int32] | None
    seed: int


class Numbers:
    """Float32 arrays of a kind of numbers.

    ``theme`` is a kind that half of a case's arrays and dies are of, so that they meet.
    """

    def __init__(self, seed: int, pool: list[float], theme: str | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.theme = theme
        self._pool = np.array(pool, dtype=np.float32)

    def make(self, kind: str, *shape: int) -> NDArray[np.float32]:
        """Finite numbers."""
        rng = self.rng
        made: NDArray[np.float32]
        match kind:
            case "grid":  # ties and exact cancellations
                made = (rng.integers(-8, 9, shape) / 8).astype(np.float32)
            case "zero":
                made = rng.choice(np.array([0.0, -0.0], dtype=np.float32), shape)
            case "halfway":  # products that end just beside the middle of two float32
                exponent = rng.choice(rng.choice([[0, -12, -24], [-75, -75, -76]]), shape)
                significand = rng.choice([-1, 1], shape) + rng.integers(-1, 2, shape) * 2.0**-23
                made = np.ldexp(significand, exponent).astype(np.float32)
            case "steps":  # whole and half ones of an int8 input, in rows that end on the largest
                largest, size = rng.choice([127, 255]), np.ldexp(1.0, rng.integers(-30, 30))
                made = rng.integers(-2 * largest, 2 * largest + 1, shape) / 2 * size
                made[..., -1] = largest * size
                made = made.astype(np.float32)
            case "pool":
                made = rng.choice(self._pool, shape)
            case "tiny":
                patterns = rng.integers(0, 1 << 24, shape).astype(np.uint32)
                made = (patterns | (rng.integers(0, 2, shape) << 31).astype(np.uint32)).view("f4")
            case "huge":
                made = (rng.choice([-1, 1], shape) * 10.0 ** rng.uniform(15, 38, shape)).astype(
                    "f4"
                )
            case "any":
                made = rng.integers(0, 1 << 32, shape, dtype=np.uint32).view(np.float32)
            case _:
                made = rng.normal(size=shape).astype(np.float32)
        made = np.where(np.isfinite(made), made, np.float32(1))
        return np.where(rng.random(shape) < 0.03, np.float32(-0.0), made).astype(np.float32)

    def positive(self, kind: str, *shape: int) -> NDArray[np.float32]:
        """The same, and greater than 0."""
        made = np.abs(self.make(kind, *shape))
        return np.where(made > 0, made, np.float32(0.5)).astype(np.float32)


_ODD_FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
_ODD_DOUBLES = st.one_of(st.just(0.1), st.floats(allow_nan=False, allow_infinity=False))
_WIDTHS = st.one_of(st.integers(1, 5), st.integers(1, 5), st.integers(1, 18), st.integers(1, 70))
_SMALL_WIDTHS = st.one_of(st.integers(1, 6), st.integers(1, 18))


def _draw_kind(draw: st.DrawFn, numbers: Numbers) -> str:
    themes = [] if numbers.theme is None else [numbers.theme] * len(_KINDS_OF_NUMBERS)
    return draw(st.sampled_from([*_KINDS_OF_NUMBERS, *themes]))


@st.composite
def cases(
    draw: st.DrawFn,
    n_dies: int = 16,
    widths: st.SearchStrategy[int] = _WIDTHS,
    inner_widths: st.SearchStrategy[int] = _SMALL_WIDTHS,
) -> Case:
    """A model of 1 to 70 tests and 0 to 4 layers, unless said otherwise, and dies for it."""
    seed = draw(st.integers(0, 2**32 - 1))
    theme = draw(st.sampled_from([None, None, None, "zero", "halfway", "steps"]))
    numbers = Numbers(seed, draw(st.lists(_ODD_FLOATS, min_size=1, max_size=6)), theme)
    n_tests = draw(widths)
    screen = _draw_screen(draw, numbers, n_tests)
    fp32, int8 = _draw_layers(draw, numbers, n_tests, inner_widths)
    latent = draw(st.integers(0, len(fp32) - 2)) if len(fp32) > 1 and draw(st.booleans()) else None
    with_fp32 = int8 is None or draw(st.sampled_from([True, True, True, False]))
    model = sealed(screen, fp32 if with_fp32 else None, int8, latent)
    has_group = draw(st.booleans())
    group = _group(numbers.rng, screen.scaler, n_dies) if has_group else None
    return Case(model, _values(numbers, screen.scaler, group, n_dies), group, seed)


def sealed(
    screen: Screen,
    fp32: tuple[Dense, ...] | None,
    int8: tuple[QuantizedDense, ...] | None,
    latent_layer: int | None = None,
    threshold: float = 1.0,
) -> SealedModel:
    """A model without bands; it is in no file, so nobody looks at its golden die."""
    layers: dict[LayerPrecision, object] = {"fp32": fp32, "int8": int8}
    held: tuple[LayerPrecision, ...] = tuple(p for p in layers if layers[p] is not None)
    n_tests = screen.schema.n_tests
    none = np.full(1, 0x7FC00000, dtype=np.uint32)
    golden = Golden(
        np.full((1, n_tests), np.nan, dtype=np.float32),
        np.full(1, POOLED_GROUP, dtype=np.int32),
        dict.fromkeys(held, none),
        dict.fromkeys(held, bytes(32)),
    )
    points = {p: (operating_point(threshold),) for p in held}
    return SealedModel(screen, "autoencoder", fp32, int8, points, golden, latent_layer)


def operating_point(threshold: float) -> OperatingPoint:
    """At a yield loss of ``FPR``."""
    return OperatingPoint(FPR, threshold, threshold, threshold, 4000, True)


def _draw_screen(draw: st.DrawFn, numbers: Numbers, n_tests: int) -> Screen:
    n_groups = draw(st.integers(1, 3))
    groups = [POOLED_GROUP, *draw(st.permutations([0, 257, 2**31 - 1]))][:n_groups]
    shape = (n_groups, n_tests)
    kind = "unit" if numbers.theme else draw(st.sampled_from(["unit", "unit", "real", "odd"]))
    centre, inv_scale = np.zeros(shape), np.ones(shape)
    if kind == "real":
        sigma = 10.0 ** numbers.rng.uniform(-9, 6, shape)
        centre, inv_scale = sigma * 10.0 ** numbers.rng.uniform(-1, 6, shape), 1 / sigma
    elif kind == "odd":
        centre = numbers.make(_draw_kind(draw, numbers), *shape) + np.float64(draw(_ODD_DOUBLES))
        inv_scale = numbers.positive(_draw_kind(draw, numbers), *shape).astype(np.float64)
    centre = np.where(np.isfinite(centre), centre, 0.0)
    scaler = Scaler(np.array(groups, dtype=np.int32), centre, inv_scale)
    return Screen(Schema.anonymous(n_tests), scaler, _draw_head(draw, numbers, n_tests), (), FPR)


def _draw_head(draw: st.DrawFn, numbers: Numbers, n: int) -> Head:
    kind = draw(st.sampled_from(HEADS))
    weight, square = _draw_kind(draw, numbers), _draw_kind(draw, numbers)
    gain, offset = numbers.positive("ordinary", n + 1), numbers.positive("ordinary", n + 1)
    offset[-1] = 0
    rank = draw(st.integers(1, min(n, 4)))
    project, subtract = _draw_kind(draw, numbers), _draw_kind(draw, numbers)
    low_rank = LowRank(numbers.make(project, rank, n), numbers.make(subtract, n, rank))
    return Head(
        kind,
        np.ones(n, np.float32) if kind == "mse" else numbers.positive(weight, n),
        numbers.positive(square, n),
        gain,
        offset,
        min_present=draw(st.one_of(st.just(1), st.integers(1, n))),
        k=draw(st.integers(1, n)) if kind == "topk" else 0,
        low_rank=low_rank if kind == "mahalanobis" else None,
    )


def _draw_layers(
    draw: st.DrawFn, numbers: Numbers, n_tests: int, inner_widths: st.SearchStrategy[int]
) -> tuple[tuple[Dense, ...], tuple[QuantizedDense, ...] | None]:
    n_layers = draw(st.sampled_from([0, 1, 1, 2, 2, 3, 3, 4, 4]))
    if not n_layers:
        return (), None
    inner = draw(st.lists(inner_widths, min_size=n_layers - 1, max_size=n_layers - 1))
    fp32, int8 = [], []
    for n_in, n_out in pairwise([n_tests, *inner, n_tests]):
        activation = _draw_activation(draw)
        fp32.append(_draw_dense(draw, numbers, n_in, n_out, activation))
        int8.append(_draw_quantized(draw, numbers, fp32[-1]))
    return tuple(fp32), tuple(int8)


def _draw_activation(draw: st.DrawFn) -> Activation:
    kind = draw(st.sampled_from(ACTIVATIONS))
    if kind not in ("leaky_relu", "elu"):
        return Activation(kind)
    return Activation(kind, draw(st.one_of(st.sampled_from([1.0, 0.02]), _ODD_FLOATS)))


def _draw_dense(
    draw: st.DrawFn, numbers: Numbers, n_in: int, n_out: int, activation: Activation
) -> Dense:
    kind = _draw_kind(draw, numbers)
    if kind == "steps":  # what the next layer's input is, then, is its bias
        kind = draw(st.sampled_from(["steps", "zero"]))
    weight = numbers.make(kind, n_out, n_in)
    if kind == "ordinary":
        weight = (weight / np.sqrt(n_in)).astype(np.float32)
    biases = ["zero", "tiny", *[_draw_kind(draw, numbers)] * 3]
    if kind == "halfway":  # midway between subnormal numbers too
        biases += ["tiny"] * 5
    bias = draw(st.sampled_from(biases))
    return Dense(weight, numbers.make(bias, n_out), activation)


def _draw_quantized(draw: st.DrawFn, numbers: Numbers, dense: Dense) -> QuantizedDense:
    n_out = len(dense.bias)
    kind = draw(st.sampled_from(["rounded", "rounded", "rounded", "random", "extreme"]))
    if kind == "rounded":
        step = np.maximum(np.abs(dense.weight).max(axis=1) / 127, np.float32(1e-38))
        weight = np.rint(dense.weight / step[:, None])
    else:
        step = numbers.positive(_draw_kind(draw, numbers), n_out)
        weight = numbers.rng.integers(-127, 128, dense.weight.shape).astype(np.float64)
    if kind == "extreme":
        weight = np.where(weight < 0, -127, 127)
    return QuantizedDense(
        np.clip(weight, -127, 127).astype(np.int8),
        step.astype(np.float32),
        dense.bias,
        dense.activation,
    )


def _group(rng: np.random.Generator, scaler: Scaler, n_dies: int) -> NDArray[np.int32]:
    unknown = (-7, 3, -(2**31))
    return rng.choice([*scaler.groups.tolist(), *unknown], n_dies).astype(np.int32)


def _values(
    numbers: Numbers, scaler: Scaler, group: NDArray[np.int32] | None, n_dies: int
) -> NDArray[np.float32]:
    rows = scaler.rows(group, n_dies)
    values = np.empty((n_dies, scaler.centre.shape[1]), dtype=np.float32)
    with np.errstate(over="ignore"):
        for die, row in enumerate(rows):
            kind = numbers.rng.choice([*_KINDS_OF_DIES, *[numbers.theme or "typical"] * 4])
            values[die] = _die(numbers, kind, scaler.centre[row], scaler.inv_scale[row])
    return values


def _die(
    numbers: Numbers, kind: str, centre: NDArray[np.float64], inv_scale: NDArray[np.float64]
) -> NDArray[np.float32]:
    rng, n = numbers.rng, len(centre)
    if kind in ("pool", "grid", "halfway", "steps", "zero"):
        values = numbers.make(kind, n)
    elif kind == "any":  # NaN with every payload, infinities, subnormal numbers
        values = rng.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32)
    else:
        values = (centre + _standardised(rng, kind, n) / inv_scale).astype(np.float32)
    if kind == "edge":
        values = (values.view(np.int32) + rng.integers(-2, 3, n, dtype=np.int32)).view(np.float32)
    share = {"missing": rng.random(), "typical": 0.0}.get(kind, 0.1)
    return np.where(rng.random(n) < share, np.float32(np.nan), values).astype(np.float32)


def _standardised(rng: np.random.Generator, kind: str, n: int) -> NDArray[np.float64]:
    u = rng.normal(size=n)
    if kind == "centre":
        return np.zeros(n)
    if kind == "edge":
        return np.where(rng.random(n) < 0.5, u, np.sign(u) * 2.0**30)
    if kind == "wild":
        return np.where(rng.random(n) < 0.5, u, u * 10.0 ** rng.uniform(0, 9, n))
    return u


def with_points(
    model: SealedModel,
    thresholds: dict[LayerPrecision, float],
    band: tuple[float, float],
    scale_limits: NDArray[np.float32],
) -> SealedModel:
    """The model with a band, so that it offers "verified" as well."""
    points = {p: (operating_point(thresholds[p]),) for p in model.layer_precisions}
    return replace(model, points=points, bands=(Band(*band),), scale_limits=scale_limits)
