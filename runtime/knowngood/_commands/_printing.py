"""Printing what a file says of itself: its words may reach the terminal, its control codes not."""

from __future__ import annotations

from collections.abc import Iterable


def print_lines(lines: Iterable[str]) -> None:
    """Print lines with whatever is not printable in them escaped."""
    print("\n".join(map(printable, lines)))


def printable(text: str) -> str:
    """``text`` with control characters, line ends and directional marks as ``\\x1b``, ``\\n`` …"""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
