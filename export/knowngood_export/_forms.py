"""One exported form of a model: a file format and a precision; how it is named, written and opened.

Nothing here touches the disk: a form is bytes until every form has passed its gates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._manifest import Manifest
from knowngood._model_file import parse_model
from knowngood._network import Network, QuantizedNetwork
from knowngood._sealed import MAX_WIDTH
from knowngood.engines import open_engine

from ._trained import CalibrationSet
from .onnx_writer import network_to_onnx
from .tflite_full_int8 import network_to_full_int8, require_operators
from .tflite_writer import network_to_tflite, network_to_tflite_int16x8

BATCH = 2048
"""Dies scored at once: keeps 5,000 tests in memory, and is large enough for speed."""

GraphWriter = Callable[[Any, Manifest], bytes]
"""Takes the network in the form's precision; STATIC_PRECISIONS need its ranges too."""
_GRAPH_WRITERS: dict[tuple[str, str], GraphWriter] = {
    ("onnx", "fp32"): network_to_onnx,
    ("onnx", "int8"): network_to_onnx,
    ("tflite", "fp32"): network_to_tflite,
    ("tflite", "int8"): network_to_tflite,
    ("tflite", "int16x8"): network_to_tflite_int16x8,
    ("tflite", "int8-full"): network_to_full_int8,
}
_WRITTEN = (("kgd", "fp32"), ("kgd", "int8"), *_GRAPH_WRITERS)

FORMATS = tuple(dict.fromkeys(kind for kind, _ in _WRITTEN))
PRECISIONS = ("fp32", "int8")
"""Written unless told otherwise."""
STATIC_PRECISIONS = ("int16x8", "int8-full")
"""Layers whose results are integers too, in ranges that are the same for every die."""
KNOWN_PRECISIONS = tuple(dict.fromkeys(precision for _, precision in _WRITTEN))


@dataclass(frozen=True)
class Form:
    """A file format and a precision of one model.

    Attributes:
        format: "kgd", "onnx" or "tflite". The precisions of a model share one ``.kgd``; files of
            the other formats hold one each.
        precision: "fp32", "int8", ….
        stem: how the file's name begins, "model" or the name of a baseline.
    """

    format: str
    precision: str
    stem: str = "model"

    def __str__(self) -> str:
        form = f"{self.format} {self.precision}"
        return form if self.stem == "model" else f"{self.stem} {form}"

    @property
    def file_name(self) -> str:
        """``model.kgd``, ``model.onnx``, ``model.int8.tflite``, ``t2.kgd``, …"""
        is_named = self.format != "kgd" and self.precision != "fp32"
        middle = f".{self.precision}" if is_named else ""
        return f"{self.stem}{middle}.{self.format}"

    def write_graph(self, network: Network | QuantizedNetwork, manifest: Manifest) -> bytes:
        """The bytes of an ``.onnx`` or ``.tflite``."""
        return _GRAPH_WRITERS[self.format, self.precision](network, manifest)


def choose_forms(formats: tuple[str, ...], precisions: tuple[str, ...]) -> tuple[Form, ...]:
    """The forms asked for, in the order of ``FORMATS``, forms of one file side by side.

    Raises:
        UsageError: a format or precision this version does not write, none at all, or one that no
            other choice leaves anything of.
    """
    _require_known("format", formats, FORMATS)
    _require_known("precision", precisions, KNOWN_PRECISIONS)
    forms = tuple(Form(f, p) for f, p in _WRITTEN if f in formats and p in precisions)
    for precision in precisions:
        if precision not in {form.precision for form in forms}:
            possible = ", ".join(f for f, p in _WRITTEN if p == precision)
            raise UsageError(
                f"precision {precision!r} is written as {possible} only: add that format, "
                "or leave the precision out"
            )
    return forms


def _require_known(what: str, asked: tuple[str, ...], known: tuple[str, ...]) -> None:
    unknown = [a for a in asked if a not in known]
    if unknown or not asked:
        found = repr(unknown[0]) if unknown else "none"
        raise UsageError(
            f"unknown {what} {found}: this version of knowngood writes {', '.join(known)}"
        )


def by_file(forms: tuple[Form, ...]) -> list[tuple[Form, ...]]:
    """The forms of each file."""
    return [tuple(group) for _, group in groupby(forms, key=lambda form: form.file_name)]


def require_writable(network: Network, forms: tuple[Form, ...]) -> None:
    """Refuse a network that one of the forms cannot hold, before any work is done.

    Raises:
        UsageError: a layer is too wide, or int8-full has no operator for an activation.
    """
    require_width(max(network.widths), forms)
    if any(form.precision == "int8-full" for form in forms):
        require_operators(network.layers)


def require_width(widest: int, forms: tuple[Form, ...]) -> None:
    """Refuse a layer, or so many tests, that one of the forms cannot hold.

    Raises:
        UsageError: naming the form, the width and what it holds at most.
    """
    limited = [f for f in forms if f.format == "kgd" or f.precision != "fp32"]
    if limited and widest > MAX_WIDTH:
        raise UsageError(
            f"the network has a layer {widest:,} wide, {limited[0]} holds at most {MAX_WIDTH:,}: "
            "beyond, the int32 sum of an int8 layer can overflow. Use fewer tests, narrower "
            "layers, or fp32 as ONNX or TFLite."
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores float32 of the calibration dies, by ``engine`` ("onnxruntime 1.20.1")."""

    engine: str
    good: NDArray[np.float32]
    defective: NDArray[np.float32]


def score_in_engine(form: Form, data: bytes, dies: CalibrationSet) -> Scores:
    """Open the file in its own engine and score the calibration dies.

    What a ``.kgd`` says of its golden dies is not looked at.
    """
    model = parse_model(data, Path(form.file_name))
    if form.format == "kgd":
        model = model.in_precision(form.precision)
    engine = open_engine(model, check=False)
    scaler = model.manifest.screen.scaler

    def score(values: NDArray[np.float32], group: NDArray[np.int32]) -> NDArray[np.float32]:
        rows = scaler.rows(group, len(values)) if len(scaler.groups) > 1 else None
        return in_batches(engine.score, values, rows)

    return Scores(
        f"{engine.name} {engine.version}",
        score(dies.good, dies.good_group),
        score(dies.defective, dies.defective_group),
    )


def in_batches(
    score: Callable[[NDArray[np.float32], NDArray[np.int32] | None], NDArray[np.float32]],
    values: NDArray[np.float32],
    rows: NDArray[np.int32] | None,
) -> NDArray[np.float32]:
    """Scores float32 ``(n_dies,)`` of many dies, ``BATCH`` at a time."""
    parts = [
        score(
            np.ascontiguousarray(values[i : i + BATCH]),
            None if rows is None else rows[i : i + BATCH],
        )
        for i in range(0, len(values), BATCH)
    ]
    return np.concatenate([np.empty(0, dtype=np.float32), *parts])
