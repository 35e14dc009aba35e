"""What a certificate says, as frozen dataclasses; `_record_json` writes and reads them.

Shares are `Rate`; score errors are relative, ``(score − reference) / reference``. A figure that the
dies do not give is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ._fields_json import Compact
from ._gates import DEFAULT_GATES, CertificateGates
from ._rate import Rate

CERTIFICATE_VERSION = 1


@dataclass(frozen=True)
class DieSet:
    """Dies that a certificate rests on.

    Attributes:
        name: "good", or the class of the defect.
        sha256: over their values and groups, see `digest_of`.
    """

    name: str
    kind: Literal["good", "defective"]
    n: int
    sha256: str


@dataclass(frozen=True)
class ScoreError:
    """Relative score errors of ``n`` dies that form and reference both score; None without dies.

    Attributes:
        bias: their median.
        spread: robust sigma about it, (third − first quartile) / 1.349.
        low, high: 1st and 99th percentile.
        worst: the largest magnitude.
    """

    n: int
    bias: float | None = None
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    worst: float | None = None


@dataclass(frozen=True)
class ErrorBin(Compact):
    """Relative score errors of the ``n`` dies with a reference score in a range; for the plot.

    Attributes:
        score: median reference score.
        low, median, high: 5th, 50th and 95th percentile of the errors.
    """

    score: float
    n: int
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class ReferencePoint:
    """An operating point of the reference.

    Attributes:
        fpr: nominal yield loss.
        supported: whether enough dies stood behind the threshold.
        threshold: float32.
        rejected: of the good dies, the false-positive rate.
        detection: by class of defect.
    """

    fpr: float
    supported: bool
    threshold: float
    rejected: Rate
    detection: dict[str, Rate]


@dataclass(frozen=True)
class ReferenceCertificate:
    """What every form is measured against.

    Attributes:
        form: "kgd fp32".
        model_id: of the file it was read from.
        n_float64: good dies that were also scored in float64.
        float64_error_median, float64_error_worst: by how much its scores differ from those.
        unscored_good, unscored_defective: dies without a score.
        auc: good against all defective dies.
        curve: detection over all classes at `Certificate.yield_loss`, thresholds from these dies.
    """

    form: str
    precision: str
    engine: str
    engine_version: str
    cpu_path: str | None
    model_id: str
    n_float64: int
    float64_error_median: float | None
    float64_error_worst: float | None
    unscored_good: int
    unscored_defective: int
    auc: float | None
    curve: tuple[float, ...]
    points: tuple[ReferencePoint, ...]


@dataclass(frozen=True)
class PointCertificate:
    """A form at one operating point. A flip is any change of verdict, to and from UNSCORED too.

    Attributes:
        fpr, supported: as in the reference.
        threshold: of the reference.
        threshold_refitted: the form's own; of "verified", that of fp32.
        flips_good, flips_defective: each at its own threshold.
        flips_good_unchanged, flips_defective_unchanged: both at the reference's threshold.
        rejected, rejected_unchanged: good dies that the form rejects, at its own threshold and at
            the reference's.
        detection, detection_unchanged: likewise, by class of defect.
        near: score errors of dies, good and defective, whose reference score lies within 10 % of
            the threshold.
        band_low, band_high: int8 scores that "verified" puts aside for fp32; None for others.
        rescored_good, rescored_defective: dies for which it did; None for others.
    """

    fpr: float
    supported: bool
    threshold: float
    threshold_refitted: float
    flips_good: Rate
    flips_defective: Rate
    flips_good_unchanged: Rate
    flips_defective_unchanged: Rate
    rejected: Rate
    rejected_unchanged: Rate
    detection: dict[str, Rate]
    detection_unchanged: dict[str, Rate]
    near: ScoreError
    band_low: float | None = None
    band_high: float | None = None
    rescored_good: Rate | None = None
    rescored_defective: Rate | None = None


@dataclass(frozen=True)
class FormCertificate:
    """One exported form against the reference, on the same dies.

    Attributes:
        form: "kgd int8", "onnx int8", …
        precision: "fp32", "int8", "verified", "int16x8" or "int8-full".
        cpu_path: of the native engine, None for others.
        model_id: of the file; empty for a graph that the certificate is to become a part of.
        unscored_differ_good, unscored_differ_defective: dies that one of the two scores and the
            other does not.
        error: relative score errors of good dies.
        spearman: rank correlation of the scores of good dies that both score.
        auc, auc_change: of good against all defective dies, and how much it differs.
        top5_overlap: mean share of the five tests with the largest contribution that the reference
            names too, over ``n_overlap`` dies that the reference rejects.
        points: by ascending yield loss.
        error_by_score, curve: for plots; ``curve`` as in the reference.
        is_gated: whether a breach counts; figures of a form that gives no verdicts are reported.
        breaches: what the gates do not allow, with figures.
    """

    form: str
    precision: str
    engine: str
    engine_version: str
    cpu_path: str | None
    model_id: str
    n_good: int
    n_defective: int
    unscored_differ_good: int
    unscored_differ_defective: int
    error: ScoreError
    spearman: float | None
    auc: float | None
    auc_change: float | None
    top5_overlap: float | None
    n_overlap: int
    points: tuple[PointCertificate, ...]
    error_by_score: tuple[ErrorBin, ...] = ()
    curve: tuple[float, ...] = ()
    is_gated: bool = True
    breaches: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the gates allow it, or do not ask."""
        return not (self.is_gated and self.breaches)

    def point(self, fpr: float) -> PointCertificate:
        """The operating point at exactly ``fpr``.

        Raises:
            KeyError: there is none.
        """
        for point in self.points:
            if point.fpr == fpr:
                return point
        raise KeyError(fpr)


@dataclass(frozen=True)
class Certificate:
    """What quantisation and conversion changed, and how sure that is.

    Attributes:
        created: UTC, ISO 8601: when it was measured; in exported files, when the model was
            trained, so that the same model gives the same bytes.
        model_id: of the reference's file, where it has one.
        default_fpr: the operating point that verdicts are given at unless told otherwise.
        dies_note: in words, where the dies come from and what they were used for before.
        yield_loss: grid of the detection curves.
        recipe: of int8, as its JSON; empty where unknown.
        band_evidence: what the bands of "verified" rest on, as JSON; empty without bands.
        versions: of knowngood, NumPy, Python … by name.
        platform, processor: of the machine that certified, as the versions are.
        weight_steps: of each int8 layer, the fewest steps that the largest weight of an output
            spans; empty without int8 layers, and where they are not known.
        notes: what the reader has to know.
    """

    created: str
    model_id: str
    default_fpr: float
    reference: ReferenceCertificate
    dies: tuple[DieSet, ...]
    dies_note: str
    yield_loss: tuple[float, ...]
    forms: tuple[FormCertificate, ...]
    gates: CertificateGates = DEFAULT_GATES
    recipe: dict[str, Any] = field(default_factory=dict)
    band_evidence: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    platform: str = ""
    processor: str = ""
    weight_steps: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the gates allow every form that they ask about."""
        return all(form.passed for form in self.forms)

    @property
    def breaches(self) -> tuple[str, ...]:
        """Of all gated forms, each with the form's name."""
        return tuple(f"{f.form}: {b}" for f in self.forms if f.is_gated for b in f.breaches)

    def only(self, *forms: str) -> Certificate:
        """The certificate of some forms, for the file that holds them; of fp32 alone, without the
        steps of int8's weights."""
        kept = tuple(f for f in self.forms if f.form in forms)
        is_rounded = any(f.precision != "fp32" for f in kept)
        return replace(self, forms=kept, weight_steps=self.weight_steps if is_rounded else ())

    def to_json(self) -> str:
        """Canonical JSON, as docs/format.md asks of a ``.kgd``."""
        from ._record_json import certificate_to_json

        return certificate_to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Certificate:
        """Read what ``to_json`` wrote.

        Raises:
            InputError: not a certificate, another version, or a field that cannot be read.
        """
        from ._record_json import certificate_from_json

        return certificate_from_json(text)
