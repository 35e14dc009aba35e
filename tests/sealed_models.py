"""Sealed models with random layers, for tests of the ``.kgd`` file and of what reads it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._golden import golden_dies, with_golden
from knowngood._manifest import (
    DetectionCurve,
    Drift,
    Evaluation,
    Provenance,
    Source,
)
from knowngood._network import (
    Activation,
    Head,
    LowRank,
    Network,
    OperatingPoint,
    QuantizedDense,
)
from knowngood._sealed import Band, Golden, LayerPrecision, SealedModel
from random_networks import make_network, quantize_roughly
from tiny_models import tiny_network

BOTH: tuple[LayerPrecision, ...] = ("fp32", "int8")
HISTORY = {
    "provenance": Provenance(
        created="2026-11-22T10:00:00+00:00",
        versions={"knowngood": "0.1.0", "numpy": "2.1"},
        seed=7,
        sources=(Source("lot é.stdf", "ab" * 32, 500),),
        n_train=400,
        n_held_out=100,
        dropped={"failed at the tester": 12},
        hold_out="the last lot",
        learning_curve=((1, 0.5, 0.625), (2, 0.1, 1e-300)),
        notes=('a "note"', "test 5 is constant"),
    ),
    "evaluation": Evaluation(
        "by lot",
        100,
        (0.005, 0.02),
        (DetectionCurve("topk", "shift", 50, (0.25, 1.0)),),
        {"x": 0.5},
    ),
    "drift": (Drift("kgd int8", 100, 50, 1e-7, 3e-7, 0, 1, 2, 3),),
}


def seal_up(
    network: Network,
    *,
    precisions: tuple[LayerPrecision, ...] = BOTH,
    with_bands: bool = True,
    seed: int = 0,
    **changes: Any,
) -> SealedModel:
    """``network`` with rough int8 layers, thresholds near its golden scores, and golden bits."""
    rng = np.random.default_rng(seed)
    scaler = network.screen.scaler
    u = rng.normal(size=(20, network.screen.schema.n_tests))
    good = scaler.centre[0] + u / scaler.inv_scale[0]
    group = rng.choice(scaler.groups, 20).astype(np.int32)
    values, group = golden_dies(network.screen, good.astype(np.float32), group)
    int8 = _quantized(network) if "int8" in precisions else None
    has_bands = with_bands and len(precisions) == 2
    points = operating_points()
    model = SealedModel(
        screen=replace(network.screen, operating_points=(), default_fpr=0.005),
        detector=network.detector,
        fp32=network.layers if "fp32" in precisions else None,
        int8=int8,
        points=dict.fromkeys(precisions, points),
        golden=Golden(values, group, {}, {}),
        latent_layer=network.latent_layer,
        bands=tuple(Band(p.threshold - 0.25, p.threshold + 0.25) for p in points if has_bands),
        scale_limits=np.full(len(network.layers) if has_bands else 0, 64, np.float32),
        **changes,
    )
    return with_golden(model)


def operating_points() -> tuple[OperatingPoint, ...]:
    return (
        OperatingPoint(0.001, 3.0, 2.5, 3.5, 3000, False),
        OperatingPoint(0.005, 2.0, 1.9, 2.1, 3000, True),
        OperatingPoint(0.02, 1.5, 1.4, 1.6, 3000, True),
    )


def _quantized(network: Network) -> tuple[QuantizedDense, ...]:
    u = np.random.default_rng(1).normal(size=(40, network.screen.schema.n_tests))
    layers = quantize_roughly(network, u.astype(np.float32)).layers
    return tuple(replace(layer, static_input=None) for layer in layers)


def tiny_sealed(**options: Any) -> SealedModel:
    """Six tests, two layers, two groups and the pooled one; fp32, int8 and bands."""
    return seal_up(tiny_network(groups=(-1, 0, 1)), **options)


def varied_network(widths: tuple[int, ...], activation: str, head: str, n_groups: int) -> Network:
    """A network of any activation and head; ``mahalanobis`` of rank 2, or 1 for a single test."""
    n_tests = widths[0]
    of_kind = "normalized" if head == "mahalanobis" else head
    network = make_network(widths, activation=activation, head=of_kind, n_groups=n_groups)  # type: ignore[arg-type]
    made = replace(network.screen.head, min_present=max(1, n_tests // 3))
    if head == "topk":
        made = replace(made, k=min(made.k, n_tests))
    if head == "mahalanobis":
        made = _with_low_rank(made, min(2, n_tests))
    return replace(network, screen=replace(network.screen, head=made))


def _with_low_rank(head: Head, rank: int) -> Head:
    rng = np.random.default_rng(3)
    n_tests = len(head.residual_weight)
    project = rng.normal(size=(rank, n_tests)).astype(np.float32)
    subtract = 0.1 * rng.normal(size=(n_tests, rank)).astype(np.float32)
    return replace(head, kind="mahalanobis", low_rank=LowRank(project, subtract.astype(np.float32)))


def assert_equal(found: Any, expected: Any, where: str = "model") -> None:
    """Equal bit for bit, all the way down: dataclasses, mappings, tuples, arrays, numbers."""
    if isinstance(expected, np.ndarray):
        assert_same_bits(found, expected, where)
    elif isinstance(expected, Activation):
        assert (found.kind, found.alpha) == (expected.kind, float(np.float32(expected.alpha))), (
            where
        )
    elif is_dataclass(expected):
        assert type(found) is type(expected), where
        for field in fields(expected):
            name = field.name
            assert_equal(getattr(found, name), getattr(expected, name), f"{where}.{name}")
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal(found[key], value, f"{where}[{key}]")
    elif isinstance(expected, tuple):
        assert len(found) == len(expected), where
        for i, value in enumerate(expected):
            assert_equal(found[i], value, f"{where}[{i}]")
    else:
        assert type(found) is type(expected), where
        assert found == expected, where


def assert_same_bits(found: NDArray[Any], expected: NDArray[Any], where: str) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
    assert found.tobytes() == expected.tobytes(), where
