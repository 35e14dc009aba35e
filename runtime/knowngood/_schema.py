"""The schema: which tests, in which order, and what the model is for.

A test is known by (number, name, pin); a number alone is not a key. Data whose tests carry names
are aligned to a model by that key, and refused where a verdict would be about something else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import SchemaMismatchError

TestKey = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Test:
    """One parametric test; ``low`` and ``high`` are its limits in ``units``, None if absent."""

    __test__ = False  # not a test case, whatever pytest thinks of its name

    number: int
    name: str
    pin: str = ""
    units: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def key(self) -> TestKey:
        """What identifies the test: number, name and pin."""
        return self.number, self.name, self.pin

    @property
    def label(self) -> str:
        """How people see the test: ``1020 VDD_IDDQ``, with ``@pin`` for a multi-pin result."""
        return f"{self.number} {self.name}" + (f"@{self.pin}" if self.pin else "")


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a model was made for, or a lot was tested as; empty fields are unknown."""

    part_type: str = ""
    temperature: str = ""
    flow: str = ""
    program: str = ""
    revision: str = ""


REFUSED_FIELDS = ("part_type", "temperature", "flow")
WARNED_FIELDS = ("program", "revision")
_LIMIT_DIGITS = (6, 9)
"""Of limits in messages: the second where the first shows two different ones alike."""


@dataclass(frozen=True)
class Alignment:
    """How the columns of data map to those of a model.

    Attributes:
        columns: int64 ``(n_tests,)``, the data's column for each test of the model, −1 if absent.
        warnings: differences that do not forbid scoring; they go into the verdicts' record.
    """

    columns: NDArray[np.int64]
    warnings: tuple[str, ...]

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reorder ``values`` (n_dies, any width) to the model's tests; absent ones become NaN."""
        aligned = np.full((len(values), len(self.columns)), np.nan, dtype=np.float32)
        found = self.columns >= 0
        aligned[:, found] = values[:, self.columns[found]]
        return aligned


@dataclass(frozen=True)
class Schema:
    """The ordered tests of a model or a lot, and what they were measured on."""

    tests: tuple[Test, ...]
    purpose: Purpose = Purpose()

    @classmethod
    def anonymous(cls, n_tests: int) -> Schema:
        """Tests ``0 test_0`` to ``n−1`` for bare arrays, which carry no names."""
        return cls(tuple(Test(i, f"test_{i}") for i in range(n_tests)))

    @property
    def n_tests(self) -> int:
        """How many tests there are: the width of a matrix of values."""
        return len(self.tests)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of tests and purpose, as 64 hexadecimal digits."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def select(self, columns: Sequence[int] | NDArray[Any]) -> Schema:
        """The schema of some of the columns, in the order given."""
        return Schema(tuple(self.tests[int(i)] for i in columns), self.purpose)

    def __repr__(self) -> str:
        known = [repr(value) for value in asdict(self.purpose).values() if value]
        return f"<Schema of {self.n_tests} tests, {', '.join(known) or 'purpose not known'}>"

    def _repr_html_(self) -> str:
        from ._notebook import schema_html

        return schema_html(self)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary that ``from_json`` reads back equal."""
        return {"purpose": asdict(self.purpose), "tests": [asdict(t) for t in self.tests]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        """The schema written by ``to_json``; unknown fields are an error."""
        return cls(tuple(Test(**t) for t in data["tests"]), Purpose(**data["purpose"]))

    def align(self, data: Schema, *, strict: bool = False, allow_absent: bool = False) -> Alignment:
        """Map the columns of ``data`` to this schema's tests.

        Tests that only the data have are ignored. Absent tests, other units, and another part
        type, temperature or flow are refused; other limits, program or revision warned about.

        Args:
            data: schema of the lot to be scored.
            strict: refuse what would be warned about.
            allow_absent: let tests the data lack count as missing on every die.

        Raises:
            SchemaMismatchError: naming each test or field that differs.
        """
        column_of = {test.key: i for i, test in enumerate(data.tests)}
        columns = np.array([column_of.get(t.key, -1) for t in self.tests], dtype=np.int64)
        refused = _differing_fields(self.purpose, data.purpose, REFUSED_FIELDS)
        warnings = _differing_fields(self.purpose, data.purpose, WARNED_FIELDS)
        absent = [t for t, c in zip(self.tests, columns, strict=True) if c < 0]
        (warnings if allow_absent else refused).extend(_describe_absent(t, data) for t in absent)
        refused.extend(_describe_repeated(self, data))
        found = [(t, data.tests[c]) for t, c in zip(self.tests, columns, strict=True) if c >= 0]
        warnings.extend(_describe_one_sided("limits", found, _has_limits))
        warnings.extend(_describe_one_sided("units", found, _has_units))
        for test, of_data in found:
            _compare_test(test, of_data, refused, warnings)
        _raise_if_refused(refused + (warnings if strict else []))
        return Alignment(columns, tuple(warnings))


def _same_text(a: str, b: str) -> bool:
    if a.strip().casefold() == b.strip().casefold():
        return True
    try:
        return float(a) == float(b)
    except ValueError:
        return False


def _differing_fields(model: Purpose, data: Purpose, names: Sequence[str]) -> list[str]:
    differing = []
    for field in fields(Purpose):
        ours, theirs = getattr(model, field.name), getattr(data, field.name)
        if field.name in names and ours and theirs and not _same_text(ours, theirs):
            label = field.name.replace("_", " ")
            differing.append(f"{label}: the model is for {ours!r}, the data are of {theirs!r}")
    return differing


def _describe_absent(test: Test, data: Schema) -> str:
    alike = [t for t in data.tests if t.name == test.name or t.number == test.number]
    hint = f"; the data have {alike[0].label!r}" if alike else ""
    return f"test {test.label!r} is not in the data{hint}"


def _describe_repeated(model: Schema, data: Schema) -> list[str]:
    """Tests of the model that two columns of the data claim to be."""
    counts = Counter(test.key for test in data.tests)
    return [
        f"test {t.label!r} is {counts[t.key]} columns of the data"
        for t in model.tests
        if counts[t.key] > 1
    ]


def _describe_one_sided(
    what: str, found: Sequence[tuple[Test, Test]], has: Callable[[Test], bool]
) -> list[str]:
    """A sentence for all tests whose limits or units one side leaves out: CSV may carry neither."""
    lost = [ours.label for ours, theirs in found if has(ours) and not has(theirs)]
    gained = [ours.label for ours, theirs in found if has(theirs) and not has(ours)]
    return [
        f"{what}: {whose} none for {len(labels)} {'test' if len(labels) == 1 else 'tests'} "
        f"(first: {labels[0]!r})"
        for whose, labels in (("the data carry", lost), ("the model has", gained))
        if labels
    ]


def _has_limits(test: Test) -> bool:
    return test.low is not None or test.high is not None


def _has_units(test: Test) -> bool:
    return bool(test.units.strip())


def _same_limit(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=1e-6)


def _compare_test(model: Test, data: Test, refused: list[str], warnings: list[str]) -> None:
    """Differences of what both sides state; ``_describe_one_sided`` has the rest."""
    same_units = model.units.strip() == data.units.strip()
    if not same_units and _has_units(model) and _has_units(data):
        refused.append(f"test {model.label!r}: units {model.units!r} became {data.units!r}")
    same_limits = _same_limit(model.low, data.low) and _same_limit(model.high, data.high)
    if not same_limits and _has_limits(model) and _has_limits(data):
        warnings.append(f"test {model.label!r}: limits {_describe_limits(model, data)}")


def _describe_limits(model: Test, data: Test) -> str:
    """``1.87 … 2.11 V became 1.87 … none V``, with as many digits as tell them apart."""
    short, exact = (
        [_limits_text(test, digits) for test in (model, data)] for digits in _LIMIT_DIGITS
    )
    return " became ".join(exact if short[0] == short[1] else short)


def _limits_text(test: Test, digits: int) -> str:
    low, high = ("none" if v is None else f"{v:.{digits}g}" for v in (test.low, test.high))
    return f"{low} … {high} {test.units}".rstrip()


def _raise_if_refused(refused: list[str]) -> None:
    if refused:
        shown = "\n  ".join(refused[:20])
        more = f"\n  and {len(refused) - 20} more" if len(refused) > 20 else ""
        count = "1 difference" if len(refused) == 1 else f"{len(refused)} differences"
        raise SchemaMismatchError(f"the data do not fit the model ({count}):\n  {shown}{more}")
