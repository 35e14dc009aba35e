"""``.kgd`` on the C engine: the scores of docs/arithmetic.md to the last bit, in microseconds."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from knowngood import _native
from knowngood._errors import KnowngoodError, ModelFileError, OperatingPointError, UsageError
from knowngood._model_file import ModelFile

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]
Rows = NDArray[np.int32]

_PRECISIONS: dict[str, int] = {"fp32": 0, "int8": 1, "verified": 2}
_USE, _POINT, _UNSUPPORTED, _PRECISION, _PATH = 1, 8, 9, 10, 11
"""Statuses of knowngood.h that are not the file's fault."""
_PROBE = np.ones((2, 3), np.float32)

TAKES_ARRAYS: bool = _native.learn(
    _PROBE,
    _PROBE.ctypes.data,
    (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int32), np.dtype(np.int8)),
)
"""Whether this NumPy's arrays are read where they are; through the buffer protocol if not."""


def paths() -> tuple[str, ...]:
    """Names of the paths that this processor can take, the fastest first."""
    found, index = [], 0
    while (entry := _native.path(index))[0] is not None:
        found += [entry[0]] if entry[1] else []
        index += 1
    return tuple(found)


class NativeEngine:
    """A ``.kgd`` in the C engine; immutable, so any thread and any forked child may use it.

    Attributes:
        path: the kernels that it takes, one of ``paths()``; all give the same bits.
        judge_arrays: ``(values, group, scores, verdicts, reasons)`` as a host has them, with no way
            round what is not C-contiguous, of its dtype and of its shape: TypeError. None where
            NumPy's arrays are not laid out as they were to this day.
    """

    name = "native"
    version = _native.version

    def __init__(self, model: ModelFile, handle: _native.Model, path: str, point: int) -> None:
        self.path = path
        self._model = model
        self._handle = handle
        self._precision = _PRECISIONS[model.manifest.precision]
        self._point = point
        self._groups = np.asarray(model.manifest.screen.scaler.groups, np.int32)
        self._n_latent = _n_latent(model)
        self._judge = partial(handle.score_into, self._precision, point)
        self.judge_arrays = self._judge if TAKES_ARRAYS else None

    @classmethod
    def open(cls, model: ModelFile, *, path: str | None = None, check: bool = True) -> NativeEngine:
        """The engine for a ``.kgd``, in the precision that its manifest is for.

        Args:
            path: kernels to use, one of ``paths()``; the fastest if None.
            check: score the file's golden dies.

        Raises:
            UsageError: a file of another kind, or a path that this processor does not have.
            ModelFileError: the file breaks a rule, or its golden dies get other scores here.
        """
        if model.sealed is None:
            raise UsageError(f"engine 'native' runs .kgd files; {model.path} is a {model.kind}")
        try:
            handle, opened_path = _native.open_model(model.data, path, not check)
        except _native.Error as error:
            raise _translated(model, error) from error
        return cls(model, handle, opened_path, _index_of(model, model.manifest.screen.default_fpr))

    def score(self, values: Floats, rows: Rows | None) -> Floats:
        scores = np.empty(len(values), np.float32)
        codes = np.empty((2, len(values)), np.int8)
        self.judge(values, rows, scores, codes[0], codes[1])
        return scores

    def judge(
        self, values: Floats, rows: Rows | None, scores: Floats, verdicts: Codes, reasons: Codes
    ) -> None:
        """Fill scores, verdicts and reasons, each ``(n_dies,)``, and allocate nothing."""
        group = None if rows is None else self._groups[rows]
        self._judge(np.asarray(values), group, scores, verdicts, reasons)

    def reconstruct(self, values: Floats, rows: Rows | None) -> Floats:
        reconstruction = np.empty(values.shape, np.float32)
        self._reconstruct(values, rows, reconstruction, None)
        return reconstruction

    def latent(self, values: Floats, rows: Rows | None) -> Floats:
        """The latent code, float32 ``(n_dies, n_latent)``; NaN of a die that is not evaluable.

        Raises:
            UsageError: the model has no latent layer.
        """
        if not self._n_latent:
            raise UsageError("the model has no latent layer, so there is no latent code")
        latent = np.empty((len(values), self._n_latent), np.float32)
        self._reconstruct(values, rows, None, latent)
        return latent

    def contributions(
        self, values: Floats, row: int, k: int
    ) -> tuple[Rows, Floats, NDArray[np.float64]]:
        """Columns, weighted residuals and expected values of the ``k`` tests that made a score.

        Args:
            values: one die, ``(1, n_tests)``.
            row: its row of the scaler.
        """
        columns, z, expected = np.empty(k, np.int32), np.empty(k, np.float32), np.empty(k)
        n = self._handle.contributions(
            self._precision,
            self._point,
            np.asarray(values),
            self._groups[row : row + 1],
            columns,
            z,
            expected,
        )
        return columns[:n], z[:n], expected[:n]

    def at(self, fpr: float) -> NativeEngine:
        return NativeEngine(self._model, self._handle, self.path, _index_of(self._model, fpr))

    def _reconstruct(
        self,
        values: Floats,
        rows: Rows | None,
        reconstruction: Floats | None,
        latent: Floats | None,
    ) -> None:
        group = None if rows is None else self._groups[rows]
        self._handle.reconstruct(
            self._precision, self._point, np.asarray(values), group, reconstruction, latent
        )


def _index_of(model: ModelFile, fpr: float) -> int:
    points = model.manifest.screen.operating_points
    for index, point in enumerate(points):
        if math.isclose(point.fpr, fpr, rel_tol=1e-6):
            return index
    raise OperatingPointError(
        f"{model.path} has no operating point at a yield loss of {fpr:.4%}; "
        f"it lists {', '.join(f'{point.fpr:.2%}' for point in points)}"
    )


def _n_latent(model: ModelFile) -> int:
    layer = model.manifest.latent_layer
    return 0 if layer is None else model.manifest.widths[layer + 1]


def _translated(model: ModelFile, error: _native.Error) -> KnowngoodError:
    status, text = error.args
    if status in (_USE, _PRECISION, _PATH):
        return UsageError(f"{model.path}: {text}")
    if status in (_POINT, _UNSUPPORTED):
        return OperatingPointError(f"{model.path}: {text}")
    return ModelFileError(f"{model.path}: {text}")
