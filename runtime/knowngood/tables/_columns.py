"""What the columns of a table mean: a description of the die, of the lot, or a test.

A column named like a column of the verdict table (``lot``, ``x``, ``hard_bin`` …) or like its
STDF field (``X_COORD``, ``SITE_NUM``, ``HBIN`` …) describes the die; upper or lower case, blanks
and underscores make no difference. A column named exactly ``part_type``, ``temperature``,
``flow``, ``program`` or ``revision`` says what the lot was tested as. Every other column is a
test. A column with units, ``x [mm]``, is always a test.

The header of a test is ``1020 VDD_IDDQ@PIN3 [uA]``: number, name, pin and units, of which only the
name is needed. A test without a number has the number 0, so that its key (number, name, pin) does
not depend on the order of the columns. The blanks matter: ``V[1]`` has no units, ``A @ 5 V`` has
no pin. A name that itself holds an @ is followed by another: ``A@5V@``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from .._errors import InputError
from .._schema import Purpose, Test

PURPOSE_FIELDS = frozenset(f.name for f in fields(Purpose))

_SPELLINGS = {
    "lot": ("lot", "lotid"),
    "wafer": ("wafer", "waferid", "wafernum", "wafernumber"),
    "x": ("x", "xcoord", "xcoordinate", "diex", "col", "column"),
    "y": ("y", "ycoord", "ycoordinate", "diey", "row"),
    "head": ("head", "headnum", "headnumber"),
    "site": ("site", "sitenum", "sitenumber"),
    "part_id": ("partid", "dieid"),
    "hard_bin": ("hardbin", "hardbinnum", "hbin", "hwbin"),
    "soft_bin": ("softbin", "softbinnum", "sbin", "swbin"),
    "tester_pass": ("testerpass", "passfail", "passed", "pass"),
}
_FIELD_OF_SPELLING = {s: field for field, spellings in _SPELLINGS.items() for s in spellings}
DIE_FIELDS = tuple(_SPELLINGS)
"""The columns of ``Dies`` that a table can give."""

_VERDICT_ONLY = {"verdict", "disposition", "top_tests"}
_UNITS = re.compile(r"(?P<rest>.*\S)\s+\[(?P<units>[^\[\]]*)\]", re.DOTALL)
_NUMBER = re.compile(r"(?P<number>\d{1,10})(?:\s+(?P<rest>.*))?", re.DOTALL | re.ASCII)
_PIN = re.compile(r"(?P<rest>.*\S)@(?P<pin>|\S[^@]*)", re.DOTALL)
_LARGEST_TEST_NUMBER = 2**32 - 1


def die_field(header: str) -> str | None:
    """The column of ``Dies`` that a header names, or None."""
    return _FIELD_OF_SPELLING.get(re.sub(r"[\s_]+", "", header).casefold())


def describes(header: str) -> bool:
    """Whether a column describes dies or the lot, and so is not a test."""
    return die_field(header) is not None or header in PURPOSE_FIELDS


def parse_test(header: str) -> Test:
    """The test that a header such as ``1020 VDD_IDDQ@PIN3 [uA]`` names."""
    name, number, pin, units = header.strip(), 0, "", ""
    if parts := _UNITS.fullmatch(name):
        name, units = parts["rest"], parts["units"].strip()
    if (parts := _NUMBER.fullmatch(name)) and int(parts["number"]) <= _LARGEST_TEST_NUMBER:
        name, number = parts["rest"] or "", int(parts["number"])
    if parts := _PIN.fullmatch(name):
        name, pin = parts["rest"], parts["pin"]
    return Test(number, name, pin, units)


def check_headers(source: object, headers: Sequence[str]) -> None:
    """Refuse headers that are empty, repeated, or those of a verdict table.

    Raises:
        InputError: naming the file and the columns.
    """
    if set(headers) >= _VERDICT_ONLY:
        raise InputError(
            f"{source} is a table of verdicts, not of test results; "
            "make a report of it with: knowngood report"
        )
    unnamed = [i for i, header in enumerate(headers, 1) if not header]
    if unnamed:
        raise InputError(f"{source}: column {unnamed[0]} has no name in the header; give it one")
    refuse_repeated(source, "column name", headers)
    of_field = [field for field in map(die_field, headers) if field is not None]
    refuse_repeated(source, "description of the die", of_field)


def refuse_repeated(source: object, what: str, names: Sequence[object]) -> None:
    """Raise ``InputError`` if one of ``names`` comes more than once."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(name) for name in repeated[:5])
        raise InputError(
            f"{source}: {what} {shown} comes more than once; rename or remove the others"
        )
