"""The report's charts: matplotlib figures as SVG text that can stand inside an HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._extras import require
from .._manifest import DetectionCurve, Evaluation
from .._network import MIN_EXCEEDANCES, OperatingPoint
from .._verdicts import Disposition
from ._dies import DieRows
from ._facts import YieldLoss
from ._flagged import ParetoTest
from ._numbers import PREFIXES, percent, unit_exponent
from ._showcase import Axis as TestAxis
from ._showcase import Showcase
from ._svg import INK, MUTED, figure_named, label_log_axis, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT, FLAGGED, FAILED = "#7fa8cc", "#d55e00", "#8b8f96"
MAX_PARETO = 20
DETECTORS = {
    "autoencoder": ("Autoencoder", "#0072b2", "-"),
    "t2": ("Hotelling T²", "#d55e00", "--"),
    "pca": ("PCA residual", "#009e73", "-."),
    "pat": ("PAT", "#7a5195", ":"),
}
"""Name, colour (Okabe–Ito, told apart by colour-blind readers) and dash of each detector."""
_OTHER_COLOURS = ("#cc79a7", "#56b4e9", "#e69f00")


def detector_name(detector: str) -> str:
    """How people call a detector: ``t2`` is Hotelling T²."""
    return DETECTORS[detector][0] if detector in DETECTORS else detector


def defect_name(defect: str) -> str:
    """A defect class without underscores."""
    return defect.replace("_", " ").replace("-", " ")


def in_report_order(detectors: Sequence[str]) -> list[str]:
    """Detectors with the autoencoder first, unknown ones last."""
    known = list(DETECTORS)
    unique = sorted(set(detectors))
    return sorted(unique, key=lambda d: known.index(d) if d in known else len(known))


def score_histogram(
    dies: DieRows, threshold: float, fpr: float, points: Sequence[OperatingPoint]
) -> str:
    """Scores of the judged dies on a log axis with the thresholds of all operating points."""
    with figure_named("histogram", 9.6, 3.5) as figure:
        axes = figure.add_subplot()
        kept = dies.score[dies.are(Disposition.KEEP)]
        flagged = dies.score[dies.are(Disposition.OUTLIER)]
        both = np.concatenate([kept, flagged]).astype(np.float64)
        bins = _log_bins(both[both > 0], threshold)
        axes.hist(
            [np.maximum(kept, bins[0]), np.maximum(flagged, bins[0])],
            bins=bins.tolist(),
            stacked=True,
            color=[KEPT, FLAGGED],
            label=["kept", "flagged"],
        )
        axes.set(xscale="log", yscale="log", xlabel="score", ylabel="dies", ylim=(0.7, None))
        label_log_axis(axes.xaxis)
        label_log_axis(axes.yaxis)
        _mark_thresholds(axes, threshold, fpr, points)
        figure.legend(loc="outside right upper")
        return svg_of(figure)


def _log_bins(score: NDArray[np.float64], threshold: float, n_bins: int = 70) -> Any:
    """Edges in equal ratios over all scores, one of them the threshold: no bar is both colours."""
    at = threshold if threshold > 0 and math.isfinite(threshold) else 1.0
    low, high = (float(score.min()), float(score.max())) if len(score) else (at / 2, at * 2)
    ratio = max(math.log(high / low), math.log(1.1)) / n_bins
    first = math.floor(math.log(low / at) / ratio) - 1
    last = math.ceil(math.log(high / at) / ratio) + 1
    return at * np.exp(ratio * np.arange(first, last + 1))


def _mark_thresholds(
    axes: Axes, threshold: float, fpr: float, points: Sequence[OperatingPoint]
) -> None:
    lines = [(p.threshold, p.fpr, p.supported) for p in points] or [(threshold, fpr, True)]
    lines.sort()
    levels = _label_levels(axes, [at for at, _, _ in lines])
    for (at, nominal, supported), level in zip(lines, levels, strict=True):
        used, own = (fpr, nominal) if np.isfinite(fpr) else (threshold, at)
        is_chosen = math.isclose(own, used, rel_tol=1e-6)
        axes.axvline(
            at,
            color=INK if is_chosen else MUTED,
            linewidth=1.6 if is_chosen else 0.9,
            linestyle="-" if supported else (0, (3, 3)),
        )
        axes.annotate(
            percent(nominal) if np.isfinite(nominal) else "threshold",
            (at, 1.02 + 0.065 * level),
            xycoords=axes.get_xaxis_transform(),
            ha="center",
            fontsize=8.5,
            color=INK if is_chosen else MUTED,
            fontweight="bold" if is_chosen else "normal",
        )


def _label_levels(axes: Axes, places: Sequence[float], label_width: float = 0.055) -> list[int]:
    """The lowest level for each label, left to right, at which it meets no other one."""
    low, high = np.log(axes.get_xlim())
    ends: list[float] = []
    levels = []
    for place in places:
        at = (math.log(place) - low) / (high - low)
        level = next((i for i, end in enumerate(ends) if at - end >= label_width), len(ends))
        ends[level : level + 1] = [at]
        levels.append(level)
    return levels


def detection_curves(evaluation: Evaluation, fpr: float) -> str:
    """Detection against yield loss, one panel per class of defect, one line per detector."""
    defects = list(dict.fromkeys(curve.defect for curve in evaluation.curves))
    n_columns = 2 if len(defects) == 4 else min(3, len(defects))
    n_rows = -(-len(defects) // n_columns)
    with figure_named("detection", 9.6 if n_columns > 1 else 5, 2.7 * n_rows + 0.5) as figure:
        panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
        for axes in panels[len(defects) :]:
            axes.remove()
        for axes, defect in zip(panels, defects, strict=False):
            curves = [c for c in evaluation.curves if c.defect == defect]
            _detection_panel(axes, curves, evaluation, fpr)
            axes.set_title(f"{defect_name(defect)} ({curves[0].n_defective:,} dies)")
        for row in range(n_rows):
            panels[row * n_columns].set_ylabel("detected (%)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=max(len(labels), 1))
        return svg_of(figure)


def _detection_panel(
    axes: Axes, curves: Sequence[DetectionCurve], evaluation: Evaluation, fpr: float
) -> None:
    grid = 100 * np.array(evaluation.yield_loss)
    unknown = iter(_OTHER_COLOURS * len(curves))
    for detector in in_report_order([c.detector for c in curves]):
        name, colour, dash = DETECTORS.get(detector) or (detector, next(unknown), "-")
        detection = next(c.detection for c in curves if c.detector == detector)
        width = 2.4 if detector == "autoencoder" else 1.5
        axes.plot(
            grid, 100 * np.array(detection), color=colour, ls=dash, lw=width, label=name, zorder=3
        )
    least = 100 * MIN_EXCEEDANCES / max(evaluation.n_good, 1)
    if least > grid[0]:
        axes.axvspan(grid[0], min(least, grid[-1]), color="#eef0f2", zorder=0)
    if np.isfinite(fpr):
        axes.axvline(100 * fpr, color=INK, linewidth=1)
    axes.set(xscale="log", ylim=(-2, 102), xlim=(grid[0], grid[-1]), xlabel="yield loss (%)")
    label_log_axis(axes.xaxis)


def pareto_chart(tests: Sequence[ParetoTest]) -> str:
    """The tests that flagged dies name most often; dark where named first."""
    shown = tests[:MAX_PARETO]
    with figure_named("pareto", 9.6, 0.25 * len(shown) + 0.8) as figure:
        axes = figure.add_subplot()
        at = np.arange(len(shown))
        axes.barh(at, [t.n_named for t in shown], color="#f3c19d", label="among the top tests")
        axes.barh(at, [t.n_first for t in shown], color=FLAGGED, label="largest contribution")
        axes.set_yticks(at, [_shortened(t.label) for t in shown], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel="flagged dies", ylim=(len(shown) - 0.4, -0.6))
        ticker = require("matplotlib.ticker", extra="report", needed_for="the report")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right")
        return svg_of(figure)


def _shortened(label: str, longest: int = 38) -> str:
    text = label if len(label) <= longest else label[: longest - 1] + "…"
    return _literal(text)


def _literal(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def showcase_scatter(found: Showcase) -> str:
    """The kept dies' cloud over two tests, PAT's box, and the flagged die off the line."""
    with figure_named("showcase", 5.6, 4.6) as figure:
        axes = figure.add_subplot()
        scale_x, label_x = _axis_scale(found.x)
        scale_y, label_y = _axis_scale(found.y)
        axes.plot(
            found.x.cloud * scale_x,
            found.y.cloud * scale_y,
            ".",
            color=KEPT,
            markersize=3,
            label="kept dies",
        )
        _draw_pat_box(axes, found, scale_x, scale_y)
        ends = np.array(axes.get_xlim())
        slope, intercept = found.line
        line = (slope * ends / scale_x + intercept) * scale_y
        axes.plot(ends, line, color=MUTED, linewidth=0.9, label="line through them")
        axes.plot(
            [found.x.die * scale_x],
            [found.y.die * scale_y],
            "D",
            color=FLAGGED,
            markersize=8,
            markeredgecolor="white",
            label="this die",
        )
        axes.set(xlabel=label_x, ylabel=label_y)
        figure.legend(loc="outside upper left", ncols=2)
        return svg_of(figure)


def _draw_pat_box(axes: Axes, found: Showcase, scale_x: float, scale_y: float) -> None:
    (left, right), (bottom, top) = found.x.pat, found.y.pat
    x = np.array([left, right, right, left, left]) * scale_x
    y = np.array([bottom, bottom, top, top, bottom]) * scale_y
    axes.plot(x, y, "--", color=INK, linewidth=1, label="PAT limits (±6 sigma)")
    axes.set_xlim(*_wider(x.min(), x.max()))
    axes.set_ylim(*_wider(y.min(), y.max()))


def _wider(low: float, high: float) -> tuple[float, float]:
    return low - 0.06 * (high - low), high + 0.06 * (high - low)


def _axis_scale(axis: TestAxis) -> tuple[float, str]:
    """Factor to a readable unit, and the axis label in it."""
    exponent = unit_exponent(max(abs(axis.pat[0]), abs(axis.pat[1])), axis.test.units)
    units = PREFIXES[exponent] + axis.test.units
    label = _shortened(axis.test.label) + (f" ({_literal(units)})" if units else "")
    return 10.0**-exponent, label


def learning_curve(curve: Sequence[tuple[int, float, float]]) -> str:
    """Training and held-out loss by epoch."""
    epochs, training, held_out = zip(*curve, strict=True)
    with figure_named("learning", 5.6, 2.8) as figure:
        axes = figure.add_subplot()
        axes.plot(epochs, training, color=MUTED, linewidth=1.4, label="training dies")
        axes.plot(epochs, held_out, color="#0072b2", linewidth=2, label="held-out dies")
        axes.set(xlabel="epoch", ylabel="mean squared residual", yscale="log")
        label_log_axis(axes.yaxis)
        axes.legend(loc="upper right")
        return svg_of(figure)


def yield_loss_chart(rows: Sequence[YieldLoss], nominal: float) -> str:
    """Shares with their intervals against the nominal yield loss; lots dark, their sites below."""
    with figure_named("yield", 9.6, 0.26 * len(rows) + 0.8) as figure:
        axes = figure.add_subplot()
        at = np.arange(len(rows))
        for place, row in enumerate(rows):
            if row.rate.n:
                share, low, high = (100 * x for x in (row.rate.share, row.rate.low, row.rate.high))
                colour, width = ("#0072b2", 1.6) if row.site else (INK, 2.6)
                axes.hlines(place, low, high, color=colour, linewidth=width)
                axes.plot(share, place, "o", color=colour, markersize=5, clip_on=False, zorder=4)
        if np.isfinite(nominal):
            axes.axvline(100 * nominal, color=INK, linewidth=1.2, label=percent(nominal))
        names = [row.site or row.lot or "lot not named" for row in rows]
        axes.set_yticks(at, [_shortened(name) for name in names], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="yield loss (%)", ylim=(len(rows) - 0.4, -0.6))
        axes.set_xlim(left=0)
        return svg_of(figure)
