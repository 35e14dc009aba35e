"""Sealed models of many kinds and dies of all kinds, for the native engine beside the reference."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from knowngood._kgd import encode
from knowngood._model_file import ModelFile, parse_model
from sealed_models import seal_up, varied_network

HEADS = ("mse", "normalized", "topk", "mahalanobis")
ACTIVATIONS = ("linear", "relu", "leaky_relu", "elu", "sigmoid", "tanh")
SHAPES = ((10, 5, 3, 5, 10), (33, 18, 33), (16, 16), (7, 40, 7))
CASES = list(islice(zip(cycle(SHAPES), cycle(ACTIVATIONS), cycle(HEADS), cycle((1, 2, 3))), 12))
"""Widths, activation, head, seed."""


def sealed_file(
    shape: tuple[int, ...] = SHAPES[0], activation: str = "relu", head: str = "topk", seed: int = 1
) -> ModelFile:
    return parse_model(encode(seal_up(varied_network(shape, activation, head, seed))), "model.kgd")


def some_dies(
    model: ModelFile, n_dies: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Near and far, with missing, infinite, tiny and huge results; of known and unknown groups."""
    rng = np.random.default_rng(seed)
    scaler = model.manifest.screen.scaler
    group = rng.choice([*scaler.groups, 12345], n_dies).astype(np.int32)
    rows = scaler.rows(group, n_dies)
    u = rng.normal(size=(n_dies, scaler.centre.shape[1])) * 10.0 ** rng.uniform(-2, 3, (n_dies, 1))
    values = (scaler.centre[rows] + u / scaler.inv_scale[rows]).astype(np.float32)
    values[rng.random(values.shape) < rng.choice([0, 0.05, 0.5], (n_dies, 1))] = np.nan
    wild = rng.random(values.shape) < rng.choice([0, 0.01], (n_dies, 1))
    values[wild] = rng.choice([np.inf, -np.inf, 3e38, -0.0, 1e-42], int(wild.sum()))
    if n_dies > 2:
        values[1], values[2] = np.nan, 0
    return values, group


def bits(array: NDArray[np.float32]) -> list[int]:
    found: list[int] = np.ascontiguousarray(array).view(np.uint32).ravel().tolist()
    return found
