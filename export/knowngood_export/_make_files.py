"""From a trained model to the bytes of each file: converted, judged, certified.

A file is made twice: without thresholds, to be scored with, and again with the thresholds that its
own scores gave. So it is opened and certified like any other; last the certificate is put in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from knowngood import Scorer
from knowngood._kgd import encode
from knowngood._manifest import Manifest
from knowngood._sealed import LAYER_PRECISIONS, MAX_WIDTH, as_one_of
from knowngood_quantize.certificate import (
    Certificate,
    CertificateGates,
    CertificationDies,
    Circumstances,
    DieValues,
    certify_scorers,
)

from ._conversions import Conversions, Recipe
from ._drafts import Draft, GraphDraft, SealedDraft, open_form
from ._forms import Form, by_file, score_in_engine
from ._judge_forms import TrainedScores
from ._sealing import ExactModel, provisional, unsealed, with_bands, with_thresholds
from ._trained import TrainedModel


@dataclass(frozen=True, eq=False)
class Job:
    """One trained model and the forms wanted of it.

    Attributes:
        reference: the trained model's own scores.
        conversions: the network by precision.
    """

    trained: TrainedModel
    forms: tuple[Form, ...]
    reference: TrainedScores
    conversions: Conversions
    gates: CertificateGates

    @classmethod
    def of(
        cls,
        trained: TrainedModel,
        forms: tuple[Form, ...],
        fpr: float | None,
        recipe: Recipe,
        gates: CertificateGates,
    ) -> Job:
        """Score the calibration dies."""
        reference = TrainedScores.of(trained, fpr)
        return cls(trained, forms, reference, Conversions(trained, recipe), gates)

    @property
    def files(self) -> list[tuple[Form, ...]]:
        """The forms of each file."""
        return by_file(self.forms)

    @property
    def stem(self) -> str:
        """How the names of all its files begin."""
        return self.forms[0].stem

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user of the ``.kgd`` has to know of its precisions."""
        return self.exact.notes if self._has_sealed_int8 else ()

    @property
    def _has_sealed_int8(self) -> bool:
        return any((form.format, form.precision) == ("kgd", "int8") for form in self.forms)

    @cached_property
    def exact(self) -> ExactModel:
        """fp32 as the native engine computes it, and int8 where a ``.kgd`` is to hold it.

        Raises:
            UsageError: the recipe cannot be followed for a ``.kgd``.
            GateError: fp32 is too far from the trained model.
        """
        fp32 = self.trained.network
        int8 = self.conversions.to("int8").network if self._has_sealed_int8 else None
        model = unsealed(self.trained, fp32, int8, self.reference.fpr)
        data = provisional(model, self.reference.fprs)
        judged = {
            p: self.reference.judge(
                form, score_in_engine(form, data, self.trained.calibration), self.gates
            )
            for p in model.layer_precisions
            for form in (Form("kgd", p, self.stem),)
        }
        return with_bands(with_thresholds(model, judged), self.trained)

    def draft(self, forms: tuple[Form, ...]) -> Draft:
        """One of ``files``.

        Raises:
            UsageError: the recipe cannot be followed for one of the forms.
            GateError: an fp32 form is too far from the trained model.
        """
        return self._draft_sealed(forms) if forms[0].format == "kgd" else self._draft_graph(*forms)

    def _draft_sealed(self, forms: tuple[Form, ...]) -> SealedDraft:
        precisions = [as_one_of(form.precision, LAYER_PRECISIONS) for form in forms]
        seconds = self.conversions.to("int8").seconds if "int8" in precisions else 0.0
        return SealedDraft(forms, self.exact.only(precisions), seconds)

    def _draft_graph(self, form: Form) -> GraphDraft:
        converted, started = self.conversions.to(form.precision), time.perf_counter()
        manifest = self._manifest(form)
        data = form.write_graph(converted.network, manifest)
        conversion_s = converted.seconds + time.perf_counter() - started
        scores = score_in_engine(form, data, self.trained.calibration)
        judged = self.reference.judge(form, scores, self.gates)
        screen = manifest.screen.with_operating_points(judged.points)
        manifest = replace(manifest, screen=screen, drift=(judged.drift,))
        return GraphDraft(form, converted.network, manifest, judged.drift, conversion_s)

    def _manifest(self, form: Form) -> Manifest:
        network = self.trained.network
        return Manifest(
            screen=replace(network.screen, default_fpr=self.reference.fpr),
            precision=form.precision,
            detector=network.detector,
            widths=network.widths,
            latent_layer=network.latent_layer,
            provenance=self.trained.provenance,
            evaluation=self.trained.evaluation,
        )

    def certify(self, drafts: Sequence[Draft], notes: Sequence[str] = ()) -> Certificate | None:
        """Every form beside native fp32, and that beside float64.

        None for a network with a layer too wide for a ``.kgd``: it has no native fp32, and no int8.
        """
        if max(self.trained.network.widths) > MAX_WIDTH:
            return None
        scorers = {name: s for draft in drafts for name, s in draft.scorers.items()}
        certificate = certify_scorers(
            self._native_fp32(drafts),
            scorers,
            self._dies,
            gates=self.gates,
            circumstances=self._circumstances(drafts, notes),
        )
        return _reproducible(certificate, self.trained.provenance.created)

    def _native_fp32(self, drafts: Sequence[Draft]) -> Scorer:
        """Of the ``.kgd`` that is written, if it holds fp32."""
        form = Form("kgd", "fp32", self.stem)
        written = (d.model for d in drafts if isinstance(d, SealedDraft) and form in d.forms)
        model = next(written, None) or self.exact.only(("fp32",))
        return open_form(encode(model), form.file_name, "fp32")

    def _circumstances(self, drafts: Sequence[Draft], notes: Sequence[str]) -> Circumstances:
        """``notes`` and what is known of the forms in the drafts, not of others that were tried."""
        forms = {form for draft in drafts for form in draft.forms}
        is_int8 = any(form.precision != "fp32" for form in forms)
        int8 = Form("kgd", "int8", self.stem)
        exact = self.exact if int8 in forms else ExactModel(self.exact.model)
        evidence = exact.evidence if Form("kgd", "fp32", self.stem) in forms else None
        return Circumstances(
            recipe=self.conversions.facts if is_int8 else {},
            band_evidence={} if evidence is None else json.loads(evidence.to_json()),
            versions=self.trained.provenance.versions,
            notes=(*exact.notes, *notes),
            not_gated=() if evidence is None else (str(int8),),
            weight_steps=self.conversions.weight_steps if is_int8 else (),
        )

    @property
    def _dies(self) -> CertificationDies:
        dies = self.trained.calibration
        return CertificationDies(
            DieValues(dies.good, dies.good_group),
            {name: DieValues(d.values, d.group) for name, d in dies.by_defect().items()},
            f"{len(dies.good):,} good dies held out, on which the thresholds were fitted, and "
            f"{len(dies.defective):,} with defects injected",
        )


def _reproducible(certificate: Certificate, created: str) -> Certificate:
    """The same for the same model on the same machine: dated like the model, and without the
    digests of files that will hold it.

    Versions, platform, processor and the reference's kernels stay those of the exporting machine:
    the figures were measured there.
    """
    forms = tuple(
        form if form.form.startswith("kgd") else replace(form, model_id="")
        for form in certificate.forms
    )
    return replace(certificate, created=created, forms=forms)
