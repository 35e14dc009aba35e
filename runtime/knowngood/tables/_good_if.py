"""``--good-if``: which dies of a table the tester called good, as COLUMN OPERATOR VALUE.

Examples: ``result == "pass"``, ``hard_bin == 1``, ``Machine failure == 0``,
``soft_bin in (1, 2, 40)``. Texts and numbers may be compared with ``==``, ``!=`` and ``in``,
numbers also with ``<``, ``<=``, ``>`` and ``>=``. A quoted value is a text, ``"1"``, and so is any
value that is not a number. A column whose name holds an operator goes in quotes.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError, UsageError
from ._cells import Place, as_numbers

_CONDITION = re.compile(
    r"""\s*(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|(?P<bare>[^=!<>"']+?))\s*
    (?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>[^=!<>].*?)
    |\bin\s*\((?P<values>.*)\))\s*""",
    re.VERBOSE,
)
_VALUE = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^"',=!<>]+?))\s*(?:,|$)""")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """``values`` has one element unless the operator is ``in``; all texts or all numbers."""

    text: str
    column: str
    operator: str
    values: tuple[str, ...] | tuple[float, ...]

    @property
    def is_numeric(self) -> bool:
        """Whether numbers are compared, not texts."""
        return isinstance(self.values[0], float)


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        UsageError: showing what was given and how a condition looks.
    """
    parts = _CONDITION.fullmatch(text)
    if parts is None:
        raise _not_a_condition(text, "it is not COLUMN OPERATOR VALUE")
    column = parts["double"] or parts["single"] or parts["bare"]
    given = parts["values"] if parts["operator"] is None else parts["value"]
    values = _parse_values(text, given)
    if parts["operator"] is not None and len(values) != 1:
        raise _not_a_condition(text, "one value is compared; use in (…) for several")
    condition = Condition(text, column.strip(), parts["operator"] or "in", values)
    if condition.operator in ("<", "<=", ">", ">=") and not condition.is_numeric:
        raise _not_a_condition(text, f"{condition.operator} compares numbers, not texts")
    return condition


def _parse_values(text: str, given: str) -> tuple[str, ...] | tuple[float, ...]:
    found: list[str | float] = []
    position = 0
    while position < len(given):
        match = _VALUE.match(given, position)
        if match is None:
            raise _not_a_condition(text, f"{given[position:]!r} is not a value")
        double, single, bare = match.groups()
        quoted = double if double is not None else single
        found.append(_number_or_text(bare.strip()) if quoted is None else quoted)
        position = match.end()
    numbers = tuple(v for v in found if isinstance(v, float))
    if any(math.isnan(v) for v in numbers):
        raise _not_a_condition(text, "a missing cell is never good, so NaN cannot be compared")
    texts = tuple(v for v in found if isinstance(v, str))
    if bool(numbers) == bool(texts):
        raise _not_a_condition(text, "the values must be all numbers or all texts")
    return numbers or texts


def _number_or_text(bare: str) -> str | float:
    try:
        return bare if "_" in bare else float(bare)
    except ValueError:
        return bare


def _not_a_condition(text: str, why: str) -> UsageError:
    return UsageError(
        f"cannot read the condition {text!r}: {why}. "
        'Write it like: result == "pass", hard_bin == 1, soft_bin in (1, 2)'
    )


def apply_condition(
    condition: Condition,
    columns: Mapping[str, NDArray[Any]],
    source: object,
    place: Place,
    others: Iterable[str] = (),
) -> NDArray[np.int8]:
    """What the condition says of each die.

    Args:
        condition: the condition.
        columns: by name, texts (object, empty where missing) or numbers (NaN where missing),
            each ``(n_dies,)``.
        source: the file, for messages.
        place: names a row in messages.
        others: further columns of the file, to be named where the condition asks in vain.

    Returns:
        int8 ``(n_dies,)``: 1 where the condition holds, 0 where not, −1 where the cell is missing.

    Raises:
        InputError: no such column, or a text where a number is compared.
    """
    if condition.column not in columns:
        raise InputError(
            f"{source}: the condition {condition.text!r} asks for column {condition.column!r}; "
            f"the columns are: {', '.join(dict.fromkeys([*others, *columns]))}"
        )
    cells = columns[condition.column]
    if condition.is_numeric:
        cells = as_numbers(cells, source, condition.column, place)
        missing = np.isnan(cells)
    elif cells.dtype == object:
        missing = cells == ""
    else:
        raise InputError(
            f"{source}: column {condition.column!r} holds numbers, and the condition "
            f"{condition.text!r} compares it with a text; compare it with a number"
        )
    return np.where(missing, -1, _holds(condition, cells)).astype(np.int8)


def _holds(condition: Condition, cells: NDArray[Any]) -> NDArray[np.bool_]:
    if condition.operator == "in":
        return np.isin(
            cells, np.array(condition.values, dtype=object if cells.dtype == object else float)
        )
    return np.asarray(_COMPARE[condition.operator](cells, condition.values[0]), dtype=np.bool_)
