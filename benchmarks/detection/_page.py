"""The section of a record that shows detection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from knowngood._head_table import head_choice_lines
from knowngood_quantize.yardstick import detection_at

from .._markdown import markdown_table
from ._run import DetectionResult

NAMES = {"pat": "PAT", "t2": "Hotelling T²", "pca": "PCA residual"}


def detection_page(results: Sequence[DetectionResult]) -> str:
    """All cases, as Markdown."""
    return "\n\n".join(_section(result) for result in results)


def _section(result: DetectionResult) -> str:
    case, widths = result.case, "-".join(map(str, result.widths))
    parts = [
        f"## {case.name}: the {case.correlation} generator, {widths}",
        f"{result.evaluation.how}, {case.n_fresh_defective:,} defective ones of each class; share "
        f"found where everybody rejects {case.yield_loss:.1%} of these good dies. Autoencoder, "
        f"mean over the generator's classes: **{result.mean_detection:.1%}** "
        f"(expected: {case.expected:.0%}).",
        _table(result),
        "PAT, Hotelling T² and the PCA residual are fitted on all training dies, the detectors "
        f"with a version on {result.n_rivals_fitted:,} of them.",
        _below(result),
        "```\n" + "\n".join(head_choice_lines(asdict(result.head_choice))) + "\n```",
    ]
    return "\n\n".join(parts)


def _table(result: DetectionResult) -> str:
    evaluation, fpr = result.evaluation, result.case.yield_loss
    defects = list(dict.fromkeys(curve.defect for curve in evaluation.curves))
    header = ["detector", *(name.replace("_", " ") for name in defects)]
    rows = [
        [
            _describe(result, name),
            *(f"{detection_at(evaluation, name, d, fpr):.1%}" for d in defects),
        ]
        for name in dict.fromkeys(curve.detector for curve in evaluation.curves)
    ]
    return markdown_table(header, rows)


def _describe(result: DetectionResult, detector: str) -> str:
    version = result.versions.get(detector)
    return NAMES.get(detector, detector) + (f" ({version})" if version else "")


def _below(result: DetectionResult) -> str:
    if not result.shortfalls:
        return "On no correlation class does a rival find more."
    return "Of correlation classes a rival finds more: " + "; ".join(_shortfalls(result)) + "."


def _shortfalls(result: DetectionResult) -> Iterator[str]:
    for s in result.shortfalls:
        chance = "**shown**" if s.is_shown else "no more than chance"
        yield (
            f"{NAMES.get(s.rival, s.rival)}, {s.defect.replace('_', ' ')}, by "
            f"{-s.difference * 100:.1f} ± {s.standard_error * 100:.1f} points ({chance})"
        )
