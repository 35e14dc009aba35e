"""A torch autoencoder trained elsewhere becomes a `TrainedModel`: scaler, head and thresholds.

What training would have kept apart is split here: the first half of the good dies gives scaler and
score head, the second half thresholds and drift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import forward
from knowngood._manifest import Evaluation, Provenance
from knowngood._network import POOLED_GROUP, Dense, HeadKind, Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_quantize.heads import fit_head, unfitted_head
from knowngood_quantize.injection import limits_of, standard_defects
from knowngood_quantize.scaling import fit_scaler
from knowngood_quantize.thresholds import fit_operating_points

from ._fit import Part
from ._group_numbers import group_numbers
from ._trained import CalibrationSet, Int8Dies, TrainedModel
from ._versions import versions
from .torch_layers import layers_from_module

FEWEST_DIES = 80
"""Half of them for the head, half for thresholds; thousands give thresholds worth having."""
MAX_DEFECTIVE = 1000
"""Dies per class of injected defect, on which flips of an int8 form are counted."""


@dataclass(frozen=True)
class Request:
    """How a module trained elsewhere is to be exported; see `export_model`."""

    schema: Schema | None
    scaler: Scaler | Literal["fit", "identity"]
    head: HeadKind
    k: int
    fpr: float


def trained_from_module(
    module: nn.Module, values: NDArray[Any], group: NDArray[np.int32] | None, request: Request
) -> TrainedModel:
    """Fit scaler, head and thresholds around a module.

    Raises:
        UsageError: a layer, shape or argument that is not supported.
        NotEnoughDataError: too few good dies.
    """
    dies = _check_values(values, request.schema)
    groups = group_numbers("group", group, len(dies))
    schema = request.schema or Schema.anonymous(dies.shape[1])
    half = len(dies) // 2
    layers = layers_from_module(module, schema.n_tests)
    scaler = _scaler(request.scaler, dies[:half], None if group is None else groups[:half])
    screen = Screen(schema, scaler, unfitted_head(schema.n_tests), (), request.fpr)
    network = Network(screen, layers, latent_layer(layers))
    head = fit_head(network, dies[:half], groups[:half], kind=request.head, k=request.k)
    network = replace(network, screen=replace(screen, head=head))
    calibration = _calibration(schema, dies[half:], groups[half:])
    fitted = Part(dies[:half], groups[:half])
    return _with_thresholds(network, calibration, Int8Dies.of(fitted, fitted), half)


def latent_layer(layers: tuple[Dense, ...]) -> int | None:
    """The narrowest hidden layer, None if none is narrower than the tests."""
    hidden = [len(layer.bias) for layer in layers[:-1]]
    if not hidden or min(hidden) >= layers[0].weight.shape[1]:
        return None
    return hidden.index(min(hidden))


def _check_values(values: NDArray[Any], schema: Schema | None) -> NDArray[np.float32]:
    n_tests = "n_tests" if schema is None else schema.n_tests
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise UsageError(
            f"good_values must be numbers (n_dies, {n_tests}), found {values.dtype} {values.shape}"
        )
    if schema is not None and values.shape[1] != schema.n_tests:
        raise UsageError(
            f"good_values has {values.shape[1]} columns, the schema has {schema.n_tests} tests"
        )
    if len(values) < FEWEST_DIES:
        raise NotEnoughDataError(
            f"good_values has {len(values)} dies: at least {FEWEST_DIES} are needed, and thousands "
            "give thresholds worth having"
        )
    return values.astype(np.float32)


def _scaler(
    scaler: Scaler | Literal["fit", "identity"],
    values: NDArray[np.float32],
    group: NDArray[np.int32] | None,
) -> Scaler:
    if isinstance(scaler, Scaler):
        if scaler.centre.shape[1] != values.shape[1]:
            raise UsageError(
                f"the scaler is for {scaler.centre.shape[1]} tests, the dies have {values.shape[1]}"
            )
        return scaler
    if scaler == "fit":
        return fit_scaler(values, group)
    if scaler == "identity":
        n_tests = values.shape[1]
        pooled = np.array([POOLED_GROUP], dtype=np.int32)
        return Scaler(pooled, np.zeros((1, n_tests)), np.ones((1, n_tests)))
    raise UsageError(f"scaler must be 'fit', 'identity' or a Scaler, found {scaler!r}")


def _calibration(
    schema: Schema, good: NDArray[np.float32], group: NDArray[np.int32]
) -> CalibrationSet:
    made = standard_defects(good, limits=limits_of(schema), groups=group, n_dies=MAX_DEFECTIVE)
    rows = np.concatenate([m.source_rows for m in made])
    return CalibrationSet(good, group, np.concatenate([m.values for m in made]), group[rows])


def _with_thresholds(
    network: Network, dies: CalibrationSet, int8_dies: Int8Dies, n_fitted: int
) -> TrainedModel:
    result = forward(network, dies.good, dies.good_group)
    points = fit_operating_points(result.scores)
    network = replace(network, screen=network.screen.with_operating_points(points))
    shown = result.present & np.isfinite(result.scores)[:, np.newaxis]
    u = result.standardised[shown].astype(np.float64)
    residual = u - result.reconstruction[shown]
    provenance = Provenance(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=versions(),
        n_train=n_fitted,
        n_held_out=len(dies.good),
        hold_out=(
            f"trained elsewhere; head fitted on the first {n_fitted} good dies given at export, "
            f"thresholds on the other {len(dies.good)}"
        ),
        notes=_notes(float(np.square(residual).mean()), float(u.var())),
    )
    return TrainedModel(network, (), dies, int8_dies, provenance, Evaluation())


def _notes(mean_square: float, variance: float) -> tuple[str, ...]:
    if mean_square < variance:
        return ()
    return (
        "the module reconstructs good dies no better than a constant would (mean square "
        f"{mean_square:.3g}, variance {variance:.3g}): if it expects raw values or its own "
        "scaling, say so with scaler='identity' or scaler=Scaler(…)",
    )
