"""Drift: how far an exported form's scores and verdicts are from the reference's, die by die."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._manifest import Drift
from knowngood._verdicts import Verdict

Float32 = NDArray[np.float32]


def verdicts(scores: Float32, threshold: float) -> NDArray[np.int8]:
    """``Verdict`` of each score, int8 ``(n,)``; NaN and infinities are UNSCORED."""
    scored = np.where(scores <= np.float32(threshold), Verdict.PASS, Verdict.REJECT)
    return np.where(np.isfinite(scores), scored, Verdict.UNSCORED).astype(np.int8)


def measure_drift(
    form: str,
    reference_good: Float32,
    reference_defective: Float32,
    form_good: Float32,
    form_defective: Float32,
    reference_threshold: float,
    form_threshold: float,
) -> Drift:
    """Compare an exported form with the reference on the same dies.

    A flip is any change of verdict, to and from UNSCORED included. Score errors are relative to
    the reference, over good dies that both score.

    Args:
        form: what is compared, ``"onnx int8"``, with the engine that ran it.
        reference_good, reference_defective: float32 ``(n_good,)``, ``(n_defective,)``.
        form_good, form_defective: the form's scores of the same dies.
        reference_threshold: of the reference; flips "unchanged" use it for both.
        form_threshold: refitted on the form's own scores.

    Raises:
        NotEnoughDataError: no good die is scored by both.
        UsageError: the scores are not of the same dies.
    """
    for name, a, b in (
        ("good", reference_good, form_good),
        ("defective", reference_defective, form_defective),
    ):
        if a.shape != b.shape:
            raise UsageError(f"{form}: {len(b)} scores of {name} dies, the reference has {len(a)}")
    error = _relative_errors(form, reference_good, form_good)

    def flips(reference: Float32, other: Float32, threshold: float) -> int:
        before, after = verdicts(reference, reference_threshold), verdicts(other, threshold)
        return int(np.count_nonzero(before != after))

    return Drift(
        form=form,
        n_good=len(reference_good),
        n_defective=len(reference_defective),
        error_median=float(np.median(error)),
        error_worst=float(error.max()),
        flips_good=flips(reference_good, form_good, form_threshold),
        flips_defective=flips(reference_defective, form_defective, form_threshold),
        flips_good_unchanged=flips(reference_good, form_good, reference_threshold),
        flips_defective_unchanged=flips(reference_defective, form_defective, reference_threshold),
    )


def _relative_errors(form: str, reference: Float32, other: Float32) -> NDArray[np.float64]:
    both = np.isfinite(reference) & np.isfinite(other)
    if not both.any():
        raise NotEnoughDataError(
            f"{form}: none of {len(reference)} good dies is scored by both the form and the "
            "reference, so their scores cannot be compared"
        )
    expected = reference[both].astype(np.float64)
    floor = float(np.finfo(np.float32).tiny)  # a score of exactly 0 has no relative error
    error: NDArray[np.float64] = np.abs(other[both] - expected) / np.maximum(expected, floor)
    return error
