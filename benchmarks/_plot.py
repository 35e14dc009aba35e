"""One picture of a case's drift: flips and detection."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from ._accuracy import REFERENCE, Accuracy
from ._run import CaseResult

# Okabe and Ito's colours, which colour-blind readers can tell apart; by engine
COLOURS = {
    "torch": "#999999",
    "numpy": "#000000",
    "onnxruntime": "#0072B2",
    "litert": "#D55E00",
    "tflite-runtime": "#009E73",
    "quantize_static": "#882255",
    "pat": "#E69F00",
    "t2": "#CC79A7",
    "pca": "#56B4E9",
}
LABELS = {"pat": "PAT", "t2": "Hotelling T²", "pca": "PCA residual"}
QUANTISED = ("int8", "rival")
HEADROOM = 12
INVISIBLE = 0.001
"""Difference of a detection share that a line's width hides."""
LEAST_FLIPS = 0.1
"""Flips per 10,000 that stand for none on the logarithmic axis."""


def plot_case(result: CaseResult, processor: str) -> bytes:
    """The picture as PNG."""
    figure = Figure(figsize=(12.5, 5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _flips(left, result)
    _detection(right, result)
    widths = "-".join(map(str, result.widths))
    figure.suptitle(f"{result.case.name}: {widths}, {processor}", fontsize=13)
    picture = io.BytesIO()
    canvas.print_figure(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _drawn_once(accuracy: Sequence[Accuracy]) -> dict[str, Accuracy]:
    """By label; engines whose figures no eye can tell apart, as the TFLite ones, share a line."""
    groups: list[list[Accuracy]] = []
    for each in accuracy:
        like = next((group for group in groups if _looks_like(group[0], each)), None)
        if like is None:
            groups.append([each])
        else:
            like.append(each)
    return {_joined([a.detector for a in group]): group[0] for group in groups}


def _looks_like(one: Accuracy, other: Accuracy) -> bool:
    shares = zip(one.curve, other.curve, strict=True)
    return all(abs(a - b) <= INVISIBLE for (_, a), (_, b) in shares)


def _joined(names: Sequence[str]) -> str:
    """The names of contestants of one form: "litert ≈ tflite-runtime int8"."""
    engines = [name.rpartition(" ")[0] for name in names]
    return f"{' ≈ '.join(engines)} {_form(names[0])}"


def _form(name: str) -> str:
    return name.rpartition(" ")[2]


def _plain_numbers(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#e4e4e4")
    axes.spines[["top", "right"]].set_visible(False)


def _flips(axes: Axes, result: CaseResult) -> None:
    rounded = [a for a in result.accuracy if a.form in QUANTISED]
    for label, accuracy in _drawn_once(rounded).items():
        losses = [p.fpr for p in accuracy.points]
        colour = COLOURS[accuracy.detector.split()[0]]
        for kind, marker, style in (("defective", "o", "-"), ("good", "v", ":")):
            flips = [getattr(p, f"flips_{kind}") for p in accuracy.points]
            shown = [max(f, LEAST_FLIPS) for f in flips]
            name = f"{label}, {kind}"
            axes.loglog(losses, shown, style, marker=marker, ms=5, color=colour, label=name)
    worst = max(
        (p.flips_good or 0.0) + (p.flips_defective or 0.0)
        for a in result.accuracy
        if a.form == "fp32"
        for p in a.points
    )
    axes.set(
        title=f"Verdict flips against float64 (fp32 forms: at most {worst:.1f})",
        xlabel="nominal yield loss",
        ylabel=f"flips per 10,000 dies ({LEAST_FLIPS:g} means none)",
    )
    axes.set_ylim(top=axes.get_ylim()[1] * HEADROOM)
    _loss_axis(axes)
    _plain_numbers(axes)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")


def _detection(axes: Axes, result: CaseResult) -> None:
    reference = next(a for a in result.accuracy if a.detector == REFERENCE)
    axes.plot(*zip(*reference.curve, strict=True), color="#000000", lw=3, label="float64")
    rounded = [a for a in result.accuracy if a.form in QUANTISED]
    for label, accuracy in _drawn_once(rounded).items():
        colour = COLOURS[accuracy.detector.split()[0]]
        axes.plot(*zip(*accuracy.curve, strict=True), color=colour, lw=1.6, label=label)
    for accuracy in (a for a in result.accuracy if a.form == "baseline"):
        label, colour = LABELS[accuracy.detector], COLOURS[accuracy.detector]
        axes.plot(*zip(*accuracy.curve, strict=True), "--", color=colour, lw=1.8, label=label)
    axes.set_xscale("log")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, 1.3)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set(
        title="Detection at equal yield loss, all classes of defect",
        xlabel="yield loss", ylabel="defective dies rejected",
    )  # fmt: skip
    _loss_axis(axes)
    axes.grid(which="major", color="#e4e4e4")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")


def _loss_axis(axes: Axes) -> None:
    ticks = (0.0005, 0.001, 0.005, 0.01, 0.02, 0.05)
    axes.set_xticks(ticks, [f"{100 * t:g} %" for t in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
