"""A certificate's figures as text, for the table and the page alike."""

from __future__ import annotations

import math
from collections.abc import Iterable

from knowngood.report._numbers import percent

from ._rate import Rate
from ._record import Certificate, FormCertificate, PointCertificate, ReferenceCertificate

ABSENT = "–"
FLOAT32_ROUNDING = 1e-5


def share(value: float | None) -> str:
    """As per cent, ``0.28 %``; as a power of ten where it is rounding of float32."""
    if value is None:
        return ABSENT
    if 0 < value < FLOAT32_ROUNDING:
        return small(value)
    return percent(value).replace("\N{NO-BREAK SPACE}", " ")


def signed_share(value: float | None) -> str:
    """As per cent with its sign: ``+0.28 %``."""
    if value is None or value == 0:
        return share(value)
    return f"{'−' if value < 0 else '+'}{share(abs(value))}"


def small(value: float | None) -> str:
    """With two digits, as a power of ten where it is small: ``5.5e-06``."""
    return ABSENT if value is None else f"{value:.2g}"


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


def dies(certificate: Certificate) -> str:
    """``30,000 good, 6,000 defective (spike 1,500, …)``."""
    good = ", ".join(f"{d.n:,} {d.name}" for d in certificate.dies if d.kind == "good")
    defective = [d for d in certificate.dies if d.kind == "defective"]
    total = f"{sum(d.n for d in defective):,} defective"
    classes = ", ".join(f"{d.name.replace('_', ' ')} {d.n:,}" for d in defective)
    return f"{good}, {total}" + (f" ({classes})" if classes else "")


def float64_error(reference: ReferenceCertificate) -> str:
    """fp32's own error."""
    if not reference.n_float64:
        return "not compared with float64"
    return (
        f"its own score error against float64: median {small(reference.float64_error_median)}, "
        f"worst {small(reference.float64_error_worst)} of {reference.n_float64:,} good dies"
    )


def near(point: PointCertificate) -> str:
    """Bias and spread near the threshold: ``+0.2 % ± 0.6 %``."""
    error = point.near
    return f"{signed_share(error.bias)} ± {share(error.spread)}" if error.n else ABSENT
