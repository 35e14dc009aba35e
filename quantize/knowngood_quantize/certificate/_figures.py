"""The page's charts: flips with their bounds, score errors against score, detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from knowngood.report._numbers import percent
from knowngood.report._svg import INK, MUTED, figure_named, label_log_axis, svg_of

from ._rate import Rate
from ._record import Certificate, FormCertificate, PointCertificate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8b8f96",
    "#a65628",
)  # fmt: skip
"""Okabe–Ito first, told apart by colour-blind readers."""
MARKERS = "osD^vPX*<"
_ROUNDED = ("int8", "int16x8", "int8-full")
"""Precisions with scores of one kind: those of "verified" are int8's, and fp32's in a band."""
_LINEAR_TO = 0.1
"""Flips per 10,000 below which the axis is linear, so that 0 has its place."""


def flips_chart(certificate: Certificate) -> str:
    """Flips per 10,000 of each form at each operating point, with 95 % bounds."""
    with figure_named("flips", 9.6, 3.6) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, kind in zip(panels, ("good", "defective"), strict=True):
            for index, form in enumerate(certificate.forms):
                rates = [(p.fpr, _flips(p, kind)) for p in form.points]
                _draw_rates(axes, rates, index, len(certificate.forms), form.form)
            axes.set_title(f"{kind} dies")
            axes.set(xscale="log", xlabel="nominal yield loss")
            axes.set_yscale("symlog", linthresh=_LINEAR_TO, linscale=0.3)
            _label_yield_loss(axes, certificate)
        panels[0].set(ylabel="flips per 10,000 dies", ylim=(0, None))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=5)
        return svg_of(figure)


def _flips(point: PointCertificate, kind: str) -> Rate:
    return point.flips_good if kind == "good" else point.flips_defective


def _draw_rates(
    axes: Axes, rates: Sequence[tuple[float, Rate]], index: int, n_forms: int, label: str
) -> None:
    """Points side by side: forms would hide each other at the same yield loss."""
    known = [(fpr, rate) for fpr, rate in rates if rate.n]
    shift = 1.06 ** (index - (n_forms - 1) / 2)
    heights = [rate.per_10_000 for _, rate in known]
    below = [rate.per_10_000 - 1e4 * rate.low for _, rate in known]
    above = [1e4 * rate.high - rate.per_10_000 for _, rate in known]
    axes.errorbar(
        [fpr * shift for fpr, _ in known],
        heights,
        yerr=[below, above],
        fmt=MARKERS[index % len(MARKERS)],
        color=COLOURS[index % len(COLOURS)],
        markersize=4.5,
        linewidth=1,
        clip_on=False,
        label=label,
    )


def _label_yield_loss(axes: Axes, certificate: Certificate) -> None:
    fprs = [point.fpr for point in certificate.reference.points]
    axes.set_xticks(fprs, [percent(fpr) for fpr in fprs])
    axes.set_xticks([], minor=True)


def error_chart(certificate: Certificate) -> str:
    """Relative score error against score, a panel for each form that rounds its layers."""
    forms = [f for f in certificate.forms if f.error_by_score and f.precision in _ROUNDED]
    if not forms:
        return ""
    n_columns = min(3, len(forms))
    n_rows = -(-len(forms) // n_columns)
    with figure_named("errors", 3.2 * n_columns, 2.5 * n_rows + 0.4) as figure:
        panels = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).ravel()
        for axes in panels[len(forms) :]:
            axes.remove()
        for index, (axes, form) in enumerate(zip(panels, forms, strict=False)):
            _draw_errors(axes, form, certificate)
            axes.set(xscale="log", title=form.form)
            label_log_axis(axes.xaxis)
            axes.tick_params(labelbottom=True)
            if index % n_columns == 0:
                axes.set_ylabel("score error (%)")
            axes.set_xlabel("fp32 score")
        return svg_of(figure)


def _draw_errors(axes: Axes, form: FormCertificate, certificate: Certificate) -> None:
    bins = form.error_by_score
    scores = [b.score for b in bins]
    low, middle, high = (
        [100 * getattr(b, side) for b in bins] for side in ("low", "median", "high")
    )
    axes.fill_between(scores, low, high, color="#0072b2", alpha=0.2, linewidth=0)
    axes.plot(scores, middle, color="#0072b2", linewidth=1.6)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    for point in form.points:
        is_default = point.fpr == certificate.default_fpr
        axes.axvline(
            point.threshold,
            color=INK if is_default else MUTED,
            linewidth=1.4 if is_default else 0.6,
            linestyle="-" if point.supported else (0, (3, 3)),
        )


def detection_chart(certificate: Certificate) -> str:
    """Detection by the reference, and what each form detects more or less, over yield loss.

    Not of "verified", whose scores are fp32's about one threshold only.
    """
    reference, grid = certificate.reference, certificate.yield_loss
    forms = [f for f in certificate.forms if f.curve and f.precision != "verified"]
    if not reference.curve or not forms:
        return ""
    with figure_named("detection", 9.6, 3.3) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(grid, [100 * d for d in reference.curve], color=INK, linewidth=2)
        left.set(ylabel="detected (%)", title=f"{reference.form}, all classes")
        for form in forms:
            change = [100 * (a - b) for a, b in zip(form.curve, reference.curve, strict=True)]
            colour = COLOURS[certificate.forms.index(form) % len(COLOURS)]
            right.plot(grid, change, color=colour, linewidth=1.2, label=form.form)
        right.axhline(0, color=INK, linewidth=0.8)
        right.set(ylabel="change (percentage points)", title="forms, change against it")
        for axes in (left, right):
            axes.set(xscale="log", xlabel="yield loss")
            _label_yield_loss(axes, certificate)
        figure.legend(loc="outside upper right", ncols=5)
        return svg_of(figure)
