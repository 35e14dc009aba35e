"""What a form must keep of the trained model to be written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from knowngood._errors import GateError
from knowngood._manifest import Drift

from ._forms import Form, Scores


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


DEFAULT_GATES = ExportGates()


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
