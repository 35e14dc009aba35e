"""Everything the report says, gathered from verdicts, model and lots before anything is drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lot import mark_attempts_of_files
from .._manifest import Evaluation, Manifest
from .._network import OperatingPoint
from .._verdicts import Disposition
from ._dies import DieRows, WaferDies, natural_order, sites, wafers
from ._flagged import FlaggedDie, ParetoTest, flagged_dies, pareto
from ._rates import Rate
from ._rescored import Rescored
from ._showcase import Showcase, find_showcase


@dataclass(frozen=True)
class LeftOut:
    """A part of the report that cannot be made, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class ModelUsed:
    """Which model gave the verdicts, from the run's record; empty fields are unknown."""

    name: str = ""
    sha256: str = ""
    detector: str = ""
    precision: str = ""
    engine: str = ""
    engine_version: str = ""
    model_id: str = ""

    @property
    def is_pat(self) -> bool:
        """Whether each test was judged by itself, against its own centre."""
        return self.detector == "pat"


@dataclass(frozen=True)
class Run:
    """How the verdicts were given, from the run's record.

    Attributes:
        fpr: nominal yield loss; NaN if unknown.
        threshold: a die passes if its score is ≤ this; NaN if unknown.
        n_dies: rows of the verdict table that each input gave; empty if unknown.
        odd: what was unusual in the input files and tolerated.
    """

    created: str = ""
    model: ModelUsed = ModelUsed()
    inputs: tuple[str, ...] = ()
    n_dies: tuple[int, ...] = ()
    fpr: float = math.nan
    threshold: float = math.nan
    warnings: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


@dataclass(frozen=True)
class Headline:
    """Counts over final attempts; ``n_earlier`` attempts before them are not counted."""

    lots: tuple[str, ...]
    n_wafers: int
    n_dies: int
    n_earlier: int
    n_flagged: int
    n_unscored: int
    n_tester_fail: int
    realised: Rate


@dataclass(frozen=True)
class YieldLoss:
    """Realised yield loss of a lot, or of one site of it; ``site`` is empty for the lot."""

    lot: str
    site: str
    rate: Rate


@dataclass(frozen=True)
class ReportFacts:
    """What the report shows.

    Attributes:
        pareto: all tests that flagged dies name, most often named first.
        unscored: dies without a score by reason, tester fails apart.
        manifest: of the model that gave the verdicts, None if it cannot be read.
        showcase: None if no such die was found, the values are not at hand, or the model is PAT.
        changed: dies whose disposition differs when scored again here; None if not scored again.
    """

    run: Run
    headline: Headline
    dies: DieRows
    wafers: tuple[WaferDies, ...]
    flagged: tuple[FlaggedDie, ...]
    pareto: tuple[ParetoTest, ...]
    yield_losses: tuple[YieldLoss, ...]
    unscored: Mapping[str, int]
    manifest: Manifest | None
    showcase: Showcase | None
    changed: int | None
    left_out: tuple[LeftOut, ...]

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        """Thresholds of the model, none without it."""
        return self.manifest.screen.operating_points if self.manifest else ()

    @property
    def evaluation(self) -> Evaluation:
        """The yardstick of the model, empty without it."""
        return self.manifest.evaluation if self.manifest else Evaluation()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the rest, the gravest first."""
        own = []
        if self.changed:
            own.append(
                f"{self.changed} rows have another disposition when the lots are scored again "
                "here: the verdict table was changed, or the engines differ"
            )
        return (*own, *self.run.warnings, *self.run.odd)

    def to_json(self) -> dict[str, Any]:
        """The headline figures for programs."""
        head = self.headline
        return {
            "lots": list(head.lots),
            "dies": head.n_dies,
            "flagged": head.n_flagged,
            "unscored": head.n_unscored,
            "tester_fails": head.n_tester_fail,
            "earlier_attempts": head.n_earlier,
            "yield_loss": None if math.isnan(head.realised.share) else head.realised.share,
            "yield_loss_interval": [head.realised.low, head.realised.high],
            "nominal_yield_loss": None if math.isnan(self.run.fpr) else self.run.fpr,
            "changed_when_scored_again": self.changed,
            "left_out": [{"what": item.what, "why": item.why} for item in self.left_out],
        }


def gather(
    rows: DieRows,
    run: Run,
    *,
    manifest: Manifest | None = None,
    rescored: Rescored | None = None,
    left_out: tuple[LeftOut, ...] = (),
) -> ReportFacts:
    """All facts of a report; ``rows`` are all attempts, in the verdict table's order."""
    dies = rows.select(final_attempts(rows, run.n_dies))
    flagged = flagged_dies(dies, rescored)
    return ReportFacts(
        run=run,
        headline=_headline(dies, len(rows)),
        dies=dies,
        wafers=wafers(dies),
        flagged=flagged,
        pareto=pareto(flagged),
        yield_losses=tuple(_yield_losses(dies)),
        unscored=_by_reason(dies),
        manifest=manifest,
        showcase=find_showcase(dies, flagged, rescored)
        if rescored and not run.model.is_pat
        else None,
        changed=int((rescored.dispositions != rows.disposition).sum()) if rescored else None,
        left_out=left_out,
    )


def final_attempts(rows: DieRows, n_dies: Sequence[int] = ()) -> NDArray[np.bool_]:
    """Which rows are the last test of their die, bool ``(n_rows,)``.

    ``n_dies`` are the rows of each file; where they do not add up, the rows count as one file's.
    """
    files = n_dies if sum(n_dies) == len(rows) else [len(rows)]
    return mark_attempts_of_files(rows, files)[1]


def _headline(dies: DieRows, n_attempts: int) -> Headline:
    n_flagged = int(dies.are(Disposition.OUTLIER).sum())
    return Headline(
        lots=_lot_names(dies),
        n_wafers=len(set(zip(dies.lot, dies.wafer, strict=True))),
        n_dies=len(dies),
        n_earlier=n_attempts - len(dies),
        n_flagged=n_flagged,
        n_unscored=int(dies.are(Disposition.HOLD).sum()),
        n_tester_fail=int(dies.are(Disposition.TESTER_FAIL).sum()),
        realised=Rate.of(n_flagged, int(dies.judged.sum())),
    )


def _lot_names(dies: DieRows) -> tuple[str, ...]:
    return tuple(sorted(set(dies.lot.tolist()), key=natural_order))


def _yield_losses(dies: DieRows) -> list[YieldLoss]:
    losses = []
    for lot in _lot_names(dies):
        of_lot = dies.select(dies.lot == lot)
        losses.append(YieldLoss(lot, "", _rate(of_lot)))
        of_sites = list(sites(of_lot))
        if len(of_sites) > 1:
            losses += [YieldLoss(lot, name, _rate(of_lot.select(at))) for name, at in of_sites]
    return losses


def _rate(dies: DieRows) -> Rate:
    return Rate.of(int(dies.are(Disposition.OUTLIER).sum()), int(dies.judged.sum()))


def _by_reason(dies: DieRows) -> dict[str, int]:
    reasons = Counter(str(r) for r in dies.reason[dies.are(Disposition.HOLD)])
    return dict(reasons.most_common())
