"""The engine's reader is as strict as the Python one: it refuses the same files by the same rules.

Of a mutant that breaks several rules the two may name different ones. What the engine leaves
to Python, the JSON for people, stands at the top of ``two_readers``.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from forged_files import DATA, FILES, SECTIONS, section
from kgd_by_hand import build
from two_readers import DAMAGED, FORMAT, GOLDEN, MEMORY, OK, judged, rule_of, run

from knowngood._kgd import encode
from knowngood._kgd._lowering import lower
from knowngood._kgd._program import encode_programs
from knowngood._kgd._tensors import encode_tensors
from knowngood._sealed import SealedModel
from sealed_models import seal_up, varied_network

PAGE = (Path(__file__).parents[1] / "attacks" / "README.md").read_text(encoding="utf-8")
STATUS = dict(re.findall(r"^\| (A\d+) \| .* \| ([^|]+) \|$", PAGE, re.MULTILINE))
ONLY_FOR_PEOPLE = ("A73", "A75", "A76", "A77", "A78", "A79")
RULE_OF_KIND = {"refused by its kind": 1}
Key = tuple[int, bytes, bytes]
"""Number, name and pin of a test."""


def test_the_file_before_the_attacks_opens(lib: ctypes.CDLL):
    assert judged(lib, DATA) == (OK, "")


@pytest.mark.parametrize("number", FILES)
def test_a_forged_file_is_refused_by_the_rule_that_the_list_names(lib: ctypes.CDLL, number: str):
    status, message = judged(lib, FILES[number]())
    if number in ONLY_FOR_PEOPLE:
        assert STATUS[number] in ("refused by rule 25", "refused by rule 26")
        assert status == OK
    elif "golden" in STATUS[number]:
        assert status == GOLDEN
        says = r"golden die \d+ in (fp32|int8) scores|.*golden dies in"
        assert re.match(says, message)
    else:
        listed = re.fullmatch(r"refused by rule (\d+)", STATUS[number])
        assert status not in (OK, MEMORY, GOLDEN)
        assert rule_of(message) == (int(listed[1]) if listed else RULE_OF_KIND[STATUS[number]])


def test_a_manifest_that_is_too_large_or_no_ascii_is_refused(lib: ctypes.CDLL):
    texts = ((b"x" * (128 * 1024 + 1), 26), (b"[" * 8193, 26), (b'{"a":"\xc3\xa9"}', 25))
    for text, rule in texts:
        assert rule_of(judged(lib, section("manifest", text))[1]) == rule
    assert judged(lib, section("manifest", b"[" * 8192))[0] == OK


def test_a_message_is_cut_to_its_room(lib: ctypes.CDLL):
    message = ctypes.create_string_buffer(b"\xff" * 20, 20)
    handle = ctypes.c_void_p()
    assert lib.kg_open(b"", 0, None, ctypes.byref(handle), message, 8) == FORMAT
    assert message.raw[:9] == b"not a .\0\xff"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 31, 32, 95, 96, 127, 223, 224, 300])
def test_a_stump_is_refused(lib: ctypes.CDLL, size: int):
    assert judged(lib, DATA[:size])[0] in (FORMAT, DAMAGED)


def schema_of(n_tests: int, key_of: Callable[[int], Key]) -> bytes:
    """A schema of so many tests."""
    parts = [struct.pack("<I", n_tests) + bytes(5 * 4)]
    for i in range(n_tests):
        number, name, pin = key_of(i)
        words = b"".join(struct.pack("<I", len(w)) + w for w in (name, pin, b"V"))
        parts.append(struct.pack("<q", number) + words + bytes(17))
    return b"".join(parts)


@pytest.mark.parametrize(
    ("n_tests", "key_of", "is_distinct"),
    [
        (66_000, lambda i: (7, b"a" * (i // 300), b"b" * (i % 300)), True),
        (66_000, lambda i: (7, b"%d" % (i % 65_999), b""), False),
        (5_000, lambda i: (i, b"", b""), True),
        (5_000, lambda i: (7, b"a" * (i % 71), b"a" * (i // 71)), True),
        (5_000, lambda i: (0, b"T", b"p"), False),
        (5_000, lambda i: (min(i, 4_998), b"", b"p"), False),
    ],
)
def test_keys_of_as_many_tests_as_are_allowed(
    lib: ctypes.CDLL, n_tests: int, key_of: Callable[[int], Key], is_distinct: bool
):
    """The tensors of the file are those of six tests, which is found after the schema."""
    status, message = judged(lib, section("schema", schema_of(n_tests, key_of)))
    assert status == FORMAT
    assert rule_of(message) == (15 if is_distinct else 11)


def test_the_last_two_of_the_tests_are_named(lib: ctypes.CDLL):
    data = section("schema", schema_of(50, lambda i: (min(i, 48), b"T", b"")))
    assert judged(lib, data)[1].startswith("section 'schema', test 49: ")


def of_layers(n_layers: int) -> SealedModel:
    """With so many layers in both precisions."""
    widths = (3, *[2] * (n_layers - 1), 3)
    return seal_up(varied_network(widths, "sigmoid", "mse", 1))


def test_as_many_layers_as_are_allowed(lib: ctypes.CDLL):
    assert judged(lib, encode(of_layers(253))) == (OK, "")


def test_one_layer_more(lib: ctypes.CDLL):
    """A whole file of 254, written by hand since nobody else does."""
    programs, tensors = lower(of_layers(254))
    program = encode_programs("autoencoder", programs)
    sections = {**SECTIONS, "program": program, "tensors": encode_tensors(tensors)}
    assert rule_of(judged(lib, build(sections))[1]) == 5


def test_both_readers_judge_mutants_alike(lib: ctypes.CDLL):
    counts, disagreements = run(lib, 3000, seed=11)
    assert disagreements == []
    outcomes = ("accepted", "refused by the same rule", "refused by golden dies")
    assert [o for o in (*outcomes, "wrong for people only") if not counts[o]] == []
