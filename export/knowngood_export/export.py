"""Export: every form is written, opened in its own engine, certified, and only then kept.

trained model ─▶ (int8) ─▶ bytes ─▶ engine ─▶ scores ─▶ thresholds, bands ─▶ certificate ─▶ file

Here is what callers see and the order of things; `_make_files` makes the files, `_forms`,
`_drafts` and `_sealing` know the formats, `_judge_forms` and `_gates` what a form must keep.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from knowngood._atomic import write_together
from knowngood._errors import UsageError
from knowngood._manifest import Drift
from knowngood._network import DEFAULT_FPR, HeadKind, Scaler
from knowngood._schema import Schema
from knowngood_quantize.certificate import DEFAULT_GATES, Certificate, CertificateGates
from knowngood_quantize.int8 import Int8Recipe

from ._certified import certify_drafts
from ._conversions import Recipe
from ._drafts import MadeFile
from ._forms import FORMATS, PRECISIONS, Form, choose_forms, require_width, require_writable
from ._make_files import Job
from ._trained import TrainedModel

if TYPE_CHECKING:
    from torch import nn

PER_DIE = Int8Recipe()
CERTIFICATE_NAME = "certificate.json"


@dataclass(frozen=True)
class ExportedForm:
    """One form that was written.

    Attributes:
        form: "kgd int8", "onnx fp32", …; "t2 kgd fp32" of a baseline.
        precision: "fp32", "int8", ….
        path: of the file; the forms of a ``.kgd`` share one.
        n_bytes: its size.
        n_bytes_graph: its size without the metadata: weights and graph.
        conversion_s: seconds to quantise and write it, checks not counted.
        drift: against the trained model, on its calibration dies.
    """

    form: str
    precision: str
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
    """What an export wrote, and what is worth knowing about it.

    Attributes:
        certificate: of all forms beside native fp32; None if a layer is too wide for a ``.kgd``.
    """

    forms: tuple[ExportedForm, ...]
    notes: tuple[str, ...] = ()
    certificate: Certificate | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, each once."""
        return tuple(dict.fromkeys(form.path for form in self.forms))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        certificate = None if self.certificate is None else json.loads(self.certificate.to_json())
        return {
            "forms": [f.to_json() for f in self.forms],
            "notes": list(self.notes),
            "certificate": certificate,
        }


def export_trained(
    trained: TrainedModel,
    out_dir: str | Path,
    formats: Sequence[str] = FORMATS,
    precision: Sequence[str] = PRECISIONS,
    fpr: float | None = None,
    *,
    baselines: bool = False,
    recipe: Recipe = PER_DIE,
    gates: CertificateGates = DEFAULT_GATES,
    fall_back: bool = False,
    progress: bool = False,
) -> ExportReport:
    """Write a trained model as ``model.kgd``, ``model.onnx``, ``model.int8.onnx``, ….

    Each form gets thresholds of its own, fitted on its scores of the held-out good dies ("kgd
    fp32": on the trained model's in float64). No file is written before all are made.

    Args:
        trained: what training left behind.
        out_dir: made if it does not exist; older files of the same names are replaced.
        formats: of "kgd", "onnx" and "tflite".
        precision: of "fp32" and "int8", which share a ``.kgd`` and have a file each in the other
            formats; and, as TFLite only, "int16x8" and "int8-full".
        fpr: the yield loss that the files score at unless told otherwise; None keeps the model's.
        baselines: write the classical screens that were trained beside the model too, in fp32 as
            ``pat.kgd``, ``t2.kgd`` and ``pca.kgd``.
        recipe: how the int8 forms are made; static activations are written to ONNX only. "auto"
            tries several on these dies and takes the one that changes fewest verdicts.
        gates: what every form must keep, see docs/certificate.md.
        fall_back: let int16x8 or fp32 take the place of a form that the gates refuse.
        progress: show a bar on the terminal.

    Raises:
        UsageError: an unknown format or precision, a network that one of them cannot hold, no
            baselines where they are asked for, or a folder that cannot be written.
        GateError: a form changes too many verdicts, and nothing may or can take its place; nothing
            is written.
        MissingExtraError: an engine needed for the checks is not installed.
    """
    forms = choose_forms(tuple(formats), tuple(precision))
    order = _Order(forms, fpr, recipe, gates, fall_back, baselines, progress)
    return _export(trained, out_dir, order)


def seal_file(
    trained: TrainedModel,
    path: str | Path,
    precision: Sequence[str] = PRECISIONS,
    fpr: float | None = None,
    *,
    recipe: Recipe = PER_DIE,
    gates: CertificateGates = DEFAULT_GATES,
    fall_back: bool = False,
) -> ExportReport:
    """Write a trained model as one ``.kgd`` of any name, its certificate inside.

    Args:
        trained: what training or an import left behind.
        path: of the file; its folder exists.
        precision, fpr, recipe, gates, fall_back: as for `export_trained`.

    Raises:
        UsageError, GateError, MissingExtraError: as for `export_trained`.
    """
    path, forms = Path(path), choose_forms(("kgd",), tuple(precision))
    require_writable(trained.network, forms)
    order = _Order(forms, fpr, recipe, gates, fall_back)
    made = _make(order.job(trained, forms), order, lambda: None)
    (file,) = (replace(file, name=path.name) for file in made.files)
    write_together({path: file.data})
    notes = (*trained.provenance.notes, *made.notes)
    return ExportReport(tuple(_report(file, path.parent)), notes, made.certificate)


@dataclass(frozen=True)
class _Order:
    """What is to be written of a trained model, and how; see `export_trained`."""

    forms: tuple[Form, ...]
    fpr: float | None
    recipe: Recipe
    gates: CertificateGates
    fall_back: bool = False
    baselines: bool = False
    progress: bool = False

    def job(self, trained: TrainedModel, forms: tuple[Form, ...]) -> Job:
        return Job.of(trained, forms, self.fpr, self.recipe, self.gates)


def _export(trained: TrainedModel, out_dir: str | Path, order: _Order) -> ExportReport:
    out_dir = Path(out_dir)
    require_writable(trained.network, order.forms)
    screens = _baselines(trained) if order.baselines else ()
    with _folder(out_dir):
        return _write_all(trained, screens, out_dir, order)


def _write_all(
    trained: TrainedModel, screens: Sequence[TrainedModel], out_dir: Path, order: _Order
) -> ExportReport:
    jobs = [order.job(trained, order.forms)]
    jobs += [order.job(s, (Form("kgd", "fp32", s.network.detector),)) for s in screens]
    bar = tqdm(
        total=sum(len(job.files) for job in jobs) + len(jobs),
        desc="export",
        unit="step",
        disable=None if order.progress else True,
    )
    with bar:
        made = [_make(job, order, bar.update) for job in jobs]
    _write(out_dir, [file for m in made for file in m.files], made[0].certificate)
    exported = tuple(form for m in made for file in m.files for form in _report(file, out_dir))
    notes = (*trained.provenance.notes, *(note for m in made for note in m.notes))
    return ExportReport(exported, notes, made[0].certificate)


@dataclass(frozen=True, eq=False)
class _Made:
    """All files of one trained model."""

    files: tuple[MadeFile, ...]
    certificate: Certificate | None
    notes: tuple[str, ...]


def _make(job: Job, order: _Order, step: Callable[[], object]) -> _Made:
    drafts = []
    for forms in job.files:
        drafts.append(job.draft(forms))
        step()
    chosen = certify_drafts(job, drafts, fall_back=order.fall_back)
    step()
    return _Made(tuple(chosen.seal()), chosen.certificate, (*job.notes, *chosen.notes))


def _write(out_dir: Path, files: Sequence[MadeFile], certificate: Certificate | None) -> None:
    """All files at once, and certificate.json."""
    data = {out_dir / file.name: file.data for file in files}
    if certificate is not None:
        data[out_dir / CERTIFICATE_NAME] = f"{certificate.to_json()}\n".encode()
    write_together(data)


def _baselines(trained: TrainedModel) -> tuple[TrainedModel, ...]:
    """The classical screens as models of their own, calibrated on the same dies."""
    if not trained.baselines:
        raise UsageError(
            "the model has no baselines beside it: they are fitted by knowngood train "
            "(train_lots), not by AutoencoderDetector or for modules trained elsewhere"
        )
    provenance = replace(trained.provenance, learning_curve=())
    return tuple(
        replace(trained, network=b, baselines=(), provenance=provenance) for b in trained.baselines
    )


def _report(made: MadeFile, out_dir: Path) -> list[ExportedForm]:
    return [
        ExportedForm(
            form=str(m.form),
            precision=m.form.precision,
            path=out_dir / made.name,
            n_bytes=len(made.data),
            n_bytes_graph=made.n_bytes_graph,
            conversion_s=m.conversion_s,
            drift=m.drift,
        )
        for m in made.forms
    ]


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
    recipe: Recipe = PER_DIE,
    gates: CertificateGates = DEFAULT_GATES,
    fall_back: bool = False,
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
        head: how residuals become a score: "topk", "mahalanobis", "normalized" or "mse".
        k: residuals that topk takes.
        formats, precision, fpr, recipe, gates, fall_back, progress: as for `export_trained`.

    Raises:
        UsageError: a layer, shape or argument that is not supported.
        NotEnoughDataError: too few good dies.
        GateError: a form is too far from the module; nothing is written.
    """
    from ._foreign import Request, trained_from_module

    forms = choose_forms(tuple(formats), tuple(precision))
    request = Request(schema, scaler, head, k, fpr)
    values = np.asarray(good_values)
    require_width(values.shape[-1] if values.ndim else 0, forms)
    trained = trained_from_module(module, values, group, request)
    return _export(
        trained, out_dir, _Order(forms, fpr, recipe, gates, fall_back, progress=progress)
    )


@contextmanager
def _folder(out_dir: Path) -> Iterator[None]:
    """The folder, made before the long work; it goes again if that fails and leaves it empty."""
    is_new = not out_dir.exists()
    _make_folder(out_dir)
    try:
        yield
    except BaseException:
        if is_new and not any(out_dir.iterdir()):
            out_dir.rmdir()
        raise


def _make_folder(out_dir: Path) -> None:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {out_dir}: {error.strerror or error}. Choose another one."
        ) from error
