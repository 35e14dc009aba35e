"""The results of a touchdown as bytes: records of fixed layout, filled all at once.

Only result, flags, head and site differ from die to die; everything else is laid down once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError
from .._schema import Test
from ._codec import PREFIX
from ._layout import FAILED, NO_VERDICT
from ._write import StdfWriter

Repeat = Literal["nothing", "names", "all"]
"""What later PTRs of a test say again: nothing but the result, the name too, or limits as well."""

_HEAD, _SITE, _TEST_FLG, _PARM_FLG = 8, 9, 10, 11
_NO_SPEC_LIMITS = 0x0E
"""OPT_FLAG bits 2 and 3, no specification limits, and the reserved bit 1, which must be set."""
_LOW_INVALID, _HIGH_INVALID, _NO_LOW, _NO_HIGH = 0x10, 0x20, 0x40, 0x80
_FAILED_HIGH, _FAILED_LOW, _LOW_PASSES_AT_LIMIT, _HIGH_PASSES_AT_LIMIT = 0x08, 0x10, 0x40, 0x80


@dataclass(frozen=True)
class _Template:
    """The records of ``n_sites`` dies, test by test, and where in them the results go.

    Attributes:
        octets: uint8 ``(n_bytes,)``.
        starts, lengths: int64 ``(n_tests · n_sites,)``, of each record.
        results: int64 ``(n_tests · n_sites,)``, where RESULT (or RTN_RSLT) lies.
    """

    octets: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    results: NDArray[np.int64]


class ResultBlocks:
    """Turns rows of values into PTR (for tests with a pin: MPR) records.

    The first record of a test in the file carries name, limits and units, later ones what
    ``repeat`` says; names that share their number are always given, and tests with a pin in full.
    """

    def __init__(self, writer: StdfWriter, tests: Sequence[Test], repeat: Repeat) -> None:
        pins = sorted({t.pin for t in tests if t.pin})
        self.pin_index = {pin: i + 1 for i, pin in enumerate(pins)}
        self._writer = writer
        self._full = [self._record(test, "all") for test in tests]
        shared = Counter(test.number for test in tests)
        _refuse_nameless(tests, shared)
        self._later = [
            self._record(t, "names" if repeat == "nothing" and shared[t.number] > 1 else repeat)
            for t in tests
        ]
        self._described = np.zeros(len(tests), dtype=np.bool_)
        self._templates: dict[int, _Template] = {}
        self._has_pin = np.array([bool(t.pin) for t in tests], dtype=np.bool_)
        self._low, self._high = (_limits(tests, side) for side in ("low", "high"))

    def pack(self, values: NDArray[np.float32], heads: NDArray[Any], sites: NDArray[Any]) -> bytes:
        """The records of one touchdown, test by test, site by site.

        Args:
            values: float32 ``(n_sites, n_tests)``; NaN is left out.
            heads, sites: HEAD_NUM and SITE_NUM, ``(n_sites,)``.
        """
        present = ~np.isnan(values)
        template = self._template(present)
        octets, starts = template.octets.copy(), template.starts
        by_test = values.T.ravel()
        octets[starts + _HEAD] = np.tile(heads, values.shape[1])
        octets[starts + _SITE] = np.tile(sites, values.shape[1])
        test_flags, parm_flags = self._flags(values)
        octets[starts + _TEST_FLG] = test_flags.T.ravel()
        octets[starts + _PARM_FLG] = parm_flags.T.ravel()
        stored = by_test.astype(PREFIX[self._writer.byte_order] + "f4")
        octets[template.results[:, None] + np.arange(4)] = stored.view(np.uint8).reshape(-1, 4)
        if not present.all():
            octets = octets[np.repeat(present.T.ravel(), template.lengths)]
        return octets.tobytes()

    def _flags(self, values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """TEST_FLG and PARM_FLG, each ``(n_sites, n_tests)``; a value at its limit passes."""
        low, high = values < self._low, values > self._high
        unlimited = np.isnan(self._low) & np.isnan(self._high)
        test_flags = FAILED * (low | high) + NO_VERDICT * unlimited
        parm_flags = _FAILED_LOW * low + _FAILED_HIGH * high
        parm_flags += _LOW_PASSES_AT_LIMIT | _HIGH_PASSES_AT_LIMIT
        return test_flags.astype(np.uint8), parm_flags.astype(np.uint8)

    def _template(self, present: NDArray[np.bool_]) -> _Template:
        n_sites = len(present)
        first = present.any(axis=0) & ~self._described
        if not first.any():
            if n_sites not in self._templates:
                self._templates[n_sites] = self._lay_out([[r] * n_sites for r in self._later])
            return self._templates[n_sites]
        described_by = np.argmax(present, axis=0)
        records = [[later] * n_sites for later in self._later]
        for test in np.flatnonzero(first):
            records[test][described_by[test]] = self._full[test]
        self._described |= first
        return self._lay_out(records)

    def _lay_out(self, records: list[list[bytes]]) -> _Template:
        flat = [record for of_test in records for record in of_test]
        lengths = np.array([len(record) for record in flat], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        n_sites = len(records[0]) if records else 0
        results = starts + np.where(np.repeat(self._has_pin, n_sites), 17, 12)
        return _Template(np.frombuffer(b"".join(flat), dtype=np.uint8), starts, lengths, results)

    def _record(self, test: Test, repeat: Repeat) -> bytes:
        """A record of the test with everything in place but what differs from die to die."""
        fields: dict[str, Any] = {"TEST_NUM": test.number}
        if repeat != "nothing" or test.pin:
            fields |= {"TEST_TXT": test.name}
        if repeat == "all" or test.pin:
            fields |= _description(test)
        if not test.pin:
            return self._writer.pack("PTR", RESULT=0.0, **fields)
        pin = {"RTN_STAT": (0,), "RTN_RSLT": (0.0,), "RTN_INDX": (self.pin_index[test.pin],)}
        return self._writer.pack("MPR", RTN_ICNT=1, RSLT_CNT=1, **pin, **fields)


def _refuse_nameless(tests: Sequence[Test], shared: Counter[int]) -> None:
    """A result without a name belongs to its number's only name, so the number must be its own."""
    for test in tests:
        if not test.name and shared[test.number] > 1:
            raise UsageError(
                f"test {test.number} has no name and shares its number with a test that has one; "
                "no reader could tell their results apart. Name it, or give it a number of its own"
            )


def _description(test: Test) -> dict[str, Any]:
    flags = _NO_SPEC_LIMITS
    flags |= _LOW_INVALID | _NO_LOW if test.low is None else 0
    flags |= _HIGH_INVALID | _NO_HIGH if test.high is None else 0
    low, high = test.low or 0.0, test.high or 0.0
    return {"OPT_FLAG": flags, "LO_LIMIT": low, "HI_LIMIT": high, "UNITS": test.units}


def _limits(tests: Sequence[Test], side: str) -> NDArray[np.float32]:
    limits = [getattr(test, side) for test in tests]
    return np.array([np.nan if limit is None else limit for limit in limits], dtype=np.float32)
