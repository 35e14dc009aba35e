"""The specification of a score as an engine: docs/arithmetic.md in NumPy, for ``.kgd`` files.

It is meant to be read, and to be right on every machine; `_arithmetic` has the rules that it puts
together here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood import __version__
from knowngood import _arithmetic as arithmetic
from knowngood._arithmetic import Standardised
from knowngood._errors import UsageError
from knowngood._float_modes import require_default_modes
from knowngood._model_file import ModelFile
from knowngood._network import Dense, QuantizedDense
from knowngood._sealed import Band, LayerPrecision, Precision, SealedModel, as_one_of

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Result:
    """What dies got.

    Attributes:
        scores: float32 ``(n_dies,)``; the quiet NaN 0x7FC00000 of a die without a score.
        reconstruction: float32 ``(n_dies, n_tests)``, standardised; NaN of a die not evaluable.
        latent: float32 ``(n_dies, n_latent)``; None for a model without a latent layer.
        rescored: bool ``(n_dies,)``: "verified" put the int8 score aside for that of fp32.
    """

    scores: Floats
    reconstruction: Floats
    latent: Floats | None
    rescored: Bools


def score_sealed(
    sealed: SealedModel,
    precision: Precision,
    values: Floats,
    rows: NDArray[np.int32] | None = None,
    *,
    fpr: float | None = None,
) -> Result:
    """Score dies as the specification says.

    Args:
        sealed: the model.
        precision: one that it offers.
        values: float32 ``(n_dies, n_tests)``, raw, NaN where a test is missing.
        rows: int32 ``(n_dies,)``, each die's row of the scaler; None takes the pooled row.
        fpr: the operating point whose band says what "verified" rescores; None takes the default.

    Raises:
        UsageError: the model does not offer the precision.
        OperatingPointError: "verified", and the model has no such operating point.
        GateError: this thread's floating point has other modes than the specification's.
    """
    require_default_modes()
    precision = as_one_of(precision, sealed.precisions)
    with np.errstate(all="ignore"):
        dies = arithmetic.standardise(sealed.screen.scaler, values, rows)
        if precision == "verified":
            band = sealed.band(sealed.screen.default_fpr if fpr is None else fpr)
            return _verified(sealed, band, dies)
        done = _pass(sealed, precision, dies)
        return _blank(done, dies.evaluable, np.zeros(len(values), dtype=np.bool_))


def rescored_dies(
    sealed: SealedModel,
    values: Floats,
    rows: NDArray[np.int32] | None = None,
    *,
    fpr: float | None = None,
) -> Bools:
    """Which dies "verified" scores again in fp32, bool ``(n_dies,)``; arguments as `score_sealed`.

    The int8 layers alone decide it, so this costs a small part of what scoring does.

    Raises:
        UsageError: the model does not offer "verified".
        OperatingPointError: it has no such operating point.
        GateError: this thread's floating point has other modes than the specification's.
    """
    require_default_modes()
    as_one_of("verified", sealed.precisions)
    band = sealed.band(sealed.screen.default_fpr if fpr is None else fpr)
    with np.errstate(all="ignore"):
        dies = arithmetic.standardise(sealed.screen.scaler, values, rows)
        return _is_rescored(sealed, band, dies, _pass(sealed, "int8", dies))


class ReferenceEngine:
    """A ``.kgd`` in NumPy; immutable, so any thread may use it."""

    name = "reference"
    version = __version__

    def __init__(self, sealed: SealedModel, precision: Precision, fpr: float | None = None) -> None:
        self._sealed = sealed
        self._precision: Precision = precision
        self._fpr = fpr

    @classmethod
    def open(cls, model: ModelFile) -> ReferenceEngine:
        """The engine for a ``.kgd``, in the precision that its manifest is for.

        Raises:
            UsageError: it is a file of another kind.
        """
        sealed = model.sealed
        if sealed is None:
            raise UsageError(f"engine 'reference' runs .kgd files; {model.path} is a {model.kind}")
        return cls(sealed, as_one_of(model.manifest.precision, sealed.precisions))

    def score(self, values: Floats, rows: NDArray[np.int32] | None) -> Floats:
        return self._run(values, rows).scores

    def reconstruct(self, values: Floats, rows: NDArray[np.int32] | None) -> Floats:
        return self._run(values, rows).reconstruction

    def latent(self, values: Floats, rows: NDArray[np.int32] | None) -> Floats:
        """The latent code, float32 ``(n_dies, n_latent)``; NaN of a die that is not evaluable.

        Raises:
            UsageError: the model has no latent layer.
        """
        latent = self._run(values, rows).latent
        if latent is None:
            raise UsageError("the model has no latent layer, so there is no latent code")
        return latent

    def at(self, fpr: float) -> ReferenceEngine:
        if self._precision != "verified":
            return self
        self._sealed.band(fpr)
        return ReferenceEngine(self._sealed, self._precision, fpr)

    def _run(self, values: Floats, rows: NDArray[np.int32] | None) -> Result:
        return score_sealed(self._sealed, self._precision, values, rows, fpr=self._fpr)


@dataclass(frozen=True, eq=False)
class _Pass:
    """One way through the layers, dies that are not evaluable among the others.

    ``exceeds`` is bool ``(n_dies,)``: an int8 layer's input was larger than the bands hold for.
    """

    scores: Floats
    reconstruction: Floats
    latent: Floats | None
    exceeds: Bools


def _pass(sealed: SealedModel, precision: LayerPrecision, dies: Standardised) -> _Pass:
    x, latent, is_positive = dies.u, None, False
    layers: Sequence[Dense | QuantizedDense] = sealed.layers(precision) or ()
    exceeds = np.zeros(len(x), dtype=np.bool_)
    for index, layer in enumerate(layers):
        if isinstance(layer, QuantizedDense):
            quantized = arithmetic.quantize_input(x, is_positive=is_positive)
            exceeds |= _exceeds_limit(sealed, index, quantized.magnitude)
            x = arithmetic.dense_int8(layer, quantized)
        else:
            x = arithmetic.dense(layer, x)
        latent = x if index == sealed.latent_layer else latent
        is_positive = layer.activation.is_positive
    y = x if layers else np.zeros_like(dies.u)
    z = arithmetic.weighted_residual(sealed.screen.head, dies.u, y, dies.present)
    return _Pass(arithmetic.score(sealed.screen.head, z, dies.present), y, latent, exceeds)


def _exceeds_limit(sealed: SealedModel, layer: int, magnitude: Floats) -> Bools:
    """Infinity and NaN exceed every limit; without bands there is no limit to exceed."""
    if not sealed.bands:
        return np.zeros(len(magnitude), dtype=np.bool_)
    exceeds: Bools = ~(magnitude <= sealed.scale_limits[layer])
    return exceeds


def _verified(sealed: SealedModel, band: Band, dies: Standardised) -> Result:
    int8 = _pass(sealed, "int8", dies)
    rescored = _is_rescored(sealed, band, dies, int8)
    fp32 = _pass(sealed, "fp32", dies.take(rescored))
    int8.scores[rescored] = fp32.scores
    int8.reconstruction[rescored] = fp32.reconstruction
    if int8.latent is not None:
        int8.latent[rescored] = fp32.latent
    return _blank(int8, dies.evaluable, rescored)


def _is_rescored(sealed: SealedModel, band: Band, dies: Standardised, int8: _Pass) -> Bools:
    has_none = np.isnan(int8.scores) & arithmetic.has_enough(sealed.screen.head, dies.present)
    is_near = (int8.scores >= np.float32(band.lo)) & (int8.scores <= np.float32(band.hi))
    rescored: Bools = dies.evaluable & (has_none | is_near | int8.exceeds)
    return rescored


def _blank(done: _Pass, evaluable: Bools, rescored: Bools) -> Result:
    """The result, with NaN throughout dies that are not evaluable, and every NaN the same."""
    return Result(
        scores=done.scores,
        reconstruction=arithmetic.with_nan(done.reconstruction, ~evaluable),
        latent=None if done.latent is None else arithmetic.with_nan(done.latent, ~evaluable),
        rescored=rescored,
    )
