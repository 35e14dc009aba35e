"""Export: every form is written, opened in its own engine, judged, and only then kept.

trained model ─▶ (int8) ─▶ bytes ─▶ engine ─▶ scores ─▶ gates ─▶ thresholds, drift ─▶ sealed file
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from knowngood._atomic import write_together
from knowngood._errors import UsageError
from knowngood._manifest import Drift, Manifest
from knowngood._network import (
    DEFAULT_FPR,
    OPERATING_POINTS,
    HeadKind,
    Network,
    OperatingPoint,
    QuantizedNetwork,
    Scaler,
)
from knowngood._schema import Schema
from knowngood_quantize.drift import measure_drift
from knowngood_quantize.int8 import Int8Recipe, quantize
from knowngood_quantize.thresholds import fit_operating_points

from ._fit import Part, score_dies
from ._forms import (
    FORMATS,
    PRECISIONS,
    ExportGates,
    Form,
    Scores,
    choose_forms,
    require_same_unscored,
    score_in_engine,
)
from ._trained import CalibrationSet, TrainedModel

if TYPE_CHECKING:
    from torch import nn

DEFAULT_GATES = ExportGates()
PER_DIE = Int8Recipe()
MAX_RANGE_DIES = 8192
"""Held-out good dies, spread evenly over all, from which int8 ranges are taken: enough for the
extremes of each layer, and quickly done."""


@dataclass(frozen=True)
class ExportedForm:
    """One file that was written.

    Attributes:
        form: "onnx fp32", "tflite int8", …
        path: of the file.
        n_bytes: its size.
        n_bytes_graph: its size without the manifest: weights and graph.
        conversion_s: seconds to quantise and write it, checks not counted.
        drift: against the trained model, on its calibration dies.
    """

    form: str
    path: Path
    n_bytes: int
    n_bytes_graph: int
    conversion_s: float
    drift: Drift

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and what is worth knowing about it."""

    forms: tuple[ExportedForm, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"forms": [f.to_json() for f in self.forms], "notes": list(self.notes)}


def export_trained(
    trained: TrainedModel,
    out_dir: str | Path,
    formats: Sequence[str] = FORMATS,
    precision: Sequence[str] = PRECISIONS,
    fpr: float | None = None,
    *,
    recipe: Int8Recipe = PER_DIE,
    gates: ExportGates = DEFAULT_GATES,
    progress: bool = False,
) -> ExportReport:
    """Write a trained model as ``model.onnx``, ``model.int8.onnx``, ``model.tflite``, ….

    Each form gets thresholds of its own, fitted on its scores of the held-out good dies. All
    files are written at the end, together, or none.

    Args:
        trained: what training left behind.
        out_dir: made if it does not exist; older files of the same names are replaced.
        formats: of "onnx" and "tflite".
        precision: of "fp32" and "int8".
        fpr: the yield loss that the files score at unless told otherwise; None keeps the model's.
        recipe: how the int8 forms are made; static activations are written to ONNX only.
        gates: what every form must keep.
        progress: show a bar on the terminal.

    Raises:
        UsageError: an unknown format or precision, or a folder that cannot be written.
        GateError: a form is too far from the trained model; nothing is written.
        MissingExtraError: an engine needed for the checks is not installed.
    """
    forms = choose_forms(tuple(formats), tuple(precision))
    return _export(trained, out_dir, forms, fpr, recipe, gates, progress)


def _export(
    trained: TrainedModel,
    out_dir: str | Path,
    forms: Sequence[Form],
    fpr: float | None,
    recipe: Int8Recipe,
    gates: ExportGates,
    progress: bool,
) -> ExportReport:
    out_dir = Path(out_dir)
    _make_folder(out_dir)
    reference = _Reference.of(trained, fpr)
    bar = tqdm(forms, desc="export", unit="form", disable=None if progress else True)
    int8 = _Int8.of(trained, recipe) if any(f.precision == "int8" for f in forms) else None
    made = [_make(form, trained, int8, reference, gates) for form in bar]
    write_together({out_dir / m.form.file_name: m.data for m in made})
    exported = tuple(m.report(out_dir) for m in made)
    return ExportReport(exported, trained.provenance.notes)


def export_model(
    module: nn.Module,
    good_values: NDArray[np.float32],
    out_dir: str | Path,
    *,
    schema: Schema | None = None,
    group: NDArray[np.int32] | None = None,
    scaler: Scaler | Literal["fit", "identity"] = "fit",
    head: HeadKind = "topk",
    k: int = 5,
    formats: Sequence[str] = FORMATS,
    precision: Sequence[str] = PRECISIONS,
    fpr: float = DEFAULT_FPR,
    recipe: Int8Recipe = PER_DIE,
    gates: ExportGates = DEFAULT_GATES,
    progress: bool = False,
) -> ExportReport:
    """Export a torch autoencoder that was trained elsewhere.

    The first half of ``good_values`` gives scaler and score head, the second half thresholds and
    drift. Dies that the module was trained on make thresholds too low: give it others.

    Args:
        module: maps ``(n, n_tests)`` to ``(n, n_tests)``; see `layers_from_module` for its layers.
        good_values: ``(n_dies, n_tests)`` of good dies in raw units, in file order, NaN where a
            test is missing; converted to float32.
        out_dir: made if it does not exist.
        schema: names the tests; None numbers them.
        group: int32 ``(n_dies,)``, site of each die; with ``scaler="fit"`` each site with enough
            dies gets a centre of its own.
        scaler: what the module expects to be given. ``"fit"``: robustly standardised tests, the
            centre and scale learnt here. ``"identity"``: raw values. A `Scaler`: the centre and
            scale it was trained with. Missing tests are given as 0 after scaling.
        head: how residuals become a score: "topk", "normalized" or "mse".
        k: residuals that topk takes.
        formats, precision, fpr, recipe, gates, progress: as for `export_trained`.

    Raises:
        UsageError: a layer, shape or argument that is not supported.
        NotEnoughDataError: too few good dies.
        GateError: a form is too far from the module; nothing is written.
    """
    from ._foreign import Request, trained_from_module

    forms = choose_forms(tuple(formats), tuple(precision))
    request = Request(schema, scaler, head, k, fpr)
    trained = trained_from_module(module, np.asarray(good_values), group, request)
    return _export(trained, out_dir, forms, fpr, recipe, gates, progress)


@dataclass(frozen=True)
class _Reference:
    """The trained model itself: its scores in float64, and how float32 alone differs."""

    scores: Scores
    float32_error: float
    fpr: float
    fprs: tuple[float, ...]
    threshold: float

    @classmethod
    def of(cls, trained: TrainedModel, fpr: float | None) -> _Reference:
        network, dies = trained.network, trained.calibration
        fpr = network.screen.default_fpr if fpr is None else fpr
        fprs = tuple(sorted({*OPERATING_POINTS, fpr}))
        exact = _numpy_scores(network, dies, np.float64)
        single = _numpy_scores(network, dies, np.float32)
        threshold = _threshold(fit_operating_points(exact.good, fprs), fpr)
        error = _drift("numpy float32", exact, single, threshold, threshold).error_worst
        return cls(exact, error, fpr, fprs, threshold)


def _numpy_scores(network: Network, dies: CalibrationSet, dtype: type[np.floating[Any]]) -> Scores:
    good, defective = Part(dies.good, dies.good_group), Part(dies.defective, dies.defective_group)
    scores = (score_dies(network, part, dtype=dtype) for part in (good, defective))
    return Scores("numpy", *scores)


def _threshold(points: Sequence[OperatingPoint], fpr: float) -> float:
    return next(p.threshold for p in points if p.fpr == fpr)


@dataclass(frozen=True)
class _Made:
    """A form that passed its gates, not yet on disk."""

    form: Form
    data: bytes
    n_bytes_manifest: int
    conversion_s: float
    drift: Drift

    def report(self, out_dir: Path) -> ExportedForm:
        return ExportedForm(
            str(self.form),
            out_dir / self.form.file_name,
            len(self.data),
            len(self.data) - self.n_bytes_manifest,
            self.conversion_s,
            self.drift,
        )


@dataclass(frozen=True)
class _Int8:
    """The int8 network, which every int8 form shares, and the seconds it took."""

    network: QuantizedNetwork
    seconds: float

    @classmethod
    def of(cls, trained: TrainedModel, recipe: Int8Recipe) -> _Int8:
        started = time.perf_counter()
        dies = trained.calibration
        n_good = len(dies.good)
        rows = np.unique(np.linspace(0, n_good - 1, min(n_good, MAX_RANGE_DIES)).astype(np.int64))
        network = quantize(trained.network, dies.good[rows], dies.good_group[rows], recipe)
        return cls(network, time.perf_counter() - started)


def _make(
    form: Form,
    trained: TrainedModel,
    int8: _Int8 | None,
    reference: _Reference,
    gates: ExportGates,
) -> _Made:
    started = time.perf_counter()
    network: Network | QuantizedNetwork = trained.network
    if int8 is not None and form.precision == "int8":
        network, started = int8.network, started - int8.seconds
    manifest = _manifest(form, trained, reference.fpr)
    data = form.write(network, manifest)
    conversion_s = time.perf_counter() - started
    scores = score_in_engine(form, data, trained.calibration)
    require_same_unscored(form, reference.scores, scores)
    points = fit_operating_points(scores.good, reference.fprs)
    drift = _measure(form, scores, reference, points)
    gates.check(form, drift, reference.fpr, reference.float32_error)
    screen = manifest.screen.with_operating_points(points)
    manifest = replace(manifest, screen=screen, drift=(drift,))
    data = form.write(network, manifest)
    return _Made(form, data, len(manifest.to_json().encode()), conversion_s, drift)


def _manifest(form: Form, trained: TrainedModel, fpr: float) -> Manifest:
    network = trained.network
    return Manifest(
        screen=replace(network.screen, default_fpr=fpr),
        precision=form.precision,
        detector=network.detector,
        widths=network.widths,
        latent_layer=network.latent_layer,
        provenance=trained.provenance,
        evaluation=trained.evaluation,
    )


def _measure(
    form: Form, scores: Scores, reference: _Reference, points: Sequence[OperatingPoint]
) -> Drift:
    name = f"{form} ({scores.engine})"
    return _drift(
        name, reference.scores, scores, reference.threshold, _threshold(points, reference.fpr)
    )


def _drift(
    name: str, expected: Scores, found: Scores, expected_threshold: float, threshold: float
) -> Drift:
    return measure_drift(
        name,
        expected.good,
        expected.defective,
        found.good,
        found.defective,
        expected_threshold,
        threshold,
    )


def _make_folder(out_dir: Path) -> None:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {out_dir}: {error.strerror or error}. Choose another one."
        ) from error
