"""One picture of a case: cost by batch, tails, drift, detection."""

from __future__ import annotations

import io
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from ._accuracy import REFERENCE
from ._run import CaseResult

# Okabe and Ito's colours, which colour-blind readers can tell apart; by engine
COLOURS = {
    "torch": "#999999",
    "numpy": "#000000",
    "onnxruntime": "#0072B2",
    "litert": "#D55E00",
    "tflite-runtime": "#009E73",
    "pat": "#E69F00",
    "t2": "#CC79A7",
    "pca": "#56B4E9",
}
LABELS = {"pat": "PAT", "t2": "Hotelling T²", "pca": "PCA residual"}
LEAST_FLIPS = 0.1
"""Flips per 10,000 that stand for none on the logarithmic axis."""


def plot_case(result: CaseResult, processor: str) -> bytes:
    """The picture as PNG."""
    figure = Figure(figsize=(12.5, 9.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _cost(axes[0, 0], result)
    _tails(axes[0, 1], result)
    _flips(axes[1, 0], result)
    _detection(axes[1, 1], result)
    widths = "-".join(map(str, result.widths))
    figure.suptitle(f"{result.case.name}: {widths}, one thread, {processor}", fontsize=13)
    picture = io.BytesIO()
    canvas.print_png(picture, metadata={"Software": None})
    return picture.getvalue()


def _style(name: str, form: str) -> Mapping[str, object]:
    colour = COLOURS[name.split()[0]]
    return {"color": colour, "linestyle": "--" if form == "fp32" else "-", "linewidth": 1.8}


def _form(name: str) -> str:
    return name.rpartition(" ")[2]


def _cost(axes: Axes, result: CaseResult) -> None:
    for name in result.versions:
        items = [item for item in result.latencies if item.contestant == name]
        batches = [item.batch for item in items]
        costs = [item.us_per_die for item in items]
        marker = "o" if _form(name) == "int8" else "s"
        axes.loglog(batches, costs, marker, ms=4.5, label=name, **_style(name, _form(name)))
    axes.set(title="Cost", xlabel="dies in a call", ylabel="median µs per die, raw values → verdict")
    axes.set_xticks(result.case.batches, [str(b) for b in result.case.batches])
    _plain_numbers(axes)
    axes.legend(fontsize=8.5, frameon=False)


def _plain_numbers(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#e4e4e4")
    axes.spines[["top", "right"]].set_visible(False)
