"""``.kgd`` on the C engine: the scores of docs/arithmetic.md to the last bit, in microseconds.

Verdicts, reasons, reconstructions and contributions are all made in C; here is where they go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood import _native
from knowngood._errors import KnowngoodError, ModelFileError, OperatingPointError, UsageError
from knowngood._model_file import ModelFile

from ._cpu_paths import choose_cpu_path

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]
Rows = NDArray[np.int32]

_PRECISIONS = {"fp32": 0, "int8": 1, "verified": 2}
_USE, _GOLDEN, _POINT, _UNSUPPORTED, _PRECISION, _PATH = 1, 7, 8, 9, 10, 11
"""Statuses of knowngood.h."""
_GIL_KEPT = {
    "avx512vnni": (16, 4),
    "avx2": (4, 4),
    "sse41": (2, 0),
    "neondotprod": (4, 2),
    "neon": (2, 2),
}
"""Dies times MiB of the file that are scored with the GIL kept, in int8 ("verified" too, which
rescores few) and in fp32: some 20 µs of work. Where there is none, one die of a large model takes
longer, and the GIL is given up for every call."""
_PROBE = np.ones((2, 3), np.float32)
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int32), np.dtype(np.int8))

READS_ARRAYS: bool = _native.learn(_PROBE, _PROBE.ctypes.data, _DTYPES)
"""Whether this NumPy's arrays are laid out as every one's so far, and read without asking NumPy."""


class NativeEngine:
    """A ``.kgd`` in the C engine; immutable, so any thread and any forked child may use it.

    Attributes:
        cpu_path: the kernels that run, one of ``cpu_paths()``; all give the same bits.
        pinned_path: the same if the caller asked for it, else None.
        judge_arrays: ``(values, group, scores, verdicts, reasons)``, in place, for any number of
            dies; None and nothing written for arrays that are not as this needs them.
        judge_and_keep: the same, and a copy of ``values`` as bytes.
    """

    name = "native"
    version = _native.version

    def __init__(
        self, model: ModelFile, handle: _native.Model, cpu_path: str, pinned_path: str | None
    ) -> None:
        self.cpu_path = cpu_path
        self.pinned_path = pinned_path
        self._model = model
        self._handle = handle
        self.judge_arrays = handle.judge
        self.judge_and_keep = handle.judge_and_keep
        self._groups = np.asarray(model.manifest.screen.scaler.groups, np.int32)

    @classmethod
    def open(
        cls, model: ModelFile, *, cpu_path: str | None = None, check: bool = True
    ) -> NativeEngine:
        """The engine for a ``.kgd``, in the precision of its manifest, at its default yield loss.

        Args:
            cpu_path: kernels to use; None takes those of the environment, else the fastest.
            check: score and reconstruct the file's golden dies.

        Raises:
            UsageError: a file of another kind, or a path that this machine does not have.
            ModelFileError: the file breaks a rule, or its golden dies get other scores here.
        """
        if model.sealed is None:
            raise UsageError(f"engine 'native' runs .kgd files; {model.path} is a {model.kind}")
        chosen = choose_cpu_path(cpu_path)
        try:
            handle, opened_path = _native.open_model(model.data, chosen, not check)
            handle = _at(handle, model, opened_path, 0.0)
        except _native.Error as error:
            raise _translated(model, error) from error
        return cls(model, handle, opened_path, cpu_path)

    def judge(self, values: Floats, rows: Rows | None) -> tuple[Floats, Codes, Codes]:
        """Scores, verdicts and reasons, each ``(n_dies,)``."""
        scores = np.empty(len(values), np.float32)
        verdicts, reasons = np.empty(len(values), np.int8), np.empty(len(values), np.int8)
        self._call(self._handle.judge, values, self._group(rows), scores, verdicts, reasons)
        return scores, verdicts, reasons

    def score(self, values: Floats, rows: Rows | None) -> Floats:
        return self.judge(values, rows)[0]

    def reconstruct(self, values: Floats, rows: Rows | None) -> Floats:
        reconstruction = np.empty(values.shape, np.float32)
        self._call(self._handle.reconstruct, values, self._group(rows), reconstruction, None)
        return reconstruction

    def latent(self, values: Floats, rows: Rows | None) -> Floats:
        """The latent code, float32 ``(n_dies, n_latent)``; NaN of a die that is not evaluable.

        Raises:
            UsageError: the model has no latent layer.
        """
        manifest = self._model.manifest
        if manifest.latent_layer is None:
            raise UsageError("the model has no latent layer, so there is no latent code")
        codes = np.empty((len(values), manifest.widths[manifest.latent_layer + 1]), np.float32)
        self._call(self._handle.reconstruct, values, self._group(rows), None, codes)
        return codes

    def contributions(
        self, values: Floats, row: int, k: int
    ) -> tuple[Rows, Floats, NDArray[np.float64]]:
        """Columns, weighted residuals and expected values of the ``k`` tests that made a score.

        Args:
            values: one die, ``(1, n_tests)``.
            row: its row of the scaler.
        """
        columns, z, expected = np.empty(k, np.int32), np.empty(k, np.float32), np.empty(k)
        group = self._groups[row : row + 1]
        n = self._call(self._handle.contributions, values, group, columns, z, expected)
        return columns[:n], z[:n], expected[:n]

    def at(self, fpr: float) -> NativeEngine:
        try:
            handle = _at(self._handle, self._model, self.cpu_path, fpr)
        except _native.Error as error:
            raise _translated(self._model, error) from error
        return NativeEngine(self._model, handle, self.cpu_path, self.pinned_path)

    def _call(self, method: Callable[..., int | None], values: Floats, *arrays: Any) -> int:
        try:
            found = method(np.asarray(values), *arrays)  # its items, of whichever class
        except _native.Error as error:
            raise _translated(self._model, error) from error
        if found is None:
            raise TypeError(
                "the engine takes C-contiguous, aligned arrays of float32 (n_dies, n_tests)"
            )
        return found

    def _group(self, rows: Rows | None) -> Rows | None:
        return None if rows is None else self._groups[rows]


def _at(handle: _native.Model, model: ModelFile, cpu_path: str, fpr: float) -> _native.Model:
    precision = model.manifest.precision
    in_int8, in_fp32 = _GIL_KEPT.get(cpu_path, (0, 0))
    kept = (in_fp32 if precision == "fp32" else in_int8) * 2**20
    return handle.at(_PRECISIONS[precision], fpr, kept // len(model.data))


def _translated(model: ModelFile, error: _native.Error) -> KnowngoodError:
    status, text = error.args
    if status in (_USE, _PRECISION, _PATH):
        return UsageError(f"{model.path}: {text}")
    if status in (_POINT, _UNSUPPORTED):
        return OperatingPointError(f"{model.path}: {text}")
    if status == _GOLDEN:
        text += "; 'knowngood selftest' shows each"
    return ModelFileError(f"{model.path}: {text}")
