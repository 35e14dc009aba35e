"""Judging a lot: align it, score the dies that may be scored, say what is to be done with each.

The model can only downgrade: a die that failed at the tester stays ``tester_fail`` whatever its
score. Every attempt of a die gets its own row and verdict, those before the last one too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._blocks import dies_per_block
from ._contributions import Contribution, describe_top
from ._errors import SchemaMismatchError, UsageError
from ._lot import Lot
from ._network import OperatingPoint
from ._schema import Schema
from ._scorer import Scorer
from ._verdicts import UNSCORED_SCORE, Disposition, Reason, Verdict

SHIFTED_FACTOR, SHIFTED_SIGMAS = 2.0, 5.0
"""A yield loss beyond both of these times, and deviations from, the nominal one is warned about."""


@dataclass(frozen=True)
class LotOptions:
    """How a lot was judged; see ``Scorer.score_lot``."""

    score_fails: bool = False
    strict: bool = False
    allow_absent: bool = False


@dataclass(frozen=True, eq=False)
class LotResult:
    """What each die of a lot got; arrays have one row per attempt, in the lot's order.

    Attributes:
        scorer: model, engine and operating point.
        lot: aligned to the model's schema, NaN where a test is missing.
        scores: float32 ``(n_dies,)``; the quiet NaN of an unscored die.
        verdicts, reasons: int8 ``(n_dies,)``, values of ``Verdict`` and ``Reason``.
        dispositions: object ``(n_dies,)`` of ``Disposition``.
        n_missing: int32 ``(n_dies,)``, tests of the model without a result.
        n_unknown_groups: scored dies that the pooled scaler stood in for.
        warnings: what does not forbid scoring and must be known.
        options: how the lot was judged.
    """

    scorer: Scorer
    lot: Lot
    scores: NDArray[np.float32]
    verdicts: NDArray[np.int8]
    reasons: NDArray[np.int8]
    dispositions: NDArray[np.object_]
    n_missing: NDArray[np.int32]
    n_unknown_groups: int
    warnings: tuple[str, ...]
    options: LotOptions

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        counts = Counter(str(d) for d in self.dispositions)
        named = ", ".join(f"{counts[str(d)]} {d}" for d in Disposition)
        return f"<LotResult of {len(self)} test attempts: {named}>"

    def _repr_html_(self) -> str:
        from ._notebook import lot_result_html

        return lot_result_html(self)

    @property
    def threshold(self) -> float:
        """A die passes if its score is ≤ this."""
        return self.scorer.threshold

    @property
    def fpr(self) -> float:
        """Nominal yield loss on good dies."""
        return self.scorer.fpr

    def top_tests(self, row: int, k: int = 5) -> tuple[Contribution, ...]:
        """The ``k`` tests that made the score of a die, largest first.

        A die with too few tests for a score has contributions too, and so has a tester fail that
        was not scored; without data, out of range or not finite a die has none.
        """
        one = np.array([row])
        return self.scorer.explain(self.lot.values[one], self.lot.group[one], k)

    def top_texts(self, k: int = 5) -> NDArray[np.object_]:
        """For rejected dies the ``k`` tests that made the score, as text; empty for others."""
        texts = np.full(len(self), "", dtype=object)
        rejected = np.flatnonzero(self.verdicts == Verdict.REJECT)
        group = self.lot.group
        step = dies_per_block(self.lot.values.shape[1])
        for start in range(0, len(rejected), step):
            rows = rejected[start : start + step]
            rankings = self.scorer._rankings(self.lot.values[rows], group[rows], k)
            for row, ranking in zip(rows, rankings, strict=True):
                texts[row] = describe_top(self.scorer.screen, ranking)
        return texts

    def counts(self) -> dict[str, Any]:
        """Dies by verdict, reason and disposition, and the yield loss per lot and site."""
        return tally([self])

    def write(self, path: str | Path) -> None:
        """Write the verdict table, CSV or Parquet by suffix, and its run record beside it."""
        from ._verdict_table import write_verdicts

        write_verdicts(path, [self])


def score_lot(scorer: Scorer, lot: Lot, options: LotOptions) -> LotResult:
    """Judge ``lot``; see ``Scorer.score_lot``.

    Raises:
        SchemaMismatchError: the lot is not what the model was made for.
        UsageError: ``lot`` is a path, an array or a table.
    """
    _require_lot(lot)
    aligned, warnings = align_lot(scorer.schema, lot, options)
    is_fail = lot.dies.tester_pass == 0
    judged = np.flatnonzero(~is_fail | options.score_fails)
    scores = np.full(len(is_fail), UNSCORED_SCORE, dtype=np.float32)
    verdicts = np.full(len(is_fail), Verdict.UNSCORED, dtype=np.int8)
    reasons = np.full(len(is_fail), Reason.TESTER_FAIL, dtype=np.int8)
    result = scorer.score(aligned.values[judged], aligned.group[judged])
    scores[judged], verdicts[judged] = result.scores, result.verdicts
    reasons[judged] = result.reasons
    dispositions = _dispositions(verdicts, is_fail)
    n_missing = np.count_nonzero(np.isnan(aligned.values), axis=1).astype(np.int32)
    warnings = (
        *_warn_of_yield_loss(lot, dispositions, scorer.fpr),
        *_warn_of_model(lot, scorer.operating_point, result.n_unknown_groups),
        *warnings,
    )
    return LotResult(
        scorer, aligned, scores, verdicts, reasons, dispositions, n_missing,
        result.n_unknown_groups, warnings, options,
    )  # fmt: skip


def _require_lot(lot: object) -> None:
    if not isinstance(lot, Lot):
        advice = "; bare arrays go to scorer.score" if isinstance(lot, np.ndarray) else ""
        raise UsageError(
            f"score_lot takes a Lot, found {type(lot).__name__}: "
            f"read it with knowngood.read_lot first{advice}"
        )


def align_lot(model: Schema, lot: Lot, options: LotOptions) -> tuple[Lot, tuple[str, ...]]:
    """The lot with the tests of ``model`` in its order, and what it differs in.

    Raises:
        SchemaMismatchError: it is not what the model was made for.
    """
    if not _is_anonymous(lot.schema) and (not _is_anonymous(model) or _has_all(lot.schema, model)):
        alignment = model.align(
            lot.schema, strict=options.strict, allow_absent=options.allow_absent
        )
        return Lot(alignment.apply(lot.values), model, lot.dies, lot.facts), alignment.warnings
    if lot.schema.n_tests != model.n_tests:
        raise SchemaMismatchError(
            f"the data have {lot.schema.n_tests} tests, the model has {model.n_tests}; one of them "
            "carries no test names, so the columns must be the same, in the same order"
        )
    aligned = Lot(lot.values, model, lot.dies, lot.facts)
    same_tests = Schema(model.tests, lot.schema.purpose)
    warnings = model.align(same_tests, strict=options.strict).warnings
    if _is_anonymous(model) and _is_anonymous(lot.schema):
        return aligned, warnings
    unnamed = "model" if _is_anonymous(model) else "data"
    warning = f"the {unnamed} carry no test names: columns are taken in their order"
    if options.strict:
        raise SchemaMismatchError(f"{warning}, which strict scoring refuses")
    return aligned, (warning, *warnings)


def _has_all(data: Schema, model: Schema) -> bool:
    """Whether each test of the model has its own column in the data, in whatever order."""
    known = {test.key for test in data.tests}
    return all(test.key in known for test in model.tests)


def _is_anonymous(schema: Schema) -> bool:
    return schema.tests == Schema.anonymous(schema.n_tests).tests


def _dispositions(verdicts: NDArray[np.int8], is_fail: NDArray[np.bool_]) -> NDArray[np.object_]:
    by_verdict = (Disposition.HOLD, Disposition.KEEP, Disposition.OUTLIER)  # as Verdict counts
    meaning = np.array([*by_verdict, Disposition.TESTER_FAIL], dtype=object)
    dispositions: NDArray[np.object_] = meaning[np.where(is_fail, len(by_verdict), verdicts)]
    return dispositions


def _name(lot: Lot) -> str:
    """Which of several lots a warning is about: its file, else its lot id."""
    return Path(lot.facts.source).name or next(filter(None, lot.dies.lot), "the lot")


def _warn_of_model(lot: Lot, point: OperatingPoint, n_unknown_groups: int) -> tuple[str, ...]:
    warnings = []
    if not point.supported:
        warnings.append(
            f"the threshold at a yield loss of {point.fpr:.2%} is extrapolated: "
            f"{point.n_dies} good dies do not support it"
        )
    if n_unknown_groups:
        warnings.append(
            f"{_name(lot)}: {n_unknown_groups} dies come from a head and site that the model was "
            "not trained for: the pooled scaler stood in"
        )
    return tuple(warnings)


def _warn_of_yield_loss(
    lot: Lot, dispositions: NDArray[np.object_], nominal: float
) -> tuple[str, ...]:
    n_outliers = int(np.count_nonzero(dispositions == Disposition.OUTLIER))
    n_judged = n_outliers + int(np.count_nonzero(dispositions == Disposition.KEEP))
    expected = nominal * n_judged
    limit = expected + SHIFTED_SIGMAS * math.sqrt(expected)
    if n_outliers <= max(limit, SHIFTED_FACTOR * expected):
        return ()
    return (
        f"{_name(lot)}: {n_outliers} of {n_judged} dies are outliers "
        f"({n_outliers / n_judged:.2%}) where the operating point is {nominal:.2%}: the lot, the "
        "tester or the program has shifted since the model was trained, or the lot is bad",
    )


def tally(results: Sequence[LotResult]) -> dict[str, Any]:
    """Counts over several lots, ready for JSON; yield loss is outliers / (outliers + kept)."""
    verdicts = Counter(Verdict(v).name for r in results for v in r.verdicts)
    reasons = Counter(Reason(v).text for r in results for v in r.reasons if v)
    dispositions = Counter(str(d) for r in results for d in r.dispositions)
    return {
        "dies": sum(len(r) for r in results),
        "verdicts": {v.name: verdicts[v.name] for v in Verdict},
        "reasons": dict(sorted(reasons.items())),
        "dispositions": {str(d): dispositions[str(d)] for d in Disposition},
        "unknown_groups": sum(r.n_unknown_groups for r in results),
        "yield_loss": _yield_loss(dispositions),
        "by_lot_site": list(_by_lot_site(results)),
    }


def _yield_loss(dispositions: Counter[str]) -> float | None:
    n_outliers = dispositions[Disposition.OUTLIER]
    n_judged = n_outliers + dispositions[Disposition.KEEP]
    return n_outliers / n_judged if n_judged else None


def _by_lot_site(results: Sequence[LotResult]) -> Iterator[dict[str, Any]]:
    counters: dict[tuple[str, int, int], Counter[str]] = {}
    for result in results:
        dies = result.lot.dies
        places = zip(dies.lot, dies.head.tolist(), dies.site.tolist(), strict=True)
        for place, disposition in zip(places, result.dispositions, strict=True):
            counters.setdefault(place, Counter())[str(disposition)] += 1
    for (lot, head, site), counter in sorted(counters.items()):
        n_outliers, n_kept = counter[Disposition.OUTLIER], counter[Disposition.KEEP]
        yield {
            "lot": lot,
            "head": head,
            "site": site,
            "judged": n_outliers + n_kept,
            "outliers": n_outliers,
            "yield_loss": _yield_loss(counter),
        }
