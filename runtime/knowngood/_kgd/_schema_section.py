"""The section ``schema``: which tests, in which order, and what the model is for."""

from __future__ import annotations

import struct

import numpy as np

from knowngood._schema import Purpose, Schema, Test
from knowngood._sealed import MAX_WIDTH

from ._reader import Reader
from ._refusal import Rule
from ._writer import Writer

_PURPOSE = ("part_type", "temperature", "flow", "program", "revision")
"""In the order of the file."""
_HAS_LOW, _HAS_HIGH = 1, 2
_LEAST_BYTES_OF_A_TEST = 8 + 3 * 4 + 1 + 2 * 8


def encode_schema(schema: Schema) -> bytes:
    """The section's bytes."""
    writer = Writer("schema")
    writer.u32("number of tests", schema.n_tests)
    for field in _PURPOSE:
        writer.string(field, getattr(schema.purpose, field))
    for test in schema.tests:
        _write_test(writer, test)
    return writer.getvalue()


def _write_test(writer: Writer, test: Test) -> None:
    flags = (test.low is not None) * _HAS_LOW + (test.high is not None) * _HAS_HIGH
    writer.i64(f"number of {test.label}", test.number)
    writer.string(f"name of {test.label}", test.name)
    writer.string(f"pin of {test.label}", test.pin)
    writer.string(f"units of {test.label}", test.units)
    writer.u8("flags", flags)
    writer.f64(f"low limit of {test.label}", 0.0 if test.low is None else test.low)
    writer.f64(f"high limit of {test.label}", 0.0 if test.high is None else test.high)


def decode_n_tests(section: memoryview) -> int:
    """The width of the model, before anything else of its schema is read."""
    reader = Reader(section, "schema")
    return reader.count("number of tests", 1, MAX_WIDTH, _LEAST_BYTES_OF_A_TEST)


def decode_schema(section: memoryview) -> Schema:
    """The schema, its tests' keys distinct."""
    reader = Reader(section, "schema")
    n_tests = reader.count("number of tests", 1, MAX_WIDTH, _LEAST_BYTES_OF_A_TEST)
    purpose = Purpose(**{field: reader.string(field) for field in _PURPOSE})
    shared: dict[str, str] = {}
    tests = []
    for i in range(n_tests):
        reader.where = f"schema: test {i}"
        tests.append(_read_test(reader, shared))
    reader.where = "schema"
    reader.end()
    _check_distinct(reader, tests)
    return Schema(tuple(tests), purpose)


def _read_test(reader: Reader, shared: dict[str, str]) -> Test:
    """One test; pins and units, which repeat, are kept once in ``shared``."""
    number = reader.i64("number")
    name, pin, units = (reader.string(field) for field in ("name", "pin", "units"))
    flags = reader.u8("flags")
    if flags & ~(_HAS_LOW | _HAS_HIGH):
        raise reader.refusal("flags", Rule.TESTS, "bits 0 and 1 only", bin(flags))
    low = _read_limit(reader, "low limit", bool(flags & _HAS_LOW))
    high = _read_limit(reader, "high limit", bool(flags & _HAS_HIGH))
    return Test(
        number, name, shared.setdefault(pin, pin), shared.setdefault(units, units), low, high
    )


def _read_limit(reader: Reader, what: str, is_present: bool) -> float | None:
    value = reader.f64(what)
    if is_present:
        return value
    if struct.pack("<d", value) != bytes(8):
        raise reader.refusal(what, Rule.TESTS, "zero, as its flag says absent", value)
    return None


def _check_distinct(reader: Reader, tests: list[Test]) -> None:
    """Hashes first: a set of all keys would need more memory than the file."""
    hashes = np.fromiter((hash(test.key) for test in tests), np.int64, len(tests))
    if len(np.unique(hashes)) == len(tests):
        return
    place_of: dict[object, int] = {}
    for i, test in enumerate(tests):
        if place_of.setdefault(test.key, i) != i:
            raise reader.refusal(
                f"test {i}",
                Rule.DISTINCT_TESTS,
                "another number, name or pin",
                f"those of test {place_of[test.key]}, {test.label!r}",
            )
