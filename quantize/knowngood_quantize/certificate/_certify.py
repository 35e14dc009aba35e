"""Scorers run over dies, and what they gave made a certificate."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from knowngood._bench import processor
from knowngood._errors import SchemaMismatchError
from knowngood_quantize.yardstick import YIELD_LOSS_GRID

from ._dies import CertificationDies
from ._gates import DEFAULT_GATES, CertificateGates
from ._measure import certify_form, certify_reference
from ._record import Certificate, FormCertificate
from ._run import RejectedDies, score_form, score_reference

if TYPE_CHECKING:
    from knowngood import Scorer


@dataclass(frozen=True)
class Circumstances:
    """What a certificate tells besides what is measured; as in `Certificate`."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    band_evidence: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    not_gated: tuple[str, ...] = ()
    """Forms whose breaches are told and do not count, but for those of their weights."""
    weight_steps: tuple[float, ...] = ()


def certify_scorers(
    reference: Scorer,
    forms: Mapping[str, Scorer],
    dies: CertificationDies,
    *,
    gates: CertificateGates = DEFAULT_GATES,
    circumstances: Circumstances = Circumstances(),
    progress: Callable[[str], object] = lambda _: None,
) -> Certificate:
    """Certify forms by their own engines.

    Args:
        reference: usually the native fp32 of a ``.kgd``, at any operating point.
        forms: by name ("kgd int8", "onnx int8"), each with thresholds of its own.
        dies: what they score.
        gates: what is allowed.
        circumstances: recipe, bands, versions, notes.
        progress: told the name of each form before it is scored.

    Raises:
        SchemaMismatchError: a form has other tests than the reference.
        UsageError: a form has no operating point of the reference.
        NotEnoughDataError: no good die is scored.
    """
    _require_same_tests(reference, forms)
    progress(str(reference.path))
    expected = score_reference(reference, dies)
    of_reference = certify_reference(expected)
    rejected = RejectedDies.of(reference, expected.scores, dies)
    certified = []
    for name, scorer in forms.items():
        progress(name)
        form = certify_form(expected, score_form(name, scorer, dies, rejected))
        certified.append(_judged(form, gates, circumstances, of_reference.float64_error_worst))
    return Certificate(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model_id=reference.model_id,
        default_fpr=reference.screen.default_fpr,
        reference=of_reference,
        dies=dies.sets(),
        dies_note=dies.note,
        yield_loss=YIELD_LOSS_GRID,
        forms=tuple(certified),
        gates=gates,
        recipe=dict(circumstances.recipe),
        band_evidence=dict(circumstances.band_evidence),
        versions={**_versions(), **circumstances.versions},
        platform=platform.platform(),
        processor=processor(),
        weight_steps=circumstances.weight_steps,
        notes=(*circumstances.notes, *_notes(certified, gates)),
    ).only(*forms)


def _judged(
    form: FormCertificate,
    gates: CertificateGates,
    circumstances: Circumstances,
    float64_error: float | None,
) -> FormCertificate:
    """Coarse weights and noise gate any form: no few flips on few dies prove them harmless."""
    steps = circumstances.weight_steps
    is_coarse = bool(gates.of_weights(form, steps) or gates.of_noise(form))
    return replace(
        form,
        breaches=gates.breaches(form, float64_error, steps),
        is_gated=is_coarse or form.form not in circumstances.not_gated,
    )


def _notes(forms: Sequence[FormCertificate], gates: CertificateGates) -> tuple[str, ...]:
    """Which forms pass for want of dies: nothing was asked of their verdicts."""
    unjudged = [f.form for f in forms if not any(gates.judges(p) for p in f.points)]
    if not unjudged:
        return ()
    return (
        f"verdicts of {', '.join(unjudged)} are not gated: none of the operating points from "
        f"{100 * gates.fpr_low:g} to {100 * gates.fpr_high:g} % yield loss is supported by enough "
        "good dies, so flips are reported only. Fit the thresholds on more good dies",
    )


def _require_same_tests(reference: Scorer, forms: Mapping[str, Scorer]) -> None:
    for name, scorer in forms.items():
        if scorer.schema.digest != reference.schema.digest:
            raise SchemaMismatchError(
                f"{name} ({scorer.path}) has other tests than the reference {reference.path}: "
                f"{scorer.schema.n_tests} and {reference.schema.n_tests}, schema digests "
                f"{scorer.schema.digest[:12]} and {reference.schema.digest[:12]}. Certify it "
                "against the fp32 form that was exported with it"
            )


def _versions() -> dict[str, str]:
    return {
        "knowngood": version("knowngood"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }
