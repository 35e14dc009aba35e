"""Conditions that say which dies are good."""

from __future__ import annotations

import operator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._errors import InputError, UsageError
from knowngood._read_lot import read_lot
from knowngood.tables._good_if import apply_condition, parse_condition

_OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@pytest.mark.parametrize(
    ("text", "column", "compare", "values"),
    [
        ('result == "pass"', "result", "==", ("pass",)),
        ("result=='pass'", "result", "==", ("pass",)),
        ("result != fail", "result", "!=", ("fail",)),
        ("hard_bin == 1", "hard_bin", "==", (1.0,)),
        ("y <= -1e-3", "y", "<=", (-0.001,)),
        ("Machine failure == 0", "Machine failure", "==", (0.0,)),
        ("soft_bin in (1, 2,40)", "soft_bin", "in", (1.0, 2.0, 40.0)),
        ("grade in ('a, b', c)", "grade", "in", ("a, b", "c")),
        ("time in hours > 3", "time in hours", ">", (3.0,)),
        ('"a >= b" >= 3', "a >= b", ">=", (3.0,)),
        ('bin == "1"', "bin", "==", ("1",)),
        ("part == 1_0", "part", "==", ("1_0",)),
    ],
)
def test_conditions_are_read(
    text: str, column: str, compare: str, values: tuple[object, ...]
) -> None:
    condition = parse_condition(text)
    assert (condition.column, condition.operator, condition.values) == (column, compare, values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "result",
        "result = pass",
        "== 1",
        "a ==",
        "a == 1 == 2",
        "a === 1",
        "a < pass",
        "a >= 'x'",
        "a in 1, 2",
        "a in ()",
        "a in (1, x)",
        "a == 1, 2",
        "a == nan",
        "a == __import__('os').system('false')",
        "a == 'x' or b == 1",
    ],
)
def test_anything_else_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read the condition"):
        parse_condition(text)


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_a_usage_error(text: str) -> None:
    try:
        condition = parse_condition(text)
    except UsageError:
        return
    assert condition.values


@given(
    st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=1, max_size=20),
    st.sampled_from(sorted(_OPERATORS)),
    st.integers(-3, 3),
)
def test_numbers_compare_as_in_python(cells: list[int | None], compare: str, value: int) -> None:
    expected = [-1 if c is None else int(_OPERATORS[compare](c, value)) for c in cells]
    condition = parse_condition(f"c {compare} {value}")
    numbers = np.array([np.nan if c is None else c for c in cells])
    texts = np.array(["" if c is None else str(c) for c in cells], dtype=object)
    for column in (numbers, texts):
        assert apply_condition(condition, {"c": column}, "f", str).tolist() == expected


def test_one_of_several_values_is_enough() -> None:
    condition = parse_condition("c in (1, 2.5, -3)")
    for cells in (np.array([1, 2, -3], np.int8), np.array(["1", "2", "-3"], object)):
        assert apply_condition(condition, {"c": cells}, "f", str).tolist() == [1, 0, 1]
    texts = np.array(["a", "", "c"], dtype=object)
    condition = parse_condition("c in (a, b)")
    assert apply_condition(condition, {"c": texts}, "f", str).tolist() == [1, -1, 0]


def test_conditions_apply_to_columns_by_header_or_by_field(tmp_path: Path) -> None:
    path = tmp_path / "lot.csv"
    path.write_text("HBIN,result,fail code,V\n1,pass,0,1.5\n2,fail,3,1.5\n,,,1.5\n")
    for good_if in ("HBIN == 1", "hard_bin in (1, 7)", 'result == "pass"', "fail code < 1"):
        assert read_lot(path, good_if=good_if).dies.tester_pass.tolist() == [1, 0, -1], good_if
    names = [t.name for t in read_lot(path, good_if="fail code == 0").schema.tests]
    assert names == ["V"]
    assert [t.name for t in read_lot(path).schema.tests] == ["fail code", "V"]


@pytest.mark.parametrize(
    ("good_if", "message"),
    [
        ("grade == 1", "asks for column 'grade'; the columns are: result, V, .*hard_bin"),
        ("result == 1", "line 2, column 'result': expected a number or nothing, found 'pass'"),
        ("hard_bin == pass", "column 'hard_bin' holds numbers"),
    ],
)
def test_conditions_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, good_if: str, message: str
) -> None:
    path = tmp_path / "lot.csv"
    path.write_text("result,V\npass,1.5\n")
    with pytest.raises(InputError, match=message):
        read_lot(path, good_if=good_if)
