"""Which column a result belongs to: tests are learnt from the PTR and MPR as they come.

The bytes of a PTR that name its test (TEST_NUM and everything after RESULT) repeat from die to die,
so they are parsed once and looked up afterwards.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._schema import Schema, Test, TestKey
from ._codec import decode, number
from ._layout import MPR_TAIL, PTR_TAIL
from ._pins import PinMap

_CACHE_LIMIT = 1 << 16
_SIDES = (("low", "LO_LIMIT", 0x10, 0x40), ("high", "HI_LIMIT", 0x20, 0x80))
"""Side, field, OPT_FLAG's *use the first PTR's limit*, OPT_FLAG's *no such limit at all*."""


@dataclass
class _Described:
    """What the file has said of one test so far; ``limits`` holds the sides it has settled."""

    key: TestKey
    units: str
    limits: dict[str, float | None]

    def frozen(self) -> Test:
        low, high = self.limits.get("low"), self.limits.get("high")
        return Test(*self.key, units=self.units, low=low, high=high)


class TestRegister:
    """The tests of a file, in the order of their first result, and their columns.

    Args:
        byte_order: of the file.
        wanted: keep only the tests of this schema, in its columns; None keeps all.
    """

    __test__ = False  # not a test case, whatever pytest thinks of its name

    def __init__(self, byte_order: str, wanted: Schema | None = None) -> None:
        self.pins = PinMap()
        self.columns: dict[bytes, int] = {}
        """Column by the naming bytes of a PTR; −1 for tests that are not wanted."""
        self._order = byte_order
        self._wanted = None if wanted is None else {t.key: i for i, t in enumerate(wanted.tests)}
        self._tests: list[_Described] = []
        self._index: dict[TestKey, int] = {}
        self._named: defaultdict[int, set[str]] = defaultdict(set)
        self._nameless: defaultdict[int, list[bytes]] = defaultdict(list)
        self._mpr_columns: dict[tuple[bytes, int, int, bytes], NDArray[np.int64]] = {}
        self._changed_limits: set[TestKey] = set()
        self._changed_units: dict[TestKey, tuple[str, str]] = {}
        self._ambiguous: set[int] = set()

    def __len__(self) -> int:
        return len(self._tests)

    @property
    def width(self) -> int:
        """How many columns the values need."""
        return len(self._tests) if self._wanted is None else len(self._wanted)

    def tests(self) -> tuple[Test, ...]:
        """Every test seen, described as the file's first description of it says."""
        return tuple(test.frozen() for test in self._tests)

    def odd(self) -> list[str]:
        """What was unusual about the tests, as sentences."""
        found = [*self.mixed_units()]
        if self._changed_limits:
            first = min(self._changed_limits)
            found.append(
                f"limits of {len(self._changed_limits)} tests change within the file; the first "
                f"are kept (first: {first[0]} {first[1]})"
            )
        if self._ambiguous:
            found.append(
                f"results without a name, of {len(self._ambiguous)} test numbers that several "
                f"names share, are kept as tests without a name (first: {min(self._ambiguous)})"
            )
        return found

    def mixed_units(self) -> list[str]:
        """Tests whose results are in different units, as sentences."""
        return [
            f"test {number} {name}{'@' + pin if pin else ''} has results in {first!r} and {other!r}"
            for (number, name, pin), (first, other) in sorted(self._changed_units.items())
        ]

    def learn_ptr(self, raw: bytes) -> int:
        """The column of a PTR by its naming bytes, remembered in ``columns`` from now on."""
        test_number = number("U4", self._order).unpack_from(raw)[0]
        tail = decode(PTR_TAIL, raw[4:], self._order)
        name = self._resolve(test_number, tail.get("TEST_TXT", ""), raw)
        column = self._describe((test_number, name, ""), tail)
        if len(self.columns) >= _CACHE_LIMIT:
            self.columns.clear()
        self.columns[raw] = column
        return column

    def mpr_columns(
        self, raw_number: bytes, n_pins: int, n_results: int, tail: bytes
    ) -> NDArray[np.int64]:
        """The columns of an MPR's results, int64 ``(n_results,)``."""
        identity = (raw_number, n_pins, n_results, tail)
        columns = self._mpr_columns.get(identity)
        if columns is None:
            columns = self._learn_mpr(*identity)
            if len(self._mpr_columns) >= _CACHE_LIMIT:
                self._mpr_columns.clear()
            self._mpr_columns[identity] = columns
        return columns

    def _learn_mpr(
        self, raw_number: bytes, n_pins: int, n_results: int, data: bytes
    ) -> NDArray[np.int64]:
        test_number = number("U4", self._order).unpack_from(raw_number)[0]
        tail = decode(MPR_TAIL, data, self._order, {"RTN_ICNT": n_pins})
        name = self._resolve(test_number, tail.get("TEST_TXT", ""))
        pins = self.pins.names((test_number, name), n_results, tail.get("RTN_INDX", ()))
        columns = [self._describe((test_number, name, pin), tail) for pin in pins]
        return np.array(columns, dtype=np.int64)

    def _resolve(self, test_number: int, name: str, raw: bytes = b"") -> str:
        """The name of a test; one left out is the number's only name, if it has just one."""
        names = self._named[test_number]
        if name and name not in names:
            names.add(name)
            self._forget_nameless(test_number)
        if name:
            return name
        self._nameless[test_number].append(raw)
        if len(names) > 1:
            self._ambiguous.add(test_number)
        return next(iter(names)) if len(names) == 1 else ""

    def _forget_nameless(self, test_number: int) -> None:
        """Results without a name are to be resolved anew: the number has one name more."""
        for raw in self._nameless.pop(test_number, ()):
            self.columns.pop(raw, None)
        self._mpr_columns.clear()

    def _describe(self, key: TestKey, tail: Mapping[str, Any]) -> int:
        """Note what a record says of its test, and give the test's column."""
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self._tests)
            self._tests.append(_Described(key, "", {}))
        test = self._tests[index]
        self._note_units(test, tail.get("UNITS", ""))
        for side, field, use_first, none_at_all in _SIDES:
            flags = tail.get("OPT_FLAG", use_first)
            if flags & none_at_all:
                self._note_limit(test, side, None)
            elif field in tail and not flags & use_first:
                limit = tail[field]
                self._note_limit(test, side, limit if math.isfinite(limit) else None)
        return index if self._wanted is None else self._wanted.get(key, -1)

    def _note_units(self, test: _Described, units: str) -> None:
        if units and test.units and units != test.units:
            self._changed_units[test.key] = (test.units, units)
        test.units = test.units or units

    def _note_limit(self, test: _Described, side: str, limit: float | None) -> None:
        if test.limits.setdefault(side, limit) != limit:
            self._changed_limits.add(test.key)
