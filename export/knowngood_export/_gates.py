"""What a form must keep of the trained model before it is certified."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from knowngood._errors import GateError
from knowngood._manifest import Drift
from knowngood_quantize.certificate import Certificate, CertificateGates

from ._forms import Form, Scores


class BreachError(GateError):
    """Forms that the gates refuse.

    Attributes:
        forms: their names.
    """

    def __init__(self, certificate: Certificate) -> None:
        self.forms = tuple(form.form for form in certificate.forms if not form.passed)
        told = "".join(f"\n  {breach}" for breach in certificate.breaches)
        super().__init__(
            f"{', '.join(self.forms)}: too far from fp32 on {certificate.dies_note}:{told}\n"
            "Nothing was written. Leave out int8 or that format (--precision, --formats), or let a "
            "finer precision take its place (--fallback, fall_back=True)."
        )

    def forms_of(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that are refused."""
        return [name for name in names if name in self.forms]


def require_fp32(form: Form, drift: Drift, gates: CertificateGates, float32_error: float) -> None:
    """Raise `GateError` if an fp32 form is further from float64 than float32 arithmetic explains.

    Args:
        float32_error: what float32 arithmetic in NumPy errs on the same dies.
    """
    allowed = max(gates.fp32_error, gates.float32_allowance * float32_error)
    if form.precision == "fp32" and not drift.error_worst <= allowed:
        raise GateError(
            f"{form} is too far from the trained model: worst relative score error is "
            f"{drift.error_worst:.3g}, at most {allowed:.3g} is allowed. Nothing was written; "
            "leave this form out by its format or precision to export the others."
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
