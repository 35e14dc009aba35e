"""The bytes of each file of an export, with the forms in it converted, judged and sealed.

A file is made twice: without thresholds, to be scored with, and again with the thresholds and the
drift that its own scores gave.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from knowngood._kgd import encode
from knowngood._manifest import Drift, Manifest
from knowngood._network import Network, QuantizedNetwork
from knowngood._sealed import LAYER_PRECISIONS, as_one_of
from knowngood_quantize.int8 import Int8Recipe, quantize
from knowngood_quantize.static_ranges import with_static_ranges

from ._forms import STATIC_PRECISIONS, Form, by_file, score_in_engine
from ._gates import ExportGates
from ._judge_forms import TrainedScores
from ._sealing import check_sealed, n_bytes_graph, provisional, seal, unsealed
from ._trained import TrainedModel


@dataclass(frozen=True)
class MadeForm:
    """One form in a file: seconds to quantise and write it, and its drift."""

    form: Form
    conversion_s: float
    drift: Drift


@dataclass(frozen=True, eq=False)
class MadeFile:
    """A file that passed its gates, not yet on disk.

    Attributes:
        name: "model.kgd", ….
        n_bytes_graph: what weights and graph take of ``data``.
    """

    name: str
    data: bytes
    n_bytes_graph: int
    forms: tuple[MadeForm, ...]


@dataclass(frozen=True, eq=False)
class Converted:
    """The network in one precision, which every form of it shares, and the seconds it took."""

    network: Network | QuantizedNetwork
    seconds: float


@dataclass(frozen=True, eq=False)
class Job:
    """One trained model and the forms wanted of it.

    Attributes:
        reference: the trained model's own scores.
        converted: the network by precision, at least in those wanted.
    """

    trained: TrainedModel
    forms: tuple[Form, ...]
    reference: TrainedScores
    converted: Mapping[str, Converted]
    gates: ExportGates

    @classmethod
    def of(
        cls,
        trained: TrainedModel,
        forms: tuple[Form, ...],
        fpr: float | None,
        recipe: Int8Recipe,
        gates: ExportGates,
    ) -> Job:
        """Score the calibration dies and convert the network.

        Raises:
            UsageError: the recipe cannot be followed for one of the forms.
        """
        reference = TrainedScores.of(trained, fpr)
        converted = _convert(trained, {form.precision for form in forms}, recipe)
        return cls(trained, forms, reference, converted, gates)

    @property
    def files(self) -> list[tuple[Form, ...]]:
        """The forms of each file."""
        return by_file(self.forms)

    def make(self, forms: tuple[Form, ...]) -> MadeFile:
        """One of ``files``.

        Raises:
            GateError: a form is too far from the trained model.
        """
        return _make_sealed(self, forms) if forms[0].format == "kgd" else _make_graph(self, *forms)


def _convert(
    trained: TrainedModel, precisions: Collection[str], recipe: Int8Recipe
) -> dict[str, Converted]:
    """The network in each precision; all but fp32 share their int8 weights."""
    converted = {"fp32": Converted(trained.network, 0.0)}
    if all(precision == "fp32" for precision in precisions):
        return converted
    started = time.perf_counter()
    dies = trained.int8_dies.rounding
    int8 = quantize(trained.network, dies.values, dies.group, recipe)
    converted["int8"] = Converted(int8, time.perf_counter() - started)
    if any(precision in STATIC_PRECISIONS for precision in precisions):
        ranged = with_static_ranges(int8, dies.values, dies.group)
        of_each = Converted(ranged, time.perf_counter() - started)
        converted |= dict.fromkeys(STATIC_PRECISIONS, of_each)
    return converted


def _make_graph(job: Job, form: Form) -> MadeFile:
    """An ``.onnx`` or ``.tflite``, which holds one form."""
    converted, started = job.converted[form.precision], time.perf_counter()
    manifest = _manifest(job, form)
    data = form.write_graph(converted.network, manifest)
    conversion_s = converted.seconds + time.perf_counter() - started
    scores = score_in_engine(form, data, job.trained.calibration)
    judged = job.reference.judge(form, scores, job.gates)
    screen = manifest.screen.with_operating_points(judged.points)
    manifest = replace(manifest, screen=screen, drift=(judged.drift,))
    data = form.write_graph(converted.network, manifest)
    n_bytes_graph = len(data) - len(manifest.to_json().encode())
    made = MadeForm(form, conversion_s, judged.drift)
    return MadeFile(form.file_name, data, n_bytes_graph, (made,))


def _manifest(job: Job, form: Form) -> Manifest:
    network = job.trained.network
    return Manifest(
        screen=replace(network.screen, default_fpr=job.reference.fpr),
        precision=form.precision,
        detector=network.detector,
        widths=network.widths,
        latent_layer=network.latent_layer,
        provenance=job.trained.provenance,
        evaluation=job.trained.evaluation,
    )


def _make_sealed(job: Job, forms: tuple[Form, ...]) -> MadeFile:
    """A ``.kgd``, which holds each precision wanted."""
    networks = [job.converted[form.precision].network for form in forms]
    model = unsealed(job.trained, networks, job.reference.fpr)
    data = provisional(model, job.reference.fprs)
    judged = {
        as_one_of(form.precision, LAYER_PRECISIONS): job.reference.judge(
            form, score_in_engine(form, data, job.trained.calibration), job.gates
        )
        for form in forms
    }
    model = seal(model, judged)
    started = time.perf_counter()
    data = encode(model)
    written_s = time.perf_counter() - started
    name = forms[0].file_name
    check_sealed(data, name)
    made = tuple(
        MadeForm(form, job.converted[form.precision].seconds + written_s, drift)
        for form, drift in zip(forms, model.drift, strict=True)
    )
    return MadeFile(name, data, n_bytes_graph(data), made)
