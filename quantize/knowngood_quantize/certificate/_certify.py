"""Scorers run over dies, and what they gave made a certificate."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
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
from ._record import Certificate
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
    """Forms whose breaches are told and do not count."""


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
        breaches = gates.breaches(form, of_reference.float64_error_worst)
        is_gated = name not in circumstances.not_gated
        certified.append(replace(form, breaches=breaches, is_gated=is_gated))
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
        notes=circumstances.notes,
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
