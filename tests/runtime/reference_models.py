"""Sealed models made of random networks, for the reference engine to score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from knowngood._model_file import ModelFile
from knowngood._network import Network, OperatingPoint, QuantizedNetwork, Screen
from knowngood._sealed import Band, Golden, SealedModel
from random_networks import make_dies, quantize_roughly

F32 = np.float32
HEADS = ("mse", "normalized", "topk", "mahalanobis")
NAN_BITS = 0x7FC00000


def point_at(fpr: float, threshold: float = 2.0) -> OperatingPoint:
    return OperatingPoint(fpr, threshold, threshold, threshold, 4000, True)


def sealed_from(network: Network, quantized: QuantizedNetwork | None = None) -> SealedModel:
    n_tests = network.screen.schema.n_tests
    points = {"fp32": (point_at(0.005), point_at(0.02)), "int8": (point_at(0.005), point_at(0.02))}
    return SealedModel(
        replace(network.screen, operating_points=()),
        network.detector,
        network.layers,
        None if quantized is None else quantized.layers,
        points,
        Golden(np.empty((0, n_tests), F32), np.empty(0, np.int32), {}, {}),
        latent_layer=network.latent_layer,
    )


def both_precisions(network: Network, values: np.ndarray) -> SealedModel:
    u = network.screen.scaler.standardise(values, np.zeros(len(values), np.int32))
    return sealed_from(network, quantize_roughly(network, np.nan_to_num(u)))


def verified(model: SealedModel, limits: float, *bands: tuple[float, float]) -> SealedModel:
    return replace(
        model,
        bands=tuple(Band(lo, hi) for lo, hi in bands),
        scale_limits=np.full(len(model.int8 or ()), limits, F32),
    )


def as_file(model: SealedModel, precision="fp32") -> ModelFile:
    manifest = model.manifest(precision)
    return ModelFile(Path("made.kgd"), b"", "kgd", "kgd 1.0", "0" * 64, "0" * 64, manifest, model)


def bits(x: np.ndarray) -> list:
    return np.ascontiguousarray(x, F32).view(np.uint32).tolist()


def dies_of(network: Network, n_dies: int = 60, seed: int = 1):
    values, group = make_dies(network, n_dies, seed=seed)
    return values, group, network.screen.scaler.rows(group, n_dies)


def unit_screen(screen: Screen) -> Screen:
    scaler = replace(
        screen.scaler,
        centre=np.zeros_like(screen.scaler.centre),
        inv_scale=np.ones_like(screen.scaler.inv_scale),
    )
    return replace(screen, scaler=scaler)
