"""The drift of a case in Markdown: errors, flips, yield loss and detection."""

from __future__ import annotations

from ._accuracy import Accuracy
from ._markdown import answers, markdown_table
from ._run import CaseResult

SHOWN_POINTS = (0.001, 0.005, 0.02)


def drift_section(result: CaseResult, plot: str) -> str:
    """The section; ``plot`` is the file beside it."""
    case = result.case
    sizes = ", ".join(f"{name} {size / 1000:.0f} kB" for name, size in result.file_bytes.items())
    parts = [
        f"## Drift of {case.name}",
        f"Network {'-'.join(map(str, result.widths))}, trained on {case.n_lots} lots. "
        f"Files: {sizes}. {answers(result.skipped, result.failures)}",
        f"![Drift of {case.name}]({plot})",
        f"### Scores against float64\n\nOn {result.n_good:,} good and {result.n_defective:,} "
        "defective dies of lots that neither training nor thresholds have seen. Errors are "
        "relative; flips are verdicts per 10,000 dies (good / defective) that differ from "
        "float64's, each form at its own threshold.",
        _drift(result),
        "### Yield loss and detection\n\nAt each one's own threshold for the nominal yield loss: "
        "realised yield loss on good dies, all and in the median lot, then detection by class of "
        "defect.",
        *(_detection(result, fpr) for fpr in SHOWN_POINTS),
    ]
    return "\n\n".join(parts)


def _drift(result: CaseResult) -> str:
    rows = []
    for a in result.accuracy:
        if a.errors is None or a.bias is None:
            continue
        errors = (a.errors.good_median, a.errors.good_worst, a.errors.defective_worst)
        cells = [a.detector, f"{a.bias:+.1e}", *(f"{error:.1e}" for error in errors)]
        rows.append(cells + [_flips(a, fpr) for fpr in SHOWN_POINTS])
    header = ["", "bias", "median error", "worst", "worst, defective"]
    header += [f"flips at {fpr:.1%}" for fpr in SHOWN_POINTS]
    return markdown_table(header, rows)


def _flips(accuracy: Accuracy, fpr: float) -> str:
    point = next(p for p in accuracy.points if p.fpr == fpr)
    return f"{point.flips_good:.1f} / {point.flips_defective:.1f}"


def _detection(result: CaseResult, fpr: float) -> str:
    rows = []
    for accuracy in result.accuracy:
        point = next(p for p in accuracy.points if p.fpr == fpr)
        cells = [f"{loss:.2%}" for loss in (point.yield_loss, point.median_lot)]
        cells += [f"{share:.1%}" for share in point.detection.values()]
        rows.append([accuracy.detector, *cells])
    defects = [d.replace("_", " ") for d in result.accuracy[0].points[0].detection]
    return markdown_table([f"nominal {fpr:.1%}", "yield loss", "median lot", *defects], rows)
