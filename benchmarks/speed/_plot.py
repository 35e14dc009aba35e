"""One picture of a case of speed: times that others take longer, and how near the limits are."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ._figures import Table
from ._run import SpeedResult

# Okabe and Ito's colours, which colour-blind readers can tell apart
COLOURS = {
    "knowngood": "#000000",
    "litert": "#D55E00",
    "onnxruntime": "#0072B2",
    "openvino": "#56B4E9",
    "tflite-runtime": "#009E73",
    "tract": "#CC79A7",
    "numpy": "#E69F00",
    "torch": "#999999",
}
GROUP_WIDTH = 0.84
FULL = 100.0
LINES = (
    ("int8", "", "#000000", "o-"),
    ("fp32", "", "#000000", "s--"),
    ("int8", " (AVX2)", "#0072B2", "o-"),
    ("fp32", " (AVX2)", "#0072B2", "s--"),
)
"""Of the shares of the peak: precision, label of the engine, colour, style."""


def plot_speed(result: SpeedResult, processor: str) -> bytes:
    """The picture as PNG."""
    figure = Figure(figsize=(12.5, 10), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1)
    table = Table(result)
    _ratios(top, table, "int8")
    _ratios(middle, table, "fp32")
    _shares(bottom, table)
    widths = "-".join(map(str, result.widths))
    figure.suptitle(f"{result.case.name}: {widths}, one thread, {processor}", fontsize=13)
    picture = io.BytesIO()
    canvas.print_figure(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _ratios(axes: Axes, table: Table, precision: str) -> None:
    """A group of bars for each number of dies, the best configuration of each engine a bar."""
    calls = [(n_dies, False) for n_dies in table.hot] + [(n_dies, True) for n_dies in table.cold]
    found = [table.against(precision, n, is_cold=is_cold) for n, is_cold in calls]
    engines = [e for e in COLOURS if any(e in times for times in found)]
    width = GROUP_WIDTH / max(len(engines), 1)
    for number, engine in enumerate(engines):
        places = [g + (number - (len(engines) - 1) / 2) * width for g in range(len(calls))]
        heights = [times.get(engine, 0.0) for times in found]
        bars = axes.bar(places, heights, width * 0.92, color=COLOURS[engine], label=engine)
        axes.bar_label(bars, [f"{h:.3g}" if h else "" for h in heights], fontsize=7, padding=1)
    axes.axhline(1, color="#000000", lw=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(range(len(calls)), [_words(n, is_cold=is_cold) for n, is_cold in calls])
    axes.set(title=f"{precision}: times what knowngood takes (from Python)", ylabel="×")
    axes.spines[["top", "right"]].set_visible(False)
    if engines:
        axes.legend(fontsize=8, frameon=False, ncols=len(engines), loc="upper right")
    axes.set_ylim(0.8, axes.get_ylim()[1] * 2)


def _words(n_dies: int, *, is_cold: bool) -> str:
    text = "1 die" if n_dies == 1 else f"{n_dies:,} dies"
    return f"{text}, cold" if is_cold else text


def _shares(axes: Axes, table: Table) -> None:
    """How much of the core's multiply-accumulate peak a call from C reaches."""
    for precision, label, colour, style in LINES:
        shares = [(n, table.share_of_peak(precision, n, label)) for n in table.hot]
        points = [(n, share) for n, share in shares if share is not None]
        if points:
            name = f"{precision}{label or ', widest instructions'}"
            axes.plot(*zip(*points, strict=True), style, color=colour, ms=5, label=name)
    axes.axhline(FULL, color="#999999", lw=1)
    axes.set_xscale("log")
    axes.set_xticks(table.hot, [str(n) for n in table.hot])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.25 * FULL)
    axes.set(title="Share of the measured peak, from C", xlabel="dies in a call", ylabel="%")
    axes.grid(which="major", color="#e4e4e4")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines[:-1]:  # the last is that of the peak
        axes.legend(fontsize=8, frameon=False, ncols=len(LINES), loc="upper right")
