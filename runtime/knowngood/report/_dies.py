"""The dies that the report counts: the final attempt of each, grouped by wafer and by site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lot import NO_COORDINATE
from .._verdicts import Disposition


@dataclass(frozen=True)
class DieRows:
    """Columns of a verdict table; each has shape ``(n_dies,)``.

    Attributes:
        row: int64, the row of the verdict table, from 0.
        lot, wafer, part_id, disposition, reason, top_tests: str (object dtype).
        x, y: int32, ``NO_COORDINATE`` where absent. head, site: int32.
        score: float32, NaN for an unscored die.
    """

    row: NDArray[np.int64]
    lot: NDArray[np.object_]
    wafer: NDArray[np.object_]
    part_id: NDArray[np.object_]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    head: NDArray[np.int32]
    site: NDArray[np.int32]
    score: NDArray[np.float32]
    disposition: NDArray[np.object_]
    reason: NDArray[np.object_]
    top_tests: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.row)

    def select(self, rows: NDArray[Any]) -> DieRows:
        """Some of the dies: a boolean mask or indices."""
        return DieRows(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def are(self, disposition: Disposition) -> NDArray[np.bool_]:
        """Which dies have this disposition."""
        found: NDArray[np.bool_] = self.disposition == disposition.value
        return found

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Dies that passed at the tester and have a score: those a yield loss is counted over."""
        return self.are(Disposition.KEEP) | self.are(Disposition.OUTLIER)

    @property
    def located(self) -> NDArray[np.bool_]:
        """Dies with coordinates."""
        located: NDArray[np.bool_] = (self.x != NO_COORDINATE) & (self.y != NO_COORDINATE)
        return located


@dataclass(frozen=True)
class WaferDies:
    """The dies of one wafer; without coordinates, the dies of a lot in test order."""

    lot: str
    wafer: str
    dies: DieRows
    has_coordinates: bool


def natural_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that puts ``W2`` before ``W10``."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p)


def wafers(dies: DieRows) -> tuple[WaferDies, ...]:
    """The dies by lot and wafer, and those without coordinates apart, in natural order."""
    located = dies.located
    keys = list(zip(dies.lot, dies.wafer, located.tolist(), strict=True))
    order = sorted(set(keys), key=lambda k: (natural_order(k[0]), natural_order(k[1]), not k[2]))
    rows_of: dict[tuple[str, str, bool], list[int]] = {key: [] for key in order}
    for row, key in enumerate(keys):
        rows_of[key].append(row)
    return tuple(
        WaferDies(lot, wafer, dies.select(np.array(rows_of[lot, wafer, known])), known)
        for lot, wafer, known in order
    )


def sites(dies: DieRows) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each site's name and dies; the head is named only where there are several."""
    several_heads = len(np.unique(dies.head)) > 1
    pairs = np.unique(np.stack([dies.head, dies.site], axis=1), axis=0)
    for head, site in pairs.tolist():
        name = f"head {head} site {site}" if several_heads else f"site {site}"
        yield name, (dies.head == head) & (dies.site == site)
