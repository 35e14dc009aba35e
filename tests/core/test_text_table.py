from __future__ import annotations

from knowngood._text_table import text_table


def test_columns_are_aligned_and_lines_end_without_blanks() -> None:
    table = text_table(("name", "µs"), [("a", "1.25"), ("longer", "10")])
    assert table == "name      µs\na       1.25\nlonger    10"
