"""One exported form of a model: a file format and a precision, written, opened and judged.

Nothing here touches the disk: a form is bytes until every form has passed its gates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import GateError, UsageError
from knowngood._manifest import Drift, Manifest
from knowngood._model_file import parse_model
from knowngood._network import Network, QuantizedNetwork
from knowngood.engines import open_engine

from ._trained import CalibrationSet
from .onnx_writer import network_to_onnx
from .tflite_writer import network_to_tflite

FORMATS = ("onnx", "tflite")
PRECISIONS = ("fp32", "int8")
BATCH = 2048
"""Dies scored at once: keeps 5,000 tests in memory, and is large enough for speed."""


@dataclass(frozen=True)
class Form:
    """A file format, "onnx" or "tflite", and a precision, "fp32" or "int8"."""

    format: str
    precision: str

    def __str__(self) -> str:
        return f"{self.format} {self.precision}"

    @property
    def file_name(self) -> str:
        """``model.onnx``, ``model.int8.tflite``, …"""
        middle = "" if self.precision == "fp32" else f".{self.precision}"
        return f"model{middle}.{self.format}"

    def write(self, network: Network | QuantizedNetwork, manifest: Manifest) -> bytes:
        """The bytes of the file."""
        write = network_to_onnx if self.format == "onnx" else network_to_tflite
        return write(network, manifest)


def choose_forms(formats: tuple[str, ...], precisions: tuple[str, ...]) -> tuple[Form, ...]:
    """The forms asked for, fp32 before int8 of each format.

    Raises:
        UsageError: a format or precision this version does not write, or none at all.
    """
    for what, asked, known in (
        ("format", formats, FORMATS),
        ("precision", precisions, PRECISIONS),
    ):
        unknown = [a for a in asked if a not in known]
        if unknown or not asked:
            found = repr(unknown[0]) if unknown else "none"
            raise UsageError(
                f"unknown {what} {found}: this version of knowngood writes {', '.join(known)}"
            )
    return tuple(Form(f, p) for f in FORMATS if f in formats for p in PRECISIONS if p in precisions)


@dataclass(frozen=True)
class Scores:
    """Scores float32 of the calibration dies, by ``engine`` ("onnxruntime 1.20.1")."""

    engine: str
    good: NDArray[np.float32]
    defective: NDArray[np.float32]


def score_in_engine(form: Form, data: bytes, dies: CalibrationSet) -> Scores:
    """Open the file in its own engine and score the calibration dies."""
    model = parse_model(data, Path(form.file_name))
    engine = open_engine(model)
    scaler = model.manifest.screen.scaler

    def score(values: NDArray[np.float32], group: NDArray[np.int32]) -> NDArray[np.float32]:
        rows = scaler.rows(group, len(values)) if len(scaler.groups) > 1 else None
        parts = [
            engine.score(
                np.ascontiguousarray(values[i : i + BATCH]),
                None if rows is None else rows[i : i + BATCH],
            )
            for i in range(0, len(values), BATCH)
        ]
        return np.concatenate([np.empty(0, dtype=np.float32), *parts])

    return Scores(
        f"{engine.name} {engine.version}",
        score(dies.good, dies.good_group),
        score(dies.defective, dies.defective_group),
    )


@dataclass(frozen=True)
class ExportGates:
    """What a form must keep to be written; a breach raises `GateError`.

    Attributes:
        fp32_error: largest relative score error of an fp32 form on good dies.
        float32_allowance: an fp32 form may also err by this multiple of what float32 arithmetic
            in NumPy errs: a model that predicts its tests to a few percent of their sigma turns
            a rounding of u into a larger one of its score.
        int8_error: largest median relative score error of an int8 form on good dies. Quantisation
            lifts every score a little, which the form's own threshold takes up; far beyond that
            the score is mostly rounding.
        int8_flips_good: largest number of good dies whose verdict differs, each form at its own
            threshold, as a multiple of the good dies rejected at that yield loss. Two unrelated
            screens reach 2.
        int8_flips_defective: largest share of defective dies whose verdict differs.
        counting_slack: flips of good dies that are always allowed: a handful tells nothing.
    """

    fp32_error: float = 5e-6
    float32_allowance: float = 4.0
    int8_error: float = 0.25
    int8_flips_good: float = 1.5
    int8_flips_defective: float = 0.2
    counting_slack: int = 5

    def check(self, form: Form, drift: Drift, fpr: float, float32_error: float) -> None:
        """Raise `GateError`, with the numbers, if ``drift`` is beyond what is allowed."""
        if form.precision == "fp32":
            limit = max(self.fp32_error, self.float32_allowance * float32_error)
            self._require(form, "worst relative score error", drift.error_worst, limit)
            return
        self._require(form, "median relative score error", drift.error_median, self.int8_error)
        allowed = self.int8_flips_good * fpr * drift.n_good + self.counting_slack
        self._require(form, f"good dies flipped of {drift.n_good}", drift.flips_good, allowed)
        allowed = self.int8_flips_defective * drift.n_defective + self.counting_slack
        what = f"defective dies flipped of {drift.n_defective}"
        self._require(form, what, drift.flips_defective, allowed)

    @staticmethod
    def _require(form: Form, what: str, found: float, allowed: float) -> None:
        if not found <= allowed:
            raise GateError(
                f"{form} is too far from the trained model: {what} is {found:.3g}, at most "
                f"{allowed:.3g} is allowed. Nothing was written; leave this form out by its format "
                "or precision to export the others."
            )


def require_same_unscored(form: Form, reference: Scores, scores: Scores) -> None:
    """Raise `GateError` unless both give no score to the same dies."""
    for kind, expected, found in (
        ("good", reference.good, scores.good),
        ("defective", reference.defective, scores.defective),
    ):
        differ = int(np.count_nonzero(np.isfinite(expected) != np.isfinite(found)))
        if differ:
            raise GateError(
                f"{form}: {differ} of {len(expected)} {kind} dies are scored by the trained model "
                "or by the exported file, but not by both. Nothing was written."
            )
