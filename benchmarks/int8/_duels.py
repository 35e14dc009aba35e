"""Our files beside every setting of the rival that makes such files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from . import _edge_settings, _ort_settings
from ._run import SetResult

Outcome = Literal["fewer", "equal", "more"]
PAIRS = (
    ("knowngood onnx int8", _ort_settings.MAKER),
    ("knowngood tflite int8", _edge_settings.MAKER),
    ("knowngood tflite int16x8", _edge_settings.MAKER),
)
"""Our file, and who else makes such files."""


@dataclass(frozen=True)
class Duel:
    """A file of ours against one setting of the rival, on one set with one head.

    Attributes:
        refitted: each with thresholds of its own; else fp32's for both.
        is_same: whether the setting makes the same integers as our file.
        flips, rival_flips: see `Row.flips`.
    """

    set_name: str
    head: str
    file: str
    refitted: bool
    rival: str
    is_same: bool
    flips: float
    rival_flips: float

    @property
    def outcome(self) -> Outcome:
        """Who has fewer flips, seen from ours."""
        if self.flips == self.rival_flips:
            return "equal"
        return "fewer" if self.flips < self.rival_flips else "more"


def all_duels(results: Iterable[SetResult], file: str, maker: str, *, refitted: bool) -> list[Duel]:
    """``file`` against each setting of ``maker`` on every set with every head."""
    return [
        Duel(
            result.name, head, file, refitted,
            row.contestant.removeprefix(f"{maker} "), row.arithmetic == own.arithmetic,
            own.flips(refitted=refitted), row.flips(refitted=refitted),
        )
        for result in results
        for head in result.auc
        for own in result.rows
        if own.head == head and own.contestant == file
        for row in result.rows
        if row.head == head and row.maker == maker
    ]  # fmt: skip


def best_per_set(duels: Sequence[Duel], *, same: bool) -> list[Duel]:
    """On each set and head the setting with the fewest flips, picked with hindsight; of those with
    our arithmetic if ``same``, else of all."""
    best: dict[tuple[str, str], Duel] = {}
    for duel in duels:
        key = (duel.set_name, duel.head)
        if same and not duel.is_same:
            continue
        if key not in best or duel.rival_flips < best[key].rival_flips:
            best[key] = duel
    return list(best.values())


def best_single(duels: Sequence[Duel], *, same: bool) -> list[Duel]:
    """The one setting that, over all sets and heads, does best against our file."""
    by_setting: dict[str, list[Duel]] = {}
    for duel in duels:
        if duel.is_same or not same:
            by_setting.setdefault(duel.rival, []).append(duel)
    most = max(map(len, by_setting.values()), default=0)
    everywhere = [some for some in by_setting.values() if len(some) == most]
    return max(everywhere, key=_lead_of_rival, default=[])


def _lead_of_rival(duels: Sequence[Duel]) -> int:
    count = tally(duels)
    return count["more"] - count["fewer"]


def tally(duels: Iterable[Duel]) -> dict[Outcome, int]:
    """How many duels end how."""
    count: dict[Outcome, int] = {"fewer": 0, "equal": 0, "more": 0}
    for duel in duels:
        count[duel.outcome] += 1
    return count
