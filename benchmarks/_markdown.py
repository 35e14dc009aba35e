"""Pieces of Markdown that every section of a record is made of."""

from __future__ import annotations

from collections.abc import Sequence


def answers(skipped: Sequence[str], failures: Sequence[str]) -> str:
    """Whether every answer was as expected, in a sentence or two."""
    lines = [f"Left out: {reason}." for reason in skipped]
    if failures:
        return " ".join([*lines, "**Wrong answers:** " + "; ".join(failures) + "."])
    return " ".join([*lines, "Every answer is within what its form allows."])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    rule = ["---", *("--:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))
