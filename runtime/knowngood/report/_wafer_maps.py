"""Wafer maps of disposition and score as small SVGs; dies without coordinates in strips by site.

x runs to the right and y up, as the tester numbers them. Where the dies fill a wafer its cells are
stretched so that the wafer is round. The colours are classes of the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from .._verdicts import Disposition
from ._dies import DieRows, WaferDies, sites
from ._facts import ReportFacts
from ._numbers import count, significant

MAX_HOVER = 8_000
"""With more dies than this only flagged and unscored ones say who they are under the pointer."""
DISPOSITIONS = (
    (Disposition.KEEP, "d-keep", "kept"),
    (Disposition.OUTLIER, "d-outlier", "flagged"),
    (Disposition.HOLD, "d-hold", "not scored: hold"),
    (Disposition.TESTER_FAIL, "d-fail", "failed at the tester"),
)
_SAID = {disposition.value: text for disposition, _, text in DISPOSITIONS}
_QUANTILES = (0.5, 0.75, 0.9, 0.97)
_BEYOND = (1.5, 3.0)
"""Class limits above the threshold, as multiples of it."""
_SIDE = 200.0
_RADIUS = 98.0
_DIE = 0.92
"""Drawn side of a die in steps of the map; the rest is the street between dies."""


@dataclass(frozen=True)
class LegendEntry:
    """One colour of a legend: the class of the style sheet and what it stands for."""

    css: str
    text: str


@dataclass(frozen=True)
class WaferFigure:
    """One wafer, or the dies without coordinates of a lot, drawn twice."""

    title: str
    subtitle: str
    disposition_svg: str
    score_svg: str
    has_coordinates: bool


@dataclass(frozen=True)
class WaferMaps:
    """All maps with their two legends; ``hover_all``: every die has a title of its own."""

    figures: tuple[WaferFigure, ...]
    disposition_legend: tuple[LegendEntry, ...]
    score_legend: tuple[LegendEntry, ...]
    hover_all: bool


@dataclass(frozen=True)
class ScoreScale:
    """Classes of score: quantiles of the kept dies below the threshold, multiples of it above."""

    edges: tuple[float, ...]
    n_below: int

    @classmethod
    def of(cls, dies: DieRows, threshold: float) -> ScoreScale:
        kept = dies.score[dies.are(Disposition.KEEP)]
        below = sorted({float(q) for q in np.quantile(kept, _QUANTILES)} if len(kept) else set())
        below = [edge for edge in below if not edge >= threshold]
        if not math.isfinite(threshold):
            return cls(tuple(below), len(below) + 1)
        return cls((*below, threshold, *(threshold * m for m in _BEYOND)), len(below) + 1)

    def classes(self, score: NDArray[np.float32]) -> NDArray[np.object_]:
        """The style-sheet class of each score; ``s-none`` for NaN."""
        names = np.array([*self._names(), "s-none"], dtype=object)
        place = np.searchsorted(np.array(self.edges, dtype=np.float32), score, side="left")
        classes: NDArray[np.object_] = names[np.where(np.isnan(score), len(names) - 1, place)]
        return classes

    def legend(self) -> tuple[LegendEntry, ...]:
        texts = [f"≤ {significant(edge, 3)}" for edge in self.edges]
        texts.append(f"> {significant(self.edges[-1], 3)}" if self.edges else "any score")
        if len(self.edges) >= self.n_below:
            texts[self.n_below - 1] += " (threshold)"
        entries = [LegendEntry(css, t) for css, t in zip(self._names(), texts, strict=True)]
        return (*entries, LegendEntry("s-none", "no score"))

    def _names(self) -> list[str]:
        n_above = len(self.edges) + 1 - self.n_below
        return [f"s-below-{i}" for i in range(self.n_below)] + [
            f"s-above-{i}" for i in range(n_above)
        ]


def draw_wafer_maps(facts: ReportFacts) -> WaferMaps:
    """Both maps of every wafer, with the score classes shared by all of them."""
    scale = ScoreScale.of(facts.dies, facts.run.threshold)
    hover_all = len(facts.dies) <= MAX_HOVER
    several_lots = len(facts.headline.lots) > 1
    return WaferMaps(
        figures=tuple(_figure(w, scale, hover_all, several_lots) for w in facts.wafers),
        disposition_legend=_disposition_legend(facts.dies),
        score_legend=scale.legend(),
        hover_all=hover_all,
    )


def _disposition_legend(dies: DieRows) -> tuple[LegendEntry, ...]:
    return tuple(
        LegendEntry(css, f"{text} ({count(int(dies.are(disposition).sum()))})")
        for disposition, css, text in DISPOSITIONS
    )


def _figure(
    wafer: WaferDies, scale: ScoreScale, hover_all: bool, several_lots: bool
) -> WaferFigure:
    dies = wafer.dies
    css_of = {disposition.value: css for disposition, css, _ in DISPOSITIONS}
    by_disposition = np.array([css_of[str(d)] for d in dies.disposition], dtype=object)
    hover = np.ones(len(dies), dtype=np.bool_) if hover_all else ~dies.are(Disposition.KEEP)
    draw = _map_svg if wafer.has_coordinates else _strip_svg
    lot = wafer.lot or "lot not named"
    of_wafer = f"wafer {wafer.wafer}" if wafer.wafer else ""
    n_flagged = int(dies.are(Disposition.OUTLIER).sum())
    return WaferFigure(
        title=f"{lot} · {of_wafer}" if several_lots and of_wafer else of_wafer or lot,
        subtitle=f"{count(len(dies))} dies, {count(n_flagged)} flagged",
        disposition_svg=draw(dies, by_disposition, hover, "disposition"),
        score_svg=draw(dies, scale.classes(dies.score), hover, "score"),
        has_coordinates=wafer.has_coordinates,
    )


def _map_svg(dies: DieRows, css: NDArray[np.object_], hover: NDArray[np.bool_], label: str) -> str:
    column, row = dies.x - dies.x.min(), dies.y - dies.y.min()
    n_columns, n_rows = int(column.max()) + 1, int(row.max()) + 1
    is_wafer = _fills_wafer(len(dies), n_columns, n_rows)
    if is_wafer:
        step_x, step_y = _round_steps(column, row, n_columns, n_rows)
    else:
        step_x = step_y = 2 * _RADIUS / max(n_columns, n_rows)
    left = (_SIDE - step_x * n_columns) / 2
    bottom = (_SIDE + step_y * n_rows) / 2
    circle = f'<circle class="wafer" cx="100" cy="100" r="{_RADIUS + 1.5}"/>' if is_wafer else ""
    cells = _cells(dies, column, row, css, hover)
    return (
        f'<svg viewBox="0 0 200 200" role="img" aria-label="wafer map of {label}">{circle}'
        f'<g transform="translate({left:.2f} {bottom:.2f}) scale({step_x:.4f} {-step_y:.4f})">'
        f"{cells}</g></svg>"
    )


def _fills_wafer(n_dies: int, n_columns: int, n_rows: int) -> bool:
    """Whether dies cover a wafer rather than a few places of one."""
    shortest, longest = sorted((n_columns, n_rows))
    return shortest >= 5 and longest <= 4 * shortest and n_dies >= 0.4 * n_columns * n_rows


def _round_steps(
    column: NDArray[np.int32], row: NDArray[np.int32], n_columns: int, n_rows: int
) -> tuple[float, float]:
    """Steps in x and y that make both extents equal and keep every corner in the circle."""
    x = np.maximum(np.abs(column - n_columns / 2), np.abs(column + 1 - n_columns / 2)) / n_columns
    y = np.maximum(np.abs(row - n_rows / 2), np.abs(row + 1 - n_rows / 2)) / n_rows
    extent = _RADIUS / float(np.hypot(x, y).max())
    return extent / n_columns, extent / n_rows


def _strip_svg(
    dies: DieRows, css: NDArray[np.object_], hover: NDArray[np.bool_], label: str
) -> str:
    """Dies in test order from left to right and downwards, one block per site."""
    per_row = min(max(math.ceil(math.sqrt(4 * len(dies))), 30), 100)
    column = np.zeros(len(dies), dtype=np.int64)
    row = np.zeros(len(dies), dtype=np.int64)
    labels, top = [], 0
    for name, at in sites(dies):
        order = np.arange(int(at.sum()))
        column[at], row[at] = order % per_row, top + order // per_row
        labels.append((name, top))
        top = int(row[at].max()) + 2
    step = (_SIDE - 40) / per_row
    texts = "".join(
        f'<text x="37" y="{step * at + 4:.1f}">{escape(name)}</text>' for name, at in labels
    )
    is_readable = step * top >= 4.6 * len(labels)
    cells = _cells(dies, column, row, css, hover)
    return (
        f'<svg viewBox="0 0 200 {step * top:.1f}" role="img" aria-label="dies by site: {label}">'
        f"{texts if is_readable else ''}"
        f'<g transform="translate(40 0) scale({step:.4f})">{cells}</g></svg>'
    )


def _cells(
    dies: DieRows,
    column: NDArray[np.integer],
    row: NDArray[np.integer],
    css: NDArray[np.object_],
    hover: NDArray[np.bool_],
) -> str:
    """One group per class; silent dies share a path, the others have a title of their own."""
    groups = []
    for name in sorted(set(css.tolist())):
        at = css == name
        silent = "".join(map(_square, column[at & ~hover].tolist(), row[at & ~hover].tolist()))
        parts = [f'<path d="{silent}"/>'] if silent else []
        parts += [
            f'<path d="{_square(int(column[i]), int(row[i]))}">'
            f"<title>{escape(_title(dies, i))}</title></path>"
            for i in np.flatnonzero(at & hover).tolist()
        ]
        groups.append(f'<g class="{name}">{"".join(parts)}</g>')
    return "".join(groups)


_square: Callable[[int, int], str] = f"M{{}} {{}}h{_DIE}v{_DIE}h-{_DIE}z".replace("0.", ".").format


def _title(dies: DieRows, i: int) -> str:
    place = f"x {dies.x[i]} y {dies.y[i]}" if dies.located[i] else f"part {dies.part_id[i]}"
    reason = f": {dies.reason[i]}" if dies.reason[i] else ""
    score = "" if np.isnan(dies.score[i]) else f", score {significant(float(dies.score[i]), 3)}"
    return f"{place}, site {dies.site[i]}{score}, {_SAID[str(dies.disposition[i])]}{reason}"
