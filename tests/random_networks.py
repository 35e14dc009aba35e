"""Networks with random weights and dies to score, for tests of the file writers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from knowngood._manifest import Manifest
from knowngood._network import (
    POOLED_GROUP,
    Activation,
    ActivationKind,
    Dense,
    Head,
    HeadKind,
    LowRank,
    Network,
    OperatingPoint,
    QuantizedDense,
    QuantizedNetwork,
    Scaler,
    Screen,
    StaticRange,
)
from knowngood._schema import Schema

ACTIVATIONS = {
    "linear": Activation("linear"),
    "relu": Activation("relu"),
    "leaky_relu": Activation("leaky_relu", 0.02),
    "elu": Activation("elu", 0.7),
    "sigmoid": Activation("sigmoid"),
    "tanh": Activation("tanh"),
}


def make_network(
    widths: tuple[int, ...] = (12, 8, 4, 8, 12),
    *,
    activation: ActivationKind = "relu",
    head: HeadKind = "topk",
    n_groups: int = 1,
    centre_over_sigma: float = 3.0,
    seed: int = 0,
) -> Network:
    """An autoencoder; the middle layer is the latent one, the last is linear."""
    rng = np.random.default_rng(seed)
    n_layers = len(widths) - 1
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        weight = (rng.normal(size=(n_out, n_in)) / np.sqrt(n_in)).astype(np.float32)
        bias = (0.1 * rng.normal(size=n_out)).astype(np.float32)
        last = i == n_layers - 1
        layers.append(Dense(weight, bias, ACTIVATIONS["linear" if last else activation]))
    screen = make_screen(widths[0], head, n_groups, centre_over_sigma, rng)
    latent = n_layers // 2 - 1 if n_layers > 1 else None
    return Network(screen, tuple(layers), latent)


def make_screen(
    n_tests: int, head: HeadKind, n_groups: int, centre_over_sigma: float, rng: np.random.Generator
) -> Screen:
    sigma = 10.0 ** rng.uniform(-9, 6, n_tests)
    centre = sigma * centre_over_sigma * rng.choice([-1, 1], n_tests)
    shift = rng.normal(size=(n_groups, n_tests)) * sigma
    scaler = Scaler(
        groups=np.array([POOLED_GROUP, *range(n_groups - 1)], dtype=np.int32),
        centre=centre + shift,
        inv_scale=np.tile(1 / sigma, (n_groups, 1)),
    )
    return Screen(Schema.anonymous(n_tests), scaler, make_head(head, n_tests, rng), (), 0.005)


def make_head(kind: HeadKind, n_tests: int, rng: np.random.Generator) -> Head:
    k = 5 if kind == "topk" else 0
    weight = np.ones(n_tests) if kind == "mse" else rng.uniform(0.5, 8, n_tests)
    n_present = np.arange(n_tests + 1)
    gain = 1 / np.maximum(np.minimum(n_present, max(k, 1)), 1) * (2 - n_present / n_tests)
    return Head(
        kind,
        weight.astype(np.float32),
        rng.uniform(0.5, 2, n_tests).astype(np.float32),
        gain.astype(np.float32),
        (0.3 * (1 - n_present / n_tests)).astype(np.float32),
        min_present=n_tests // 3,
        k=k,
        low_rank=make_low_rank(n_tests, rng) if kind == "mahalanobis" else None,
    )


def make_low_rank(n_tests: int, rng: np.random.Generator, rank: int = 3) -> LowRank:
    """A third to nine tenths of what lies in a few orthogonal directions."""
    axes = np.linalg.qr(rng.normal(size=(n_tests, min(rank, n_tests))))[0]
    share = rng.uniform(0.3, 0.9, axes.shape[1])
    return LowRank(axes.T.astype(np.float32), (axes * share).astype(np.float32))


def make_dies(
    network: Network, n_dies: int = 40, *, missing: float = 0.1, seed: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Values around the centre of each die's group, and the groups; some of them unknown."""
    rng = np.random.default_rng(seed)
    scaler = network.screen.scaler
    group = rng.integers(-1, len(scaler.groups), n_dies).astype(np.int32)
    rows = scaler.rows(group, n_dies)
    u = rng.normal(size=(n_dies, network.screen.schema.n_tests))
    values = (scaler.centre[rows] + u / scaler.inv_scale[rows]).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return values, group


def make_manifest(network: Network, precision: str = "fp32") -> Manifest:
    point = OperatingPoint(0.005, 2.0, 1.9, 2.1, 4000, True)
    return Manifest(
        network.screen.with_operating_points([point]),
        precision,
        network.detector,
        network.widths,
        network.latent_layer,
    )


def quantize_roughly(
    network: Network, u: NDArray[np.float32], *, static: bool = False
) -> QuantizedNetwork:
    """int8 weights per output channel; inputs die by die, or in a static min/max range."""
    layers, a = [], u.astype(np.float64)
    for layer in network.layers:
        low, high = min(0.0, a.min()), max(0.0, a.max())
        scale = float(np.float32((high - low) / 255)) or 1.0  # a relu may shut all of a layer
        zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127))
        weight_scale = (np.abs(layer.weight).max(axis=1) / 127).astype(np.float32)
        layers.append(
            QuantizedDense(
                np.rint(layer.weight / weight_scale[:, None]).astype(np.int8),
                weight_scale,
                layer.bias,
                layer.activation,
                StaticRange(scale, zero_point) if static else None,
            )
        )
        a = layer.activation.apply(a @ layer.weight.T.astype(np.float64) + layer.bias)
    return QuantizedNetwork(network, tuple(layers))


def reconstruct_quantized(
    quantized: QuantizedNetwork, u: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What the int8 layers compute, in float64: outputs are not rounded."""
    a = u.astype(np.float64)
    positive = False
    for layer in quantized.layers:
        if layer.static_input is None:
            step = np.abs(a).max(axis=1, keepdims=True) / (255 if positive else 127)
            a = np.rint(a / np.maximum(step, 1e-30)) * step
        else:
            scale, zero = layer.static_input.scale, layer.static_input.zero_point
            a = (np.clip(np.rint(a / scale) + zero, -128, 127) - zero) * scale
        weight = layer.weight * layer.weight_scale[:, None].astype(np.float64)
        a = layer.activation.apply(a @ weight.T + layer.bias)
        positive = layer.activation.kind in ("relu", "sigmoid")
    return a


def without_layers(network: Network) -> Network:
    """A network like PAT: every test is expected at its centre."""
    return replace(network, layers=(), latent_layer=None, detector="pat")
