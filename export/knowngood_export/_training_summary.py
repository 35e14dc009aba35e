"""What training tells the user: as text, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from knowngood._head_table import head_choice_lines
from knowngood._network import MIN_EXCEEDANCES
from knowngood_quantize.yardstick import detection_at

from ._added_value import NAMES, AddedValue, added_value
from ._trained import TrainedModel

YIELD_LOSSES = (0.005, 0.02)
MOST_NOTES = 12


def summarise(model: TrainedModel) -> str:
    """The summary that ``knowngood train`` prints: dies, tests, learning, head, thresholds …"""
    sections = (
        _dies(model),
        _learning(model),
        _head(model),
        _thresholds(model),
        _yardstick(model),
        _facts(model),
    )
    return "\n".join(line for section in sections for line in section)


def training_record(model: TrainedModel) -> dict[str, Any]:
    """The same, and more, as JSON-ready data: what ``training.json`` holds."""
    network, screen = model.network, model.network.screen
    return {
        "knowngood_training": 1,
        "detector": network.detector,
        "widths": list(network.widths),
        "head": {
            "kind": screen.head.kind,
            "k": screen.head.k,
            "min_present": screen.head.min_present,
            "n_axes": model.evaluation.head_choice.n_axes,
            "n_held_out": model.evaluation.head_choice.n_held_out,
            "n_training": model.evaluation.head_choice.n_training,
        },
        "n_tests": screen.schema.n_tests,
        "schema_digest": screen.schema.digest,
        "site_groups": screen.scaler.groups[1:].tolist(),
        "default_fpr": screen.default_fpr,
        "operating_points": [asdict(point) for point in screen.operating_points],
        "provenance": asdict(model.provenance),
        "evaluation": asdict(model.evaluation),
        "added_value": [asdict(added) for added in _added(model)],
    }


def _dies(model: TrainedModel) -> Iterator[str]:
    provenance = model.provenance
    n_good = provenance.n_train + provenance.n_held_out
    n_read = n_good + sum(provenance.dropped.values())
    n_files = len(provenance.sources)
    yield f"dies        {n_read:,} read" + (f" from {n_files} files" if n_files else "")
    for reason, n in provenance.dropped.items():
        yield f"            {n:>7,} left out: {reason}"
    yield f"            {n_good:>7,} good: {provenance.n_train:,} to train on"
    yield f"            {provenance.hold_out}"
    yield f"tests       {model.network.screen.schema.n_tests:,} used"
    for note in provenance.notes[:MOST_NOTES]:
        yield f"            {note}"
    if len(provenance.notes) > MOST_NOTES:
        yield f"            and {len(provenance.notes) - MOST_NOTES} notes more in training.json"


def _learning(model: TrainedModel) -> Iterator[str]:
    curve = model.provenance.learning_curve
    best = min(curve, key=lambda point: point[2])
    widths = "-".join(str(width) for width in model.network.widths)
    head = model.network.screen.head
    yield f"network     {widths}, head {head.kind}" + (f" (k = {head.k})" if head.k else "")
    start = "the start, which is best" if best[0] == 0 else f"the start, {best[2]:.4g} at best"
    yield (
        f"learning    held-out loss {curve[0][2]:.4g} at {start}, after epoch {best[0]} of "
        f"{curve[-1][0]} (training loss {best[1]:.4g})"
    )
    yield f"            a die needs {head.min_present} tests to be scored"


def _head(model: TrainedModel) -> Iterator[str]:
    lines = list(head_choice_lines(asdict(model.evaluation.head_choice)))
    for label, line in zip(("score head", *[""] * len(lines)), lines, strict=False):
        yield f"{label:<12}{line}"


def _thresholds(model: TrainedModel) -> Iterator[str]:
    screen = model.network.screen
    points = screen.operating_points
    yield f"thresholds  from {points[0].n_dies:,} held-out good dies, with 95 % intervals"
    for point in points:
        marks = ["default"] if np.isclose(point.fpr, screen.default_fpr) else []
        if not point.supported:
            expected = point.fpr * point.n_dies
            marks.append(f"unsupported: {expected:.1f} dies above, {MIN_EXCEEDANCES} needed")
        yield (
            f"            {point.fpr:7.2%} yield loss: {point.threshold:8.4g} "
            f"({point.low:.4g} to {point.high:.4g})" + (f"  {'; '.join(marks)}" if marks else "")
        )


def _yardstick(model: TrainedModel) -> Iterator[str]:
    evaluation = model.evaluation
    defects = list(dict.fromkeys(curve.defect for curve in evaluation.curves))
    yield f"yardstick   {evaluation.how}"
    if not defects:
        yield "            no defect could be injected: no test varies enough, or limits forbid it"
        return
    for added in _added(model):
        fpr = added.yield_loss
        heads = "".join(f"{defect.replace('_', ' '):>20}" for defect in defects)
        beyond = "" if added.supported else f", beyond what {evaluation.n_good:,} good dies support"
        yield f"            detected at {fpr:.1%} yield loss{beyond}"
        yield f"            {'':<14}{heads}"
        for detector in dict.fromkeys(curve.detector for curve in evaluation.curves):
            found = [detection_at(evaluation, detector, defect, fpr) for defect in defects]
            cells = "".join(f"{share:>20.1%}" for share in found)
            yield f"            {NAMES.get(detector, detector):<14}{cells}"
        yield f"            {added}"


def _added(model: TrainedModel) -> list[AddedValue]:
    """At the usual yield losses and the model's own, as far as they were measured."""
    evaluation = model.evaluation
    if not evaluation.curves:
        return []
    low, high = evaluation.yield_loss[0], evaluation.yield_loss[-1]
    wanted = sorted({*YIELD_LOSSES, model.network.screen.default_fpr})
    return [added_value(evaluation, fpr) for fpr in wanted if low <= fpr <= high]


def _facts(model: TrainedModel) -> Iterator[str]:
    facts = model.evaluation.facts
    if "n_fail" in facts:
        auc = f"{facts['fail_die_auc']:.3f}" if "fail_die_auc" in facts else "unknown"
        trivial = ", ".join(
            f"{name} {facts[key]:.3f}"
            for name, key in (
                ("limit check", "limit_check_auc"),
                ("count of missing tests", "missing_count_auc"),
            )
            if key in facts
        )
        yield f"fail dies   AUC {auc} with failing tests masked" + (trivial and f"; {trivial}")
        yield (
            f"            {facts['n_fail']:,.0f} fails, {facts['coverage_fail']:.0%} of them could "
            f"be scored; {facts['n_pass']:,.0f} passes, {facts['coverage_pass']:.0%}"
        )
    if "missing_pattern_auc" in facts:
        yield (
            "missing     good held-out dies with the missing tests of fail dies: AUC "
            f"{facts['missing_pattern_auc']:.3f} against themselves (0.5 is right),"
        )
        yield (
            f"            {facts['missing_pattern_yield_loss']:.2%} rejected at a nominal 2 %; "
            f"{facts['missing_pattern_coverage']:.0%} of them could be scored"
        )
    elif "missing_pattern_coverage" in facts:
        yield "missing     no good die could be scored with the missing tests of fail dies"
