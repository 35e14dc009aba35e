"""Every verdict of "verified" beside that of fp32, counted over fresh lots."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowngood import Scorer, Verdict
from knowngood_quantize.bands import BandEvidence

from ._cases import VerifiedCase
from ._dies import FreshSet, fresh_lots
from ._models import HeadScorers, load_or_train, with_each_head

LOTS_BETWEEN_WORDS = 10


@dataclass(frozen=True)
class Count:
    """Dies of one kind at one operating point.

    Attributes:
        n_dies: scored.
        n_rejected: by fp32.
        n_flips: verdicts of "verified" that are not those of fp32.
        n_int8_flips: verdicts that the int8 score would give at the same threshold and that are
            not those of fp32: what the band is there to catch.
        n_rescored: dies whose score is not the bits of int8's: those scored again, but for any
            whose fp32 score is the same.
    """

    head: str
    fpr: float
    kind: str
    n_dies: int = 0
    n_rejected: int = 0
    n_flips: int = 0
    n_int8_flips: int = 0
    n_rescored: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.head, self.fpr, self.kind,
            self.n_dies + other.n_dies,
            self.n_rejected + other.n_rejected,
            self.n_flips + other.n_flips,
            self.n_int8_flips + other.n_int8_flips,
            self.n_rescored + other.n_rescored,
        )  # fmt: skip

    @property
    def rescored(self) -> float:
        """Share of the dies whose score changed, see ``n_rescored``."""
        return self.n_rescored / max(1, self.n_dies)


@dataclass(frozen=True)
class VerifiedResult:
    """What came out of a case.

    Attributes:
        n_lots: fresh lots that dies were drawn from.
        evidence: of the bands, by head.
    """

    case: VerifiedCase
    n_lots: int
    counts: tuple[Count, ...]
    evidence: dict[str, BandEvidence]
    seconds: float

    @property
    def failures(self) -> tuple[str, ...]:
        """Verdicts that differ, in words."""
        return tuple(
            f"{c.head} at {c.fpr:.2%}, {c.kind}: {c.n_flips} verdicts of {c.n_dies:,} differ"
            for c in self.counts
            if c.n_flips
        )


def run_verified_case(
    case: VerifiedCase, model: Path, say: Callable[[str], None]
) -> VerifiedResult:
    """Run a case, keeping the trained model at ``model``; ``say`` is told how far it is."""
    started = time.perf_counter()
    say(f"{case.name}: training, calibrating bands")
    heads = with_each_head(load_or_train(case, model), case)
    for scorers in heads:
        say(f"{case.name}: {scorers.head} rescores, it expects, {_expected(scorers)}")
    totals: dict[tuple[str, float, str], Count] = {}
    n_lots = 0
    for sets in fresh_lots(case):
        for count in (c for dies in sets for scorers in heads for c in count_flips(scorers, dies)):
            key = (count.head, count.fpr, count.kind)
            totals[key] = totals[key] + count if key in totals else count
        n_lots += 1
        if n_lots % LOTS_BETWEEN_WORDS == 0:
            flips = sum(count.n_flips for count in totals.values())
            say(f"{case.name}: {n_lots} lots, {flips} flips")
    evidence: dict[str, BandEvidence] = {s.head: s.evidence for s in heads}
    elapsed = time.perf_counter() - started
    return VerifiedResult(case, n_lots, tuple(totals.values()), evidence, elapsed)


def _expected(scorers: HeadScorers) -> str:
    points = scorers.evidence.points
    return ", ".join(f"{p.expected_rescoring:.2%} at {p.fpr:.2%}" for p in points)


def count_flips(scorers: HeadScorers, dies: FreshSet) -> list[Count]:
    """The counts of some dies at each operating point."""
    fp32 = scorers.fp32.score(dies.values, dies.group).scores
    int8 = scorers.int8.score(dies.values, dies.group).scores
    return [_count(scorers.head, scorer, dies, fp32, int8) for scorer in scorers.verified]


def _count(
    head: str,
    scorer: Scorer,
    dies: FreshSet,
    fp32: NDArray[np.float32],
    int8: NDArray[np.float32],
) -> Count:
    result = scorer.score(dies.values, dies.group)
    expected = _verdicts(fp32, scorer.threshold)
    by_int8 = _verdicts(int8, scorer.threshold)
    is_rescored = result.scores.view(np.uint32) != int8.view(np.uint32)
    return Count(
        head, scorer.fpr, dies.kind,
        n_dies=len(fp32),
        n_rejected=int(np.count_nonzero(expected == Verdict.REJECT)),
        n_flips=int(np.count_nonzero(result.verdicts != expected)),
        n_int8_flips=int(np.count_nonzero(by_int8 != expected)),
        n_rescored=int(np.count_nonzero(is_rescored)),
    )  # fmt: skip


def _verdicts(scores: NDArray[np.float32], threshold: float) -> NDArray[np.int8]:
    judged = np.where(scores <= np.float32(threshold), Verdict.PASS, Verdict.REJECT)
    return np.where(np.isnan(scores), Verdict.UNSCORED, judged).astype(np.int8)
