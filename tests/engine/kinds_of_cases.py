"""Networks and dies to compare the engine on: nasty small and wide ones, ordinary ones, corners."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from expected import with_narrow_bands
from hypothesis import strategies as st
from numpy.typing import NDArray
from sealed_networks import ACTIVATIONS, HEADS, Case, Numbers, cases, sealed

from knowngood._network import (
    POOLED_GROUP,
    Activation,
    ActivationKind,
    Dense,
    Head,
    Network,
    QuantizedDense,
    Scaler,
    Screen,
)
from knowngood._schema import Schema
from random_networks import make_dies
from sealed_models import seal_up, varied_network

WHOLE = (512, 256, 128, 32, 128, 256, 512)
"""Widths of the reference model."""
DIES_OF_A_WHOLE = 1000
_FPR = 0.005


def small_cases() -> st.SearchStrategy[Case]:
    """Networks of 1 to 70 tests, and 1 to 40 dies."""
    return st.integers(1, 40).flatmap(cases)


def wide_cases() -> st.SearchStrategy[Case]:
    """Networks of 1 to 2,000 tests, seldom a whole number of vectors, and 1 to 24 dies."""
    widths = st.one_of(st.integers(1, 2000), st.integers(71, 600))
    return st.integers(1, 24).flatmap(lambda n: cases(n, widths, st.integers(1, 300)))


def ordinary_cases(n_cases: int, first_seed: int) -> Iterator[Case]:
    """Dies like those of a lot, most of which get a score; heads and activations in turn."""
    for i in range(n_cases):
        rng = np.random.default_rng([first_seed, i])
        n_tests = int(2 ** rng.uniform(3, 11))
        inner = 2 ** rng.uniform(2, 7, rng.integers(1, 4))
        widths = (n_tests, *(int(n) for n in inner), n_tests)
        yield _ordinary_case(widths, i, 30, int(rng.integers(2**31)))


def whole_cases(n_dies: int, first_seed: int) -> Iterator[Case]:
    """The same at the reference model's size, a thousand dies each."""
    for i, first in enumerate(range(0, n_dies, DIES_OF_A_WHOLE)):
        yield _ordinary_case(WHOLE, i, min(DIES_OF_A_WHOLE, n_dies - first), first_seed + i)


def _ordinary_case(widths: tuple[int, ...], turn: int, n_dies: int, seed: int) -> Case:
    activation = ("relu", *ACTIVATIONS)[turn % (len(ACTIVATIONS) + 1)]
    head = ("topk", *HEADS)[turn % (len(HEADS) + 1)]
    network = varied_network(widths, activation, head, n_groups=3)
    values, group = make_dies(network, n_dies, missing=0.02, seed=seed)
    _make_odd(network, values, group, np.random.default_rng(seed))
    plain = Case(seal_up(network, with_bands=False), values, group, seed)
    return Case(with_narrow_bands(plain), values, group, seed)


def _make_odd(
    network: Network,
    values: NDArray[np.float32],
    group: NDArray[np.int32],
    rng: np.random.Generator,
) -> None:
    """A third of the dies; each in its own way."""
    scaler = network.screen.scaler
    centre = scaler.centre[scaler.rows(group, len(values))].astype(np.float32)
    n_tests, odd = values.shape[1], rng.integers(0, 30, len(values))
    values[odd == 0] = np.nan
    values[odd == 1] = centre[odd == 1]
    values[odd == 2] = 0
    values[odd == 3] = -0.0
    values[odd == 4, rng.integers(0, n_tests)] = np.inf
    values[odd == 5] *= np.float32(1e3)
    values[odd == 6] *= np.float32(1e9)
    values[odd == 7] = np.where(rng.random(n_tests) < 0.6, np.nan, values[odd == 7])
    few = np.flatnonzero(odd == 8)
    values[few, rng.integers(0, n_tests, len(few))] *= np.float32(30)
    n = int(np.count_nonzero(odd == 9))
    values[odd == 9] = rng.integers(0, 1 << 23, (n, n_tests), dtype=np.uint32).view(np.float32)


def corner_cases() -> Iterator[Case]:
    """What random numbers meet too seldom for a short run."""
    yield _between_subnormals()
    yield _negative_zeros()
    yield _nan_before_relu()
    yield from (_sweep(kind) for kind in ("elu", "sigmoid", "tanh"))
    yield from (_half_steps(kind) for kind in ("linear", "relu"))
    yield _smallest_magnitude()
    yield _small_sigmoids()
    yield from (_infinite_inside(latent_layer) for latent_layer in (0, 1))
    yield _gain_on_a_midpoint()
    yield from (_all_alike(k) for k in (5, 20))
    yield from (_crowded_lane(n, k) for n, k in ((120, 5), (120, 17), (40, 9), (40, 16)))


def _case(
    values: NDArray[np.float32],
    fp32: tuple[Dense, ...] | None,
    int8: tuple[QuantizedDense, ...] | None,
    head: Head | None = None,
) -> Case:
    """Of values that are standardised already."""
    n = values.shape[1]
    scaler = Scaler(np.array([POOLED_GROUP], np.int32), np.zeros((1, n)), np.ones((1, n)))
    screen = Screen(Schema.anonymous(n), scaler, head or _head(n), (), _FPR)
    return Case(sealed(screen, fp32, int8), values.astype(np.float32), None, seed=1)


def _head(n: int, expected_square: NDArray[np.float32] | None = None, k: int = 0) -> Head:
    ones = np.ones(n + 1, np.float32)
    square = ones[:n] if expected_square is None else expected_square
    return Head("topk" if k else "mse", ones[:n], square, ones, 0 * ones, min_present=1, k=k)


def _between_subnormals() -> Case:
    """Sums that end beside the middle of two subnormal numbers, too near for a double to tell."""
    numbers = Numbers(3, [1.0])
    nearly_one = 1 + numbers.rng.choice([-1, 0, 1], (33, 40)) * 2.0**-23
    weight = np.ldexp(nearly_one, -75).astype(np.float32)
    weight[:, 1:] = 0
    bias = (numbers.rng.integers(0, 1 << 22, 33) * 2 + 1).astype(np.uint32).view(np.float32)
    back = Dense(np.eye(40, 33, dtype=np.float32), np.zeros(40, np.float32), Activation("linear"))
    values = np.ldexp(1 + numbers.rng.choice([-1, 0, 1], (20, 40)) * 2.0**-23, -75)
    return _case(values, (Dense(weight, bias, Activation("linear")), back), None)


def _negative_zeros() -> Case:
    """Sums that end on −0, which a relu leaves as it is."""
    values = np.abs(np.random.default_rng(11).normal(size=(9, 19)))
    values[::2, 5] *= -1
    zero = np.full((19, 19), -0.0, np.float32)
    return _case(values, (Dense(zero, zero[0], Activation("relu")),), None)


def _nan_before_relu() -> Case:
    """Infinities of both signs, and the NaN that the next layer's sums make of them."""
    rng = np.random.default_rng(12)
    first = Dense(np.eye(19, dtype=np.float32) * np.float32(1e37), np.zeros(19, np.float32))
    weight = rng.integers(-1, 2, (19, 19)).astype(np.float32)
    last = Dense(weight, np.zeros(19, np.float32), Activation("relu"))
    return _case(
        rng.normal(size=(16, 19)) * 10.0 ** rng.uniform(0, 3, (16, 1)), (first, last), None
    )


def _sweep(kind: ActivationKind) -> Case:
    """An activation of thousands of arguments."""
    x = np.random.default_rng(8).normal(scale=[[0.3], [3], [30]] * 8, size=(24, 150))
    layer = Dense(np.eye(150, dtype=np.float32), np.zeros(150, np.float32), Activation(kind))
    return _case(x, (layer,), None)


def _half_steps(kind: str) -> Case:
    """int8 inputs on or beside the middle of two steps, signed and unsigned, even and odd ones."""
    rng = np.random.default_rng(4)
    steps = rng.integers(-254, 255, (40, 37)) / 2
    steps[:, -1] = 127
    steps[10:] *= rng.uniform(0.5, 2, (30, 1))
    bias = (rng.integers(0, 511, 29) / 2).astype(np.float32)
    bias[0] = 255
    none = np.zeros((29, 37), np.int8)
    first = QuantizedDense(none, np.ones(29, np.float32), bias, Activation("relu"))
    if kind == "linear":
        return _case(steps, None, (_random_int8(rng, 37, 37),))
    return _case(steps, None, (first, _random_int8(rng, 29, 37)))


def _random_int8(
    rng: np.random.Generator, n_in: int, n_out: int, scale: float = 0.01
) -> QuantizedDense:
    weight = rng.integers(-127, 128, (n_out, n_in)).astype(np.int8)
    scales = np.full(n_out, scale, np.float32)
    return QuantizedDense(weight, scales, np.zeros(n_out, np.float32), Activation("linear"))


def _smallest_magnitude() -> Case:
    """Dies whose largest magnitude is 2⁻¹⁰⁰, and the numbers next to it."""
    rng = np.random.default_rng(5)
    largest = np.float32(2.0**-100) + np.arange(-2, 3) * np.float32(2.0**-124)
    values = rng.uniform(-0.9, 0.9, (5, 19)).astype(np.float32) * largest[:, None]
    values[:, 7] = -largest
    return _case(values.astype(np.float32), None, (_random_int8(rng, 19, 19, 2.0**100),))


def _small_sigmoids() -> Case:
    """Outputs below ½, which is what a sigmoid makes of the padding beyond them."""
    rng = np.random.default_rng(9)
    first = replace(
        _random_int8(rng, 21, 13, 0.001),
        bias=np.full(13, -4, np.float32),
        activation=Activation("sigmoid"),
    )
    values = rng.normal(size=(9, 21)).astype(np.float32)
    return _case(values, None, (first, _random_int8(rng, 13, 21)))


def _infinite_inside(latent_layer: int) -> Case:
    """Outputs of a layer before the latent one that some dies make infinite or NaN."""
    rng = np.random.default_rng(10)
    layers = tuple(_random_int8(rng, 21, 21, scale) for scale in (1e35, 1e-3, 1e-3))
    fp32 = tuple(
        Dense(layer.weight.astype(np.float32) * np.float32(1e-2), layer.bias) for layer in layers
    )
    values = rng.normal(size=(16, 21)) * 10.0 ** rng.uniform(-3, 3, (16, 1))
    case = _case(values, fp32, layers)
    return replace(case, model=replace(case.model, latent_layer=latent_layer))


def _gain_on_a_midpoint() -> Case:
    """Where the last bit of a sum in double, and so its order, decides a bit of the score."""
    square = np.full(32, 2.0**-140, np.float32)
    square[0], square[1:16], square[-1] = 1, 2.0**-53, 31 + 3 * 2.0**-19
    values = np.random.default_rng(6).normal(size=(9, 32)).astype(np.float32)
    values[1:, -1] = np.nan
    return _case(values, (), None, _head(32, square))


def _all_alike(k: int) -> Case:
    """Every |z| the same: far more of them than a topk takes."""
    values = np.where(np.arange(45) % 3, np.float32(2), np.float32(-2))
    return _case(np.tile(values, (3, 1)), (), None, _head(45, k=k))


def _crowded_lane(n: int, k: int) -> Case:
    """The largest |z| of a die one, two … seven blocks of 16 columns apart, some of them alike."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=(24, n)).astype(np.float32)
    for die in range(24):
        crowd = np.arange(die % 16, n, 16)[: die % 8]
        values[die, crowd] = rng.integers(3, 7, len(crowd)) * np.float32(3)
    values[rng.random(values.shape) < 0.03] = np.nan
    return _case(values, (), None, _head(n, k=k))
