"""The record of a run as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._markdown import markdown_table
from ._duels import PAIRS, Duel, all_duels, best_per_set
from ._figures import auc_changes, figures
from ._measure import Row
from ._run import SetResult


def int8_page(heading: str, results: Sequence[SetResult]) -> str:
    """Everything of a run; ``heading`` says when, where and with what."""
    parts = [heading, _answers(results), "## What is held, and what was found", _figures(results)]
    parts += ["## Files, set by set", _HOW_FILES, *_files(results)]
    tables = [result for result in results if result.kind == "table"]
    if tables:
        parts += ["## Real sets", _real(tables)]
    parts += ["## Everybody on the generators", _HOW_ALL, *_generators(results)]
    parts += ["## Refused", _refused(results)]
    return "\n\n".join(parts) + "\n"


_HOW_FILES = (
    "Flips per 10,000 good dies and per 10,000 defective ones, added, mean over the operating "
    "points: ours, then the rival's setting with the fewest, chosen anew for each set and head. "
    "*Same* are its settings with our arithmetic, *any* all of its settings: those that multiply "
    "in float or keep a scale for every 16 weights are among them."
)
_HOW_ALL = (
    "Flips are good / defective per 10,000, with fp32's threshold at each operating point, and "
    "with each form's own, mean over the points; bias, spread and worst are of the relative error "
    "of a good die's score."
)


def _answers(results: Sequence[SetResult]) -> str:
    failures = [f"{result.name}: {failure}" for result in results for failure in result.failures]
    if failures:
        return "**Wrong answers:** " + "; ".join(failures) + "."
    return (
        "Every fp32 file scores as native fp32 does, and every file of ours as it is judged here."
    )


def _figures(results: Sequence[SetResult]) -> str:
    rows = [[f.what, f.wanted, f.found, "yes" if f.is_met else "**no**"] for f in figures(results)]
    return markdown_table(["", "wanted", "found", "met"], rows)


def _files(results: Sequence[SetResult]) -> Iterator[str]:
    fields = [(refitted, same) for refitted in (False, True) for same in (True, False)]
    header = ["same, fp32's threshold", "any, fp32's threshold", "same, own", "any, own"]
    for file, maker in PAIRS:
        columns = [
            {
                (duel.set_name, duel.head): _cell(duel)
                for duel in best_per_set(
                    all_duels(results, file, maker, refitted=refitted), same=same
                )
            }
            for refitted, same in fields
        ]
        rows = [
            [result.name, head, *(cells.get((result.name, head), "–") for cells in columns)]
            for result in results
            for head in result.auc
        ]
        yield f"### {file} against {maker}"
        yield markdown_table(["set", "head", *header], rows)


def _cell(duel: Duel) -> str:
    mark = {"fewer": "**{}**", "equal": "{}", "more": "_{}_"}[duel.outcome]
    return f"{mark.format(f'{duel.flips:.1f}')} / {duel.rival_flips:.1f} {duel.rival}"


def _real(tables: Sequence[SetResult]) -> str:
    rows = []
    for table in tables:
        for head, change in auc_changes(table).items():
            rows.append(
                [
                    table.name, " · ".join(map(str, table.widths)),
                    f"{table.n_good:,} / {table.n_defective:,}", head,
                    f"{table.auc[head]:.4f}", f"{change:.5f}", _verified(table, head),
                ]
            )  # fmt: skip
    header = ["set", "network", "good / anomalies", "head", "AUC fp32", "|ΔAUC| int8"]
    return markdown_table([*header, "verified: flips, good scores changed"], rows)


def _verified(result: SetResult, head: str) -> str:
    if not result.verified:
        return f"{result.n_bands} dies are too few for bands"
    some = [v for v in result.verified if v.head == head]
    flips = sum(v.good + v.defective for v in some)
    return f"{flips}, " + " ".join(f"{v.rescored_good:.2%}" for v in some)


def _generators(results: Sequence[SetResult]) -> Iterator[str]:
    for result in results:
        if result.kind != "generator":
            continue
        yield (
            f"### {result.name}\n\n{result.n_good:,} good dies, {result.n_defective:,} defective; "
            f"thresholds from {result.n_calibration:,}, int8 made with {result.n_rounding:,} dies."
        )
        for head in result.auc:
            rows = [row for row in result.rows if row.head == head]
            header = [
                f"{head}, AUC {result.auc[head]:.4f}", "arithmetic", "kB",
                *(f"{p.fpr:.1%}" for p in rows[0].points),
                "own, mean", "bias", "spread", "worst", "Spearman", "ΔAUC",
            ]  # fmt: skip
            yield markdown_table(header, [_row(row) for row in rows])
        verified = [
            [v.head, f"{v.fpr:.1%}", f"{v.good} / {v.defective}", f"{v.rescored_good:.2%}"]
            for v in result.verified
        ]
        yield markdown_table(["verified", "point", "flips", "good dies' scores changed"], verified)


def _row(row: Row) -> list[str]:
    unchanged = [_per_ten_thousand(row, p.good, p.defective) for p in row.points]
    n = len(row.points)
    refitted = _per_ten_thousand(
        row,
        sum(p.good_refitted for p in row.points) / n,
        sum(p.defective_refitted for p in row.points) / n,
    )
    return [
        row.contestant, row.arithmetic, f"{row.n_bytes / 1000:.0f}", *unchanged, refitted,
        f"{row.bias:+.2%}", f"{row.spread:.2%}", f"{row.worst:.1%}", f"{row.spearman:.6f}",
        f"{row.auc_change:+.1e}",
    ]  # fmt: skip


def _per_ten_thousand(row: Row, good: float, defective: float) -> str:
    return f"{1e4 * good / row.n_good:.1f} / {1e4 * defective / row.n_defective:.1f}"


def _refused(results: Sequence[SetResult]) -> str:
    reasons: dict[str, list[str]] = {}
    for result in results:
        for refusal in result.refused:
            reasons.setdefault(refusal, []).append(result.name)
    lines = [f"- {why} ({', '.join(names)})" for why, names in reasons.items()]
    return "\n".join(lines) or "Nothing."
