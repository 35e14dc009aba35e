"""What int8 is held to against the rivals, and what a run found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import _edge_settings, _ort_settings
from ._duels import PAIRS, Duel, all_duels, best_per_set, best_single, tally
from ._run import SetResult

NATIVE = "knowngood native int8"
RATIO_SETS = "tight512"
"""How the names of sets begin on which native int8 is held to a ratio, with the head ``mse``."""
RATIOS = (
    ("ONNX Runtime static, default", _ort_settings.MAKER, _ort_settings.DEFAULT, 40.0),
    ("the same, its file's own score", _ort_settings.MAKER, _ort_settings.AS_IT_COMES, 40.0),
    ("LiteRT int8", _edge_settings.MAKER, _edge_settings.DEFAULT, 7.0),
)
"""Rival, its maker and setting, and how many times as many flips it must have."""
AUC_LIMIT = 0.002
THRESHOLDS = {False: "fp32's threshold", True: "own thresholds"}


@dataclass(frozen=True)
class Figure:
    """Something held, and what was found."""

    what: str
    wanted: str
    found: str
    is_met: bool


def figures(results: Sequence[SetResult]) -> list[Figure]:
    """All that is held, for the sets that were run."""
    tables = [result for result in results if result.kind == "table"]
    return [
        *_ratios(results),
        *(f for refitted in (False, True) for f in _file_figures(results, refitted=refitted)),
        *([_auc(tables)] if tables else []),
        _verified(results),
    ]


def _ratios(results: Sequence[SetResult]) -> Iterator[Figure]:
    for result in results:
        if not result.name.startswith(RATIO_SETS):
            continue
        for rival, maker, setting, wanted in RATIOS:
            for refitted in (False, True):
                yield _ratio(result, rival, f"{maker} {setting}", wanted, refitted=refitted)


def _ratio(result: SetResult, what: str, rival: str, wanted: float, *, refitted: bool) -> Figure:
    flips = {r.contestant: r.flips(refitted=refitted) for r in result.rows if r.head == "mse"}
    ours, theirs = flips[NATIVE], flips[rival]
    ratio = theirs / ours if ours else math.inf
    return Figure(
        f"{result.name}, mse, {THRESHOLDS[refitted]}: native int8, flips of {what}",
        f"≥ {wanted:g} times as many",
        f"{ratio:.1f} times ({theirs:.1f} against {ours:.1f})",
        ratio >= wanted,
    )


def _file_figures(results: Sequence[SetResult], *, refitted: bool) -> Iterator[Figure]:
    how = THRESHOLDS[refitted]
    for file, maker in PAIRS:
        duels = all_duels(results, file, maker, refitted=refitted)
        for same in (True, False):
            field = "with our arithmetic" if same else "of all"
            per_set, single = best_per_set(duels, same=same), best_single(duels, same=same)
            yield _tally(f"{file}, {how}: {maker}, best {field}, per set and head", per_set)
            if single:
                which = f"best single one {field}, {single[0].rival}"
                yield _tally(f"{file}, {how}: {maker}, {which}", single)


def _tally(what: str, duels: Sequence[Duel]) -> Figure:
    count = tally(duels)
    found = f"fewer on {count['fewer']}, equal on {count['equal']}, more on {count['more']}"
    return Figure(what, "fewer flips on all", found, count["fewer"] == len(duels))


def auc_changes(result: SetResult) -> dict[str, float]:
    """|ΔAUC| of native int8 by head; NaN where no anomaly is scored."""
    return {r.head: abs(r.auc_change) for r in result.rows if r.contestant == NATIVE}


def _auc(tables: Sequence[SetResult]) -> Figure:
    changes = {f"{t.name} {head}": c for t in tables for head, c in auc_changes(t).items()}
    above = [f"{name} {change:.4f}" for name, change in changes.items() if change > AUC_LIMIT]
    undefined = [name for name, change in changes.items() if math.isnan(change)]
    found = f"{len(above)} of {len(changes)} above" + (f": {', '.join(above)}" if above else "")
    found += f"; no anomaly has a score: {', '.join(undefined)}" if undefined else ""
    what = "real sets, native int8: |ΔAUC| from fp32"
    return Figure(what, f"≤ {AUC_LIMIT:g}", found, not above and not undefined)


def _verified(results: Sequence[SetResult]) -> Figure:
    verified = [v for result in results for v in result.verified]
    flips = sum(v.good + v.defective for v in verified)
    without = [result.name for result in results if not result.verified]
    found = f"{flips} in {len(verified)} of set, head and point"
    found += f"; too few dies for bands: {', '.join(without)}" if without else ""
    return Figure("verified: verdicts that are not fp32's", "0", found, flips == 0)
