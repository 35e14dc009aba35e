"""Charts as SVG text in the report's style, made to stand inside an HTML page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .._extras import require
from ._numbers import significant

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#5f6b76", "#d9dee3"
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}
_FONT = re.compile(r"'DejaVu Sans'[^;\"]*")
_HEAD = re.compile(r"<\?xml.*?<svg ", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_NUMBERED_ID = re.compile(r' id="[a-z0-9_.]+_\d+"')
_NAMESPACES = re.compile(r' (?:xmlns(?::xlink)?|version)="[^"]*"')


@contextmanager
def figure_named(name: str, width_inches: float, height_inches: float) -> Iterator[Figure]:
    """A figure outside pyplot's list in the report's style; ``name`` keeps its ids its own."""
    matplotlib = require("matplotlib", extra="report", needed_for="the report")
    figures = require("matplotlib.figure", extra="report", needed_for="the report")
    layouts = require("matplotlib.layout_engine", extra="report", needed_for="the report")
    layout = layouts.ConstrainedLayoutEngine(wspace=0.06)
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield figures.Figure(figsize=(width_inches, height_inches), layout=layout)


def label_log_axis(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 of each decade over less than three of them, at decades beyond."""
    ticker = require("matplotlib.ticker", extra="report", needed_for="the report")
    low, high = axis.get_view_interval()
    steps = (1, 2, 5) if low > 0 and high / low < 1000 else (1,)
    axis.set_major_locator(ticker.LogLocator(subs=steps, numticks=20))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: significant(value, 3)))
    axis.set_minor_formatter(ticker.NullFormatter())


def svg_of(figure: Figure) -> str:
    """The figure as an ``<svg>`` element: no prologue, no metadata, the page's own font."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = _HEAD.sub("<svg ", stream.getvalue(), count=1)
    for pattern in (_METADATA, _NUMBERED_ID, _NAMESPACES):
        text = pattern.sub("", text)
    return _FONT.sub("inherit", text)
