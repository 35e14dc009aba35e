"""A model's exact scores in fp32 and in int8, as the engine gives them, before it is sealed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from knowngood import _arithmetic as arithmetic
from knowngood._golden import golden_dies, with_golden
from knowngood._kgd import encode
from knowngood._model_file import ModelFile, parse_model
from knowngood._network import OperatingPoint
from knowngood._opening import open_scorer
from knowngood._scorer import Scorer
from knowngood._sealed import Golden, LayerPrecision, SealedModel

Float32 = NDArray[np.float32]
Group = NDArray[np.int32]


class ExactScores:
    """Both precisions of a model, scored by the native engine.

    The model's bands, golden dies and int8 thresholds play no part and may be missing.
    """

    def __init__(self, model: SealedModel) -> None:
        self._model = model
        data = encode(_complete(model))
        file = parse_model(data, "the model to be calibrated")
        self._fp32, self._int8 = (_open(file, precision) for precision in ("fp32", "int8"))

    def fp32(self, values: Float32, group: Group) -> Float32:
        """fp32 scores, float32 ``(n_dies,)``, NaN for none; ``values`` as ``Scorer.score``."""
        return self._fp32.score(values, group).scores

    def int8(self, values: Float32, group: Group) -> Float32:
        """int8 scores, float32 ``(n_dies,)``, NaN for none."""
        return self._int8.score(values, group).scores

    def reconstruct(self, values: Float32, group: Group) -> Float32:
        """The fp32 layers' reconstruction, standardised, float32 ``(n_dies, n_tests)``."""
        return self._fp32.reconstruct(values, group)

    def magnitudes(self, values: Float32, group: Group) -> Float32:
        """Largest magnitude of each int8 layer's input, float32 ``(n_dies, n_layers)``."""
        scaler = self._model.screen.scaler
        x = arithmetic.standardise(scaler, values, scaler.rows(group, len(values))).u
        found, is_positive = [], False
        for layer in self._model.int8 or ():
            quantized = arithmetic.quantize_input(x, is_positive=is_positive)
            found.append(quantized.magnitude)
            x = arithmetic.dense_int8(layer, quantized)
            is_positive = layer.activation.is_positive
        return np.stack(found, axis=1) if found else np.empty((len(values), 0), np.float32)


def _complete(model: SealedModel) -> SealedModel:
    """The model with all that a file must hold, and without bands."""
    n_tests = model.screen.schema.n_tests
    values, group = golden_dies(model.screen, np.empty((0, n_tests), np.float32))
    points: dict[LayerPrecision, tuple[OperatingPoint, ...]] = dict.fromkeys(
        ("fp32", "int8"), model.points["fp32"]
    )
    bare = replace(
        model, points=points, golden=Golden(values, group, {}, {}), bands=(),
        scale_limits=np.empty(0, np.float32),
    )  # fmt: skip
    return with_golden(bare)


def _open(file: ModelFile, precision: str) -> Scorer:
    return open_scorer(file, precision=precision, extrapolate=True, check=False)
