"""The lots of the demonstration, with passing but defective dies hidden in those to be screened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from knowngood._atomic import write_bytes
from knowngood._judge import LotResult
from knowngood._lot import Lot
from knowngood._verdicts import Disposition
from knowngood.stdf import write_lot

from .. import synthetic

if TYPE_CHECKING:
    from . import DemoPlan


@dataclass(frozen=True)
class Planted:
    """Defective dies of one class, hidden in the screened lots.

    Attributes:
        defect: the class.
        rows: rows of each screened lot, in order.
        flagged: how many were rejected, by model file.
    """

    defect: str
    rows: tuple[tuple[int, ...], ...]
    flagged: dict[str, int] = field(default_factory=dict)

    @property
    def n_dies(self) -> int:
        """How many dies have the defect."""
        return sum(len(rows) for rows in self.rows)

    def count_flagged(self, model: str, results: Sequence[LotResult]) -> Planted:
        """The same with the dies counted that ``model`` rejected; one result per lot."""
        n_flagged = sum(
            int((result.dispositions[list(rows)] == Disposition.OUTLIER).sum())
            for rows, result in zip(self.rows, results, strict=True)
        )
        return replace(self, flagged={**self.flagged, model: n_flagged})


class DemoLots(NamedTuple):
    """Files, and what was hidden in those to be screened."""

    training: list[Path]
    screened: list[Path]
    planted: tuple[Planted, ...]


def make_lots(process: synthetic.ProcessModel, folder: Path, plan: DemoPlan) -> DemoLots:
    """Write the lots as ``LOT001.stdf.gz`` …, and ``planted.json`` beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    n_lots = plan.n_training_lots + plan.n_screened_lots
    paths = [folder / f"LOT{i + 1:03d}.stdf.gz" for i in range(n_lots)]
    rows: dict[str, list[tuple[int, ...]]] = {c: [] for c in synthetic.DefectClass}
    for i, path in enumerate(paths):
        lot = synthetic.make_lot(
            process, n_wafers=plan.wafers_per_lot, dies_per_wafer=plan.dies_per_wafer,
            lot=f"LOT{i + 1:03d}", seed=plan.seed,
        )  # fmt: skip
        if i >= plan.n_training_lots:
            lot = _plant(process, lot, plan, rows)
        write_lot(path, lot)
    planted = tuple(Planted(str(c), tuple(r)) for c, r in rows.items())
    record = {p.defect: [list(r) for r in p.rows] for p in planted}
    write_bytes(folder / "planted.json", json.dumps(record, indent=1).encode())
    screened = paths[plan.n_training_lots :]
    return DemoLots(paths[: plan.n_training_lots], screened, planted)


def _plant(
    process: synthetic.ProcessModel,
    lot: Lot,
    plan: DemoPlan,
    rows: dict[str, list[tuple[int, ...]]],
) -> Lot:
    """Replace some passing dies by ones with a defect, ``share_planted`` of the lot per class."""
    values = lot.values.copy()
    free = np.ones(len(values), dtype=np.bool_)
    rng = np.random.default_rng(plan.seed)
    for defect in synthetic.DefectClass:
        made = synthetic.inject_defects(process, lot, defect, seed=plan.seed)
        usable = np.flatnonzero(free[made.source_rows])
        chosen = rng.permutation(usable)[: max(1, round(plan.share_planted * len(values)))]
        at = made.source_rows[chosen]
        values[at] = made.values[chosen]
        free[at] = False
        rows[defect].append(tuple(sorted(at.tolist())))
    return replace(lot, values=values)
