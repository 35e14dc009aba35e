"""Files whose counts are allowed and whose items need far more memory than their bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import pytest
from forged_files import SECTIONS, section

from knowngood._errors import ModelFileError
from knowngood._kgd import decode
from traced_memory import MEBIBYTE, beyond_twice_the_file

MOST_OPERATIONS, LONGEST_LIST, MOST_TENSORS = 255, 16, 2048


def _numbers(values: Iterator[int] | range) -> bytes:
    return b"".join(struct.pack("<I", value) for value in values)


def _operation(index: int) -> bytes:
    """In topological order, with numbers so large that each is an object of its own."""
    inputs = _numbers(index for _ in range(LONGEST_LIST))
    tensors = _numbers(range(100_000 + LONGEST_LIST * index, 100_000 + LONGEST_LIST * (index + 1)))
    count = struct.pack("<I", LONGEST_LIST)
    return (
        struct.pack("<I", 2) + count + inputs + struct.pack("<I", index + 1) + 2 * (count + tensors)
    )


def program_of_longest_lists() -> bytes:
    data = struct.pack("<II", 0, 2)
    for precision in (0, 1):
        data += struct.pack("<II", precision, MOST_OPERATIONS + 1)
        data += _numbers(range(300, 300 + MOST_OPERATIONS + 1))
        data += struct.pack("<iiI", -1, -1, MOST_OPERATIONS)
        data += b"".join(_operation(i) for i in range(MOST_OPERATIONS))
    return data


def test_a113_programs_of_as_many_and_as_long_lists_as_are_allowed():
    data = section("program", program_of_longest_lists())
    with pytest.raises(ModelFileError, match="rule 15 "):
        decode(data, "m.kgd")
    assert beyond_twice_the_file(data) < MEBIBYTE


def tensors_of_one_byte(n_tensors: int) -> bytes:
    first = -(-(8 + 32 * n_tensors) // 64) * 64
    entries = (struct.pack("<IIIIIIQ", 4, 4, 1, 1, 1, 1, first + 64 * i) for i in range(n_tensors))
    table = struct.pack("<II", n_tensors, 0) + b"".join(entries)
    return table + bytes(first + 64 * (n_tensors - 1) + 1 - len(table))


def test_a114_as_many_tensors_as_are_allowed_of_one_byte_each():
    data = section("tensors", tensors_of_one_byte(MOST_TENSORS))
    with pytest.raises(ModelFileError, match="rule 13 "):
        decode(data, "m.kgd")
    assert beyond_twice_the_file(data) < MEBIBYTE


def history(**changes: object) -> bytes:
    data = json.loads(SECTIONS["manifest"])
    for name, value in changes.items():
        data[name].update(value)
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


TEXTS = {
    "keys": section(
        "certificate",
        json.dumps({f"{i:05x}": {} for i in range(2700)}, separators=(",", ":")).encode(),
    ),
    "text": section("certificate", b'{"a":"' + b"x" * 131_000 + rb'\ud83d\ude00"}'),
    "counts": section(
        "manifest", history(provenance={"dropped": {f"{i:04x}": i + 300 for i in range(3900)}})
    ),
    "curve": section(
        "manifest", history(provenance={"learning_curve": [[i, 0.5, 0.25] for i in range(1950)]})
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a115_json_of_as_many_values_as_are_allowed(name):
    assert beyond_twice_the_file(TEXTS[name]) < MEBIBYTE
