"""What a form must keep of the reference's verdicts to be trusted, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from knowngood._errors import InputError

from ._fields_json import pack, parse, unpack
from ._rate import Rate

if TYPE_CHECKING:
    from ._record import FormCertificate, PointCertificate


def _require_limit(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise InputError(f"{name}: expected a finite 0 or more, found {value!r}")


@dataclass(frozen=True)
class FormLimits:
    """What is allowed to a form with rounded layers, at its own thresholds.

    Quantisation lifts every score a little, which the form's own threshold takes up; what flips
    beyond that is the spread of its errors.

    Attributes:
        precision: whom it is for.
        flips_good: good dies whose verdict differs, as a multiple of the nominal yield loss. Two
            unrelated screens reach 2.
        flips_defective: share of defective dies whose verdict differs.
        bias: magnitude of the median relative score error of good dies.
        spearman: lowest rank correlation.
        auc_change: magnitude.
    """

    precision: str
    flips_good: float
    flips_defective: float
    bias: float
    spearman: float
    auc_change: float

    def __post_init__(self) -> None:
        of = f"limits of {self.precision}: "
        for name in ("flips_good", "flips_defective", "bias", "auc_change"):
            _require_limit(of + name, getattr(self, name))
        if not -1 <= self.spearman <= 1:
            raise InputError(f"{of}spearman: expected -1 to 1, found {self.spearman!r}")


@dataclass(frozen=True)
class CertificateGates:
    """Limits that a certificate is held to; a breach is told with its figures.

    Shares are breached only by their lower 95 % bound, so that a handful of dies is no breach.
    Unsupported operating points are reported and never gated; where the dies support none, they
    are too few to hold bias, order and AUC to the limits of a form, too.

    Attributes:
        fpr_low, fpr_high: the operating points that are gated, both ends included.
        verified_flips: dies of each kind whose verdict "verified" may change.
        rescoring: largest share of good dies that "verified" may score again; 1 asks nothing: its
            verdicts are right however many dies that takes.
        fp32_flips: dies of each kind that an fp32 form of another engine may flip: those whose
            score lies within rounding of the threshold.
        fp32_error: largest relative score error of an fp32 form on good dies.
        float32_allowance: an fp32 form may also err by this multiple of what the reference errs
            against float64: a model that predicts its tests to a few percent of their sigma turns
            a rounding of the input into a larger one of its score.
        weight_steps: fewest steps of int8 that the largest weight of any output may span, in forms
            with rounded layers and in "verified", see `knowngood_quantize.int8.weight_steps`.
        noise_bias: magnitude of the median relative score error of good dies from which the scores
            of a rounded form are noise, whatever the dies support and whatever "verified" mends.
        limits: of the other precisions.
    """

    fpr_low: float = 0.001
    fpr_high: float = 0.02
    verified_flips: int = 0
    rescoring: float = 1.0
    fp32_flips: int = 5
    fp32_error: float = 5e-6
    float32_allowance: float = 4.0
    weight_steps: float = 64.0
    noise_bias: float = 1.0
    limits: tuple[FormLimits, ...] = (
        FormLimits("int8", 0.25, 0.01, 0.01, 0.98, 0.001),
        FormLimits("int16x8", 0.25, 0.01, 0.01, 0.98, 0.001),
        FormLimits("int8-full", 0.5, 0.03, 0.15, 0.85, 0.002),
    )

    def __post_init__(self) -> None:
        if not 0 < self.fpr_low < 1:
            raise InputError(f"fpr_low: expected between 0 and 1, found {self.fpr_low!r}")
        if not self.fpr_low <= self.fpr_high < 1:
            raise InputError(
                f"fpr_high: expected from fpr_low, {self.fpr_low!r}, to less than 1, found "
                f"{self.fpr_high!r}"
            )
        for name in (
            "verified_flips", "rescoring", "fp32_flips", "fp32_error", "float32_allowance",
            "weight_steps", "noise_bias",
        ):  # fmt: skip
            _require_limit(name, getattr(self, name))

    def to_json(self) -> str:
        """JSON text that ``from_json`` reads back equal."""
        return json.dumps(pack(self), sort_keys=True, indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> CertificateGates:
        """The gates written by ``to_json``; fields that are not there take their defaults.

        Raises:
            InputError: not gates, or a field this version does not know.
        """
        data = parse(text, "gates")
        return unpack(cls, {**pack(cls()), **data} if isinstance(data, dict) else data, "gates")

    @classmethod
    def read(cls, path: str | Path) -> CertificateGates:
        """The gates in a JSON file.

        Raises:
            InputError: it cannot be read, or does not hold gates.
        """
        try:
            return cls.from_json(Path(path).read_bytes())
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def breaches(
        self,
        form: FormCertificate,
        float64_error: float | None = None,
        weight_steps: Sequence[float] = (),
    ) -> tuple[str, ...]:
        """What is not allowed of a form, in words with figures; empty if it passes.

        Args:
            form: its own ``breaches`` are not looked at.
            float64_error: worst relative error of the reference against float64.
            weight_steps: of the int8 layers that the form holds, as in `Certificate`.
        """
        points = [p for p in form.points if self.judges(p)]
        if form.precision == "verified":
            found = [b for p in points for b in self._of_verified(p)]
        elif form.precision == "fp32":
            found = [*self._of_fp32(form, float64_error)]
            found += [b for p in points for b in self._of_fp32_point(p)]
        else:
            limits = self._limits_of(form)
            found = _of_form(form, limits) if points else list(self.of_noise(form))
            found += [b for p in points for b in _of_point(p, limits)]
        return (*_of_unscored(form), *self.of_weights(form, weight_steps), *found)

    def judges(self, point: PointCertificate) -> bool:
        """Whether verdicts at an operating point are gated: enough dies, and within the range."""
        is_within = self.fpr_low * (1 - 1e-9) <= point.fpr <= self.fpr_high * (1 + 1e-9)
        return point.supported and is_within

    def of_weights(self, form: FormCertificate, steps: Sequence[float]) -> tuple[str, ...]:
        """Breaches of the layers' weights, in words; none for a form without int8 layers."""
        if form.precision == "fp32":
            return ()
        return tuple(
            f"weights of layer {index}: the largest of an output spans {found:g} steps of int8, at "
            f"least {self.weight_steps:g} are asked for: quantise with a scale per output channel"
            for index, found in enumerate(steps)
            if found < self.weight_steps
        )

    def of_noise(self, form: FormCertificate) -> tuple[str, ...]:
        """The breach of a rounded form whose scores tell nothing any more."""
        if form.precision in ("fp32", "verified") or form.error.bias is None:
            return ()
        what = "median relative score error of good dies"
        return tuple(_above(what, abs(form.error.bias), self.noise_bias))

    def _limits_of(self, form: FormCertificate) -> FormLimits:
        for limits in self.limits:
            if limits.precision == form.precision:
                return limits
        named = ", ".join(limits.precision for limits in self.limits)
        raise InputError(
            f"the gates have limits for {named}, none for {form.form} in {form.precision!r}: "
            "add them"
        )

    def _of_verified(self, point: PointCertificate) -> list[str]:
        found = _flips_beyond(point, self.verified_flips)
        rescored = point.rescored_good
        if rescored is not None and rescored.low > self.rescoring:
            found.append(
                f"good dies scored again in fp32 {_at(point)}: {100 * rescored.share:.1f} % of "
                f"{rescored.n:,}, at most {100 * self.rescoring:.1f} % is allowed"
            )
        return found

    def _of_fp32(self, form: FormCertificate, float64_error: float | None) -> list[str]:
        allowed = max(self.fp32_error, self.float32_allowance * (float64_error or 0.0))
        return _above("worst relative score error", form.error.worst, allowed)

    def _of_fp32_point(self, point: PointCertificate) -> list[str]:
        return _flips_beyond(point, self.fp32_flips)


DEFAULT_GATES = CertificateGates()


def _at(point: PointCertificate) -> str:
    return f"at a yield loss of {100 * point.fpr:.4g} %"


def _flips_beyond(point: PointCertificate, allowed: int) -> list[str]:
    return [
        f"{kind} dies flipped {_at(point)}: {flips.count:,} of {flips.n:,}, "
        f"at most {allowed} is allowed"
        for kind, flips in (("good", point.flips_good), ("defective", point.flips_defective))
        if flips.count > allowed
    ]


def _of_unscored(form: FormCertificate) -> list[str]:
    """A die that one scores and the other does not is another verdict at any threshold."""
    return [
        f"{kind} dies scored by the form or by the reference, but not by both: {n:,}, none allowed"
        for kind, n in (
            ("good", form.unscored_differ_good),
            ("defective", form.unscored_differ_defective),
        )
        if n
    ]


def _of_form(form: FormCertificate, limits: FormLimits) -> list[str]:
    bias = None if form.error.bias is None else abs(form.error.bias)
    change = None if form.auc_change is None else abs(form.auc_change)
    found = _above("median relative score error of good dies", bias, limits.bias)
    found += _above("change of the AUC", change, limits.auc_change)
    if form.spearman is not None and form.spearman < limits.spearman:
        found.append(
            f"rank correlation with the reference: {form.spearman:.5g}, "
            f"at least {limits.spearman:.5g} is asked for"
        )
    return found


def _above(what: str, found: float | None, allowed: float) -> list[str]:
    if found is None or found <= allowed:
        return []
    return [f"{what}: {found:.3g}, at most {allowed:.3g} is allowed"]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _of_point(point: PointCertificate, limits: FormLimits) -> list[str]:
    checks: tuple[tuple[str, Rate, float], ...] = (
        ("good", point.flips_good, limits.flips_good * point.fpr),
        ("defective", point.flips_defective, limits.flips_defective),
    )
    return [
        f"{kind} dies flipped {_at(point)}: {_number(flips.per_10_000)} per 10,000 "
        f"({flips.count:,} of {flips.n:,}; at least {_number(1e4 * flips.low)} with 95 % "
        f"confidence), at most {_number(1e4 * allowed)} is allowed"
        for kind, flips, allowed in checks
        if flips.low > allowed
    ]
