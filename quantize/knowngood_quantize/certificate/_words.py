"""A certificate's figures as text, for the table and the page alike."""

from __future__ import annotations

import math
from collections.abc import Iterable

from knowngood.report._numbers import percent

from ._rate import Rate
from ._record import Certificate, FormCertificate, PointCertificate, ReferenceCertificate

ABSENT = "–"


def share(value: float | None) -> str:
    """As per cent, ``0.28 %``, rounding of float32 too: a column has one unit."""
    return ABSENT if value is None else percent(value).replace("\N{NO-BREAK SPACE}", " ")


def signed_share(value: float | None) -> str:
    """As per cent with its sign: ``+0.28 %``."""
    if value is None or value == 0:
        return share(value)
    return f"{'−' if value < 0 else '+'}{share(abs(value))}"


def correlation(value: float | None) -> str:
    """With as many digits as it lies below 1: ``0.99982``."""
    if value is None:
        return ABSENT
    gap = 1.0 - value
    digits = 9 if gap <= 0 else min(max(2, 1 - math.floor(math.log10(gap))), 9)
    return f"{value:.{digits}f}" if gap > 1e-9 else "1"


def flips(rate: Rate) -> str:
    """Per 10,000 dies with the 95 % interval: ``3.3 (1.6…6.1)``."""
    if not rate.n:
        return ABSENT
    bounds = "…".join(_short(1e4 * bound) for bound in (rate.low, rate.high))
    return f"{_short(rate.per_10_000)} ({bounds})"


def flips_alone(rate: Rate) -> str:
    """Per 10,000 dies: ``3.3``."""
    return _short(rate.per_10_000) if rate.n else ABSENT


def _short(value: float) -> str:
    if value == 0 or value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def rejected(rate: Rate | None) -> str:
    """A rate as per cent."""
    return ABSENT if rate is None or not rate.n else share(rate.share)


def pooled(rates: Iterable[Rate]) -> Rate:
    """The rate over all classes of defect."""
    listed = list(rates)
    return Rate.of(sum(r.count for r in listed), sum(r.n for r in listed))


def engine(of: ReferenceCertificate | FormCertificate) -> str:
    """``native 0.1.0 avx2``."""
    return " ".join(t for t in (of.engine, of.engine_version, of.cpu_path) if t)


def outcome(form: FormCertificate) -> str:
    """``passed``, ``BREACHED``, or what is told of a form that is not gated."""
    if form.passed and not form.breaches:
        return "passed"
    return "BREACHED" if form.is_gated else "beyond the limits; reported, not gated"


def scores_of(form: FormCertificate, default_fpr: float) -> str:
    """Which scores "verified" figures are of, since they are a mixture; empty for other forms."""
    if form.precision != "verified":
        return ""
    return f"int8, and fp32 where rescored at {share(default_fpr)}"


def expected_rescoring(certificate: Certificate, fpr: float) -> float | None:
    """The share of good dies that the file's bands were expected to put aside; None if not told."""
    points = certificate.band_evidence.get("points")
    for point in points if isinstance(points, list) else ():
        if isinstance(point, dict) and point.get("fpr") == fpr:
            found = point.get("expected_rescoring")
            return float(found) if isinstance(found, (int, float)) else None
    return None


def band(point: PointCertificate) -> str:
    """The int8 scores that "verified" puts aside: ``3.012…3.254``."""
    if point.band_low is None or point.band_high is None:
        return ABSENT
    return f"{point.band_low:.4g}…{point.band_high:.4g}"


def classes(certificate: Certificate) -> list[str]:
    """Of defects, in the order of the sets of dies: JSON sorts the keys of what was detected."""
    return [d.name for d in certificate.dies if d.kind == "defective"]


def dies(certificate: Certificate) -> str:
    """``30,000 good, 6,000 defective (spike 1,500, …)``."""
    good = ", ".join(f"{d.n:,} {d.name}" for d in certificate.dies if d.kind == "good")
    defective = [d for d in certificate.dies if d.kind == "defective"]
    total = f"{sum(d.n for d in defective):,} defective"
    classes = ", ".join(f"{d.name.replace('_', ' ')} {d.n:,}" for d in defective)
    return f"{good}, {total}" + (f" ({classes})" if classes else "")


def weight_steps(certificate: Certificate) -> str:
    """Of all outputs: ``119, 118 steps of int8 at least for each output's largest weight …``."""
    steps = ", ".join(f"{found:g}" for found in certificate.weight_steps)
    return f"{steps} steps of int8 at least for each output's largest weight, layer by layer"


def float64_error(reference: ReferenceCertificate) -> str:
    """fp32's own error."""
    if not reference.n_float64:
        return "not compared with float64"
    return (
        f"its own score error against float64: median {share(reference.float64_error_median)}, "
        f"worst {share(reference.float64_error_worst)} of {reference.n_float64:,} good dies"
    )


def near(point: PointCertificate) -> str:
    """Bias and spread near the threshold: ``+0.2 % ± 0.6 %``."""
    error = point.near
    return f"{signed_share(error.bias)} ± {share(error.spread)}" if error.n else ABSENT
