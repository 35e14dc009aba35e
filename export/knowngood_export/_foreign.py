"""An autoencoder trained elsewhere becomes a `TrainedModel`: scaler, head and thresholds.

Its layers come from a torch module or a file. Some of the good dies given round the weights to
int8, others show where int8 verdicts need fp32, and both give scaler and score head; a part that
neither has seen gives thresholds and certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import forward
from knowngood._manifest import Evaluation, Provenance, Source
from knowngood._network import POOLED_GROUP, Dense, HeadKind, Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_quantize.bands import MIN_GOOD
from knowngood_quantize.heads import fit_head, unfitted_head
from knowngood_quantize.scaling import fit_scaler, unusable_tests

from ._fit import AutoencoderConfig, Mask, Part, Parts, inject_defects, with_thresholds
from ._group_numbers import group_numbers
from ._trained import CalibrationSet, Int8Dies, TrainedModel
from ._versions import versions
from .torch_layers import layers_from_module

FEWEST_DIES = 80
"""Half of them for the head, half for thresholds; thousands give thresholds worth having."""
MAX_DEFECTIVE = 1000
"""Dies per class of injected defect, on which flips of an int8 form are counted."""

ScalerChoice = Scaler | Literal["fit", "identity"]


@dataclass(frozen=True)
class Request:
    """What is to be put around the layers; see `export_model` and `import_model`.

    Attributes:
        schema: names the tests; None numbers them.
        scaler: what the layers expect to be given.
        head: how residuals become a score.
        k: residuals that topk takes.
        fpr: default yield loss, an operating point beside the standard ones.
    """

    schema: Schema | None
    scaler: ScalerChoice
    head: HeadKind
    k: int
    fpr: float


@dataclass(frozen=True)
class Origin:
    """What is known of network and dies, for the provenance.

    Attributes:
        hold_out: in words, which dies serve what.
        sources: files of good dies.
        dropped: dies left out, by reason.
        notes: what the user has to know.
    """

    hold_out: str
    sources: tuple[Source, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def trained_from_module(
    module: nn.Module, values: NDArray[Any], group: NDArray[np.int32] | None, request: Request
) -> TrainedModel:
    """Fit scaler, head and thresholds around a torch module.

    Raises:
        UsageError: a layer, shape or argument that is not supported.
        NotEnoughDataError: too few good dies.
    """
    parts = split_in_order(values, group, request.schema)
    layers = layers_from_module(module, parts.train.values.shape[1])
    origin = Origin(in_order_in_words(parts))
    return trained_from_layers(layers, parts, request, origin, by_site=group is not None)


def trained_from_layers(
    layers: tuple[Dense, ...], parts: Parts, request: Request, origin: Origin, *, by_site: bool
) -> TrainedModel:
    """Fit scaler, head and thresholds around layers.

    Args:
        layers: over as many tests as the dies have.
        parts: good dies: ``train`` for int8 weights, ``validation`` for bands, both for scaler and
            head, ``calibration`` for thresholds. Where they are too few for bands, both round.
        request: what is wanted.
        origin: goes into the provenance.
        by_site: a fitted scaler gives sites centres of their own.

    Raises:
        UsageError: an argument that is not supported.
        NotEnoughDataError: too few good dies.
    """
    fitted = _joined(parts.train, parts.validation)
    schema = request.schema or Schema.anonymous(fitted.values.shape[1])
    scaler = fit_any_scaler(request.scaler, fitted.values, fitted.group if by_site else None)
    screen = Screen(schema, scaler, unfitted_head(schema.n_tests), (), request.fpr)
    network = Network(screen, layers, latent_layer(layers))
    head = fit_head(network, fitted.values, fitted.group, kind=request.head, k=request.k,
                    patterns=parts.patterns)  # fmt: skip
    network = replace(network, screen=replace(screen, head=head))
    injected = inject_defects(parts.calibration, schema, n_dies=MAX_DEFECTIVE)
    calibration = CalibrationSet.of(parts.calibration, injected)
    network = with_thresholds(network, parts.calibration, AutoencoderConfig(fpr=request.fpr))
    provenance = Provenance(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=versions(),
        sources=origin.sources,
        n_train=len(fitted),
        n_held_out=len(parts.calibration),
        dropped=origin.dropped,
        hold_out=origin.hold_out,
        notes=(*origin.notes, *_fit_notes(network, parts.calibration)),
    )
    no_bands = len(parts.validation) < MIN_GOOD
    int8_dies = Int8Dies.of(fitted if no_bands else parts.train, parts.validation)
    return TrainedModel(network, (), calibration, int8_dies, provenance, Evaluation())


def latent_layer(layers: tuple[Dense, ...]) -> int | None:
    """The narrowest hidden layer, None if none is narrower than the tests."""
    hidden = [len(layer.bias) for layer in layers[:-1]]
    if not hidden or min(hidden) >= layers[0].weight.shape[1]:
        return None
    return hidden.index(min(hidden))


def split_in_order(
    values: NDArray[Any], group: NDArray[np.int32] | None, schema: Schema | None
) -> Parts:
    """Good dies in the order of the file: the first half for int8 and head, the second held out.

    Raises:
        UsageError: not a matrix of numbers, of the schema's width; or sites that do not fit.
        NotEnoughDataError: fewer than ``FEWEST_DIES``.
    """
    dies = _check_values(values, schema)
    every = Part(dies, group_numbers("group", group, len(dies)))
    first, rest = np.split(np.arange(len(dies)), [len(dies) // 2])
    return parts_of(every.select(first), every.select(rest), None)


def parts_of(fitted: Part, calibration: Part, patterns: Mask | None) -> Parts:
    """Every other die rounds the weights, the others set the bands: nothing else is learnt of them.

    So both see all of what a few hundred dies show; `patterns` as in `Parts`.
    """
    rows = np.arange(len(fitted))
    return Parts(fitted.select(rows[::2]), fitted.select(rows[1::2]), calibration, patterns)


def in_order_in_words(parts: Parts) -> str:
    """What `split_in_order` did."""
    n_fitted = len(parts.train) + len(parts.validation)
    return (
        f"trained elsewhere; head fitted on the first {n_fitted} good dies given at export, "
        f"thresholds on the other {len(parts.calibration)}"
    )


def _joined(*parts: Part) -> Part:
    return Part(np.concatenate([p.values for p in parts]), np.concatenate([p.group for p in parts]))


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
    require_enough(len(values), "good_values has")
    return values.astype(np.float32)


def require_enough(n_dies: int, found: str) -> None:
    """Raise ``NotEnoughDataError`` if head and thresholds cannot be fitted on so many good dies."""
    if n_dies < FEWEST_DIES:
        raise NotEnoughDataError(
            f"{found} {n_dies} dies: at least {FEWEST_DIES} are needed, and thousands give "
            "thresholds worth having"
        )


def fit_any_scaler(
    scaler: ScalerChoice, values: NDArray[np.float32], group: NDArray[np.int32] | None
) -> Scaler:
    """The scaler asked for; every test stays.

    Raises:
        UsageError: no such scaler, or one for another number of tests.
    """
    if isinstance(scaler, Scaler):
        if scaler.centre.shape[1] != values.shape[1]:
            raise UsageError(
                f"the scaler is for {scaler.centre.shape[1]} tests, the dies have {values.shape[1]}"
            )
        return scaler
    if scaler == "fit":
        return _fit_every_test(values, group)
    if scaler == "identity":
        return _identity(values.shape[1])
    raise UsageError(f"scaler must be 'fit', 'identity' or a Scaler, found {scaler!r}")


def _identity(n_tests: int) -> Scaler:
    pooled = np.array([POOLED_GROUP], dtype=np.int32)
    return Scaler(pooled, np.zeros((1, n_tests)), np.ones((1, n_tests)))


def _fit_every_test(values: NDArray[np.float32], group: NDArray[np.int32] | None) -> Scaler:
    """Tests without a spread are centred and keep their units, as the layers have a place for each.

    A scale of 1 for constant columns is scikit-learn's convention too.
    """
    flat = sorted(unusable_tests(values))
    varying = np.setdiff1d(np.arange(values.shape[1]), flat)
    if not len(varying):
        return _identity(values.shape[1])
    fitted = fit_scaler(values[:, varying], group)
    n_rows, n_tests = len(fitted.groups), values.shape[1]
    centre, inv_scale = np.zeros((n_rows, n_tests)), np.ones((n_rows, n_tests))
    centre[:, varying], inv_scale[:, varying] = fitted.centre, fitted.inv_scale
    for test in flat:
        known = values[np.isfinite(values[:, test]), test]
        centre[:, test] = np.median(known.astype(np.float64)) if len(known) else 0.0
    return Scaler(fitted.groups, centre, inv_scale)


def _fit_notes(network: Network, dies: Part) -> tuple[str, ...]:
    """What residuals of good dies are worth a note for."""
    result = forward(network, dies.values, dies.group)
    shown = result.present & np.isfinite(result.scores)[:, np.newaxis]
    u = result.standardised[shown].astype(np.float64)
    residual = u - result.reconstruction[shown]
    return _notes(float(np.square(residual).mean()), float(u.var()))


def _notes(mean_square: float, variance: float) -> tuple[str, ...]:
    if mean_square < variance:
        return ()
    return (
        "the network reconstructs good dies no better than a constant would (mean square "
        f"{mean_square:.3g}, variance {variance:.3g}): if it expects raw values or its own "
        "scaling, say so with scaler='identity' or scaler=Scaler(…)",
    )
