"""Drafts certified all at once; what the gates refuse stops the export, or gives way to others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from knowngood_quantize.certificate import Certificate

from ._drafts import Draft, MadeFile
from ._forms import Form
from ._gates import BreachError
from ._make_files import Job

_FINER = {"int8": "int16x8", "int8-full": "int16x8", "int16x8": "fp32"}
"""What takes the place of a refused precision, in TFLite; in the other formats it is fp32."""


@dataclass(frozen=True, eq=False)
class CertifiedDrafts:
    """Files of one trained model that the gates allow.

    Attributes:
        certificate: of all their forms; None where there is nothing to certify.
        notes: which forms gave way to which, and why.
    """

    drafts: tuple[Draft, ...]
    certificate: Certificate | None
    notes: tuple[str, ...] = ()

    def seal(self) -> Iterator[MadeFile]:
        """Each file, with the certificate of the forms in it."""
        for draft in self.drafts:
            own = None if self.certificate is None else self.certificate.only(*draft.scorers)
            yield draft.seal("" if own is None else own.to_json())


def certify_drafts(job: Job, drafts: Sequence[Draft], *, fall_back: bool) -> CertifiedDrafts:
    """Certify files of a job; with ``fall_back`` finer precisions replace what is refused.

    Raises:
        BreachError: a form is refused, and none may or can take its place.
    """
    notes: list[str] = []
    while True:
        certificate = job.certify(drafts, notes)
        if certificate is None or certificate.passed:
            return CertifiedDrafts(tuple(drafts), certificate, tuple(notes))
        breach = BreachError(certificate)
        if not fall_back:
            raise breach
        drafts, told = _with_finer(job, drafts, certificate, breach)
        notes += told


def _with_finer(
    job: Job, drafts: Sequence[Draft], certificate: Certificate, breach: BreachError
) -> tuple[list[Draft], list[str]]:
    """Drafts without the refused ones, each replaced once by what comes after it."""
    kept = [draft for draft in drafts if not breach.forms_of(draft.scorers)]
    notes = []
    for draft in drafts:
        refused = breach.forms_of(draft.scorers)
        if not refused:
            continue
        finer = _finer(draft.forms)
        if finer is None:
            raise breach
        if all(finer not in other.forms for other in kept):
            kept.append(job.draft((finer,)))
        told = "; ".join(b for f in certificate.forms if f.form in refused for b in f.breaches)
        notes.append(f"{' and '.join(refused)} left out, {finer} takes its place: {told}")
    order = {name: place for place, name in enumerate(("kgd", "onnx", "tflite"))}
    return sorted(kept, key=lambda draft: order[draft.forms[0].format]), notes


def _finer(forms: Sequence[Form]) -> Form | None:
    """What replaces a file of these forms, None after fp32."""
    form = forms[-1]
    if form.precision == "fp32":
        return None
    in_tflite = form.format == "tflite"
    return Form(form.format, _FINER[form.precision] if in_tflite else "fp32", form.stem)
