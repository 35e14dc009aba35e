"""The page: facts and drawings put into the HTML template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from .._extras import require
from .._manifest import Drift, Evaluation, Manifest
from . import _figures, _numbers
from ._facts import ReportFacts, YieldLoss
from ._flagged import FlaggedDie
from ._wafer_maps import draw_wafer_maps

OPEN_ROWS = 50
"""Flagged dies that the table shows at once; the others unfold."""
MAX_ROWS = 500
"""Flagged dies that the page lists at all; the verdict table has every one."""
OPEN_WAFERS = 12
OPEN_WARNINGS = 8
MAX_CHART_ROWS = 45


@dataclass(frozen=True)
class DetectionRow:
    """Detection of one class of defect at the operating point, by detector in report order."""

    defect: str
    n_defective: int
    detection: tuple[float, ...]


@dataclass(frozen=True)
class DriftRow:
    """One exported form; flips per 10,000 dies."""

    form: str
    error_median: float
    error_worst: float
    good: float
    defective: float
    good_unchanged: float
    defective_unchanged: float
    n_good: int
    n_defective: int


def render(facts: ReportFacts, created: str) -> str:
    """The whole report as one HTML page that needs nothing else.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    jinja2 = require("jinja2", extra="report", needed_for="the report")
    folder = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_numbers.percent,
        count=_numbers.count,
        significant=_numbers.significant,
        signed=_numbers.signed,
        score=_numbers.score,
        error=_numbers.relative_error,
        defect=_figures.defect_name,
        detector=_figures.detector_name,
        die=die_name,
        sentence=_numbers.sentence,
        when=_numbers.when,
    )
    template = environment.from_string(folder.joinpath("template.html.j2").read_text("utf-8"))
    text: str = template.render(
        facts=facts,
        created=created,
        style=folder.joinpath("style.css").read_text("utf-8"),
        maps=draw_wafer_maps(facts),
        open_rows=OPEN_ROWS,
        max_rows=MAX_ROWS,
        open_wafers=OPEN_WAFERS,
        open_warnings=OPEN_WARNINGS,
        figures=_charts(facts),
        detectors=_figures.in_report_order([c.detector for c in facts.evaluation.curves]),
        detection=detection_table(facts.evaluation, facts.run.fpr),
        drift=[drift_row(d) for d in facts.manifest.drift] if facts.manifest else [],
        provenance=provenance_rows(facts.manifest) if facts.manifest else [],
    )
    return text


def _charts(facts: ReportFacts) -> dict[str, str]:
    """The charts by name, empty where the facts do not allow one."""
    run, dies = facts.run, facts.dies
    curve = facts.manifest.provenance.learning_curve if facts.manifest else ()
    charts = dict.fromkeys(
        ("histogram", "detection", "pareto", "showcase", "yield_loss", "learning"), ""
    )
    if dies.judged.any():
        charts["histogram"] = _figures.score_histogram(
            dies, run.threshold, run.fpr, facts.operating_points
        )
        charts["yield_loss"] = _figures.yield_loss_chart(_chart_rows(facts.yield_losses), run.fpr)
    if facts.evaluation.curves:
        charts["detection"] = _figures.detection_curves(facts.evaluation, run.fpr)
    if facts.pareto:
        charts["pareto"] = _figures.pareto_chart(facts.pareto)
    if facts.showcase:
        charts["showcase"] = _figures.showcase_scatter(facts.showcase)
    if len(curve) > 1:
        charts["learning"] = _figures.learning_curve(curve)
    return charts


def _chart_rows(losses: Sequence[YieldLoss]) -> Sequence[YieldLoss]:
    """Lots with their sites, lots alone where that is too much, the first ones beyond."""
    shown = losses if len(losses) <= MAX_CHART_ROWS else [r for r in losses if not r.site]
    return shown[:MAX_CHART_ROWS]


def die_name(die: FlaggedDie, with_lot: bool = True) -> str:
    """Where a die is: ``L7 W03 (12, −4)``, or its part id where it has no coordinates."""
    if die.has_coordinates:
        place = f"({die.x},{_numbers.NBSP}{die.y})".replace("-", "−")
    else:
        place = f"part {die.part_id}" if die.part_id else f"row {die.row + 1}"
    return " ".join(t for t in (die.lot if with_lot else "", die.wafer, place) if t)


def detection_table(evaluation: Evaluation, fpr: float) -> list[DetectionRow]:
    """Detection at the yield loss ``fpr``, interpolated over log yield loss between grid points."""
    if not evaluation.curves or not math.isfinite(fpr):
        return []
    grid = np.log(evaluation.yield_loss)
    rows: dict[str, dict[str, float]] = {}
    for curve in evaluation.curves:
        at = float(np.interp(math.log(fpr), grid, curve.detection))
        rows.setdefault(curve.defect, {})[curve.detector] = at
    detectors = _figures.in_report_order([c.detector for c in evaluation.curves])
    n_of = {c.defect: c.n_defective for c in evaluation.curves}
    return [
        DetectionRow(defect, n_of[defect], tuple(found.get(d, math.nan) for d in detectors))
        for defect, found in rows.items()
    ]


def drift_row(drift: Drift) -> DriftRow:
    """A form's drift with its flips per 10,000 dies."""

    def per_10k(flips: int, n_dies: int) -> float:
        return 1e4 * flips / n_dies if n_dies else math.nan

    return DriftRow(
        form=drift.form,
        error_median=drift.error_median,
        error_worst=drift.error_worst,
        good=per_10k(drift.flips_good, drift.n_good),
        defective=per_10k(drift.flips_defective, drift.n_defective),
        good_unchanged=per_10k(drift.flips_good_unchanged, drift.n_good),
        defective_unchanged=per_10k(drift.flips_defective_unchanged, drift.n_defective),
        n_good=drift.n_good,
        n_defective=drift.n_defective,
    )


def provenance_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """What the model says of itself, as label and text; empty facts are left out."""
    origin, purpose = manifest.provenance, manifest.screen.schema.purpose
    head = manifest.screen.head
    seed = "" if origin.seed is None else str(origin.seed)
    rows = [
        ("Trained", _numbers.when(origin.created)),
        ("Part type", purpose.part_type),
        ("Test temperature", purpose.temperature),
        ("Flow", purpose.flow),
        ("Test program", " ".join(t for t in (purpose.program, purpose.revision) if t)),
        ("Tests", _numbers.count(manifest.screen.schema.n_tests)),
        ("Layers", " – ".join(str(w) for w in manifest.widths)),
        ("Score", _head_text(head.kind, head.k)),
        ("Tests needed", f"{head.min_present} of {manifest.screen.schema.n_tests} on a die"),
        ("Dies for training", _numbers.count(origin.n_train)),
        ("Dies held out", _numbers.count(origin.n_held_out)),
        ("How held out", origin.hold_out),
        ("Random seed", seed),
        ("Made with", ", ".join(f"{k} {v}" for k, v in sorted(origin.versions.items()))),
        ("Schema digest", manifest.screen.schema.digest),
    ]
    return [(label, text) for label, text in rows if text]


def _head_text(kind: str, k: int) -> str:
    texts: dict[str, Any] = {
        "topk": f"mean of the {k} largest residuals, each over its usual size on good dies",
        "normalized": "mean square of the residuals, each over its usual size on good dies",
        "mse": "mean square residual",
        "mahalanobis": "mean square of the residuals, each over its usual size on good dies, "
        "without what they usually share",
    }
    return f"{kind}: {texts[kind]}"
