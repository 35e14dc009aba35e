"""Decoding takes no more memory than the file justifies, whatever the file says."""

from __future__ import annotations

import pytest
from kgd_by_hand import ByHand, build, read_sections

from knowngood._errors import ModelFileError
from knowngood._kgd import decode, encode
from random_networks import make_network
from sealed_models import seal_up, tiny_sealed
from traced_memory import MEBIBYTE, beyond_twice_the_file, decoding_bytes

SECTIONS = read_sections(encode(tiny_sealed()))


@pytest.mark.parametrize("precisions", [("fp32",), ("int8",), ("fp32", "int8")])
def test_a_model_needs_less_than_its_file(precisions):
    data = encode(seal_up(make_network((512, 256, 32, 256, 512)), precisions=precisions))
    decode(data, "modules are loaded")
    assert decoding_bytes(data) < 0.5 * len(data) + 200_000


BOMBS = [
    b'{"a":[' + b"[]," * 4000 + b"0]}",
    b'{"a":[' + b"{}," * 4000 + b"0]}",
    b'{"a":[' + b'{"a":0},' * 2600 + b"0]}",
    b'{"a":[' + b'"ab",' * 8000 + b"0]}",
    b"{" + b",".join(b'"%d":0' % i for i in range(4000)) + b"}",
    b'{"a":"' + rb"\ud83d\ude00" + b"x" * 130_000 + b'"}',
    b'{"a":"' + rb"\ud83d\ude00" + b"x" * 88_000 + b'","b":[' + b'"ab",' * 8000 + b"0]}",
    b"[" * 8000,
    b'{"a":' * 2700,
    b'{"a":' + b"9" * 100_000 + b"}",
    b'{"a":[' + b"[]," * 40_000 + b"0]}",
]


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("section", ["manifest", "certificate"])
def test_json_bombs(section, bomb):
    """Some are valid certificates; none takes more memory than any file may."""
    data = build({**SECTIONS, section: bomb})
    assert beyond_twice_the_file(data) < MEBIBYTE


@pytest.mark.parametrize(
    "field",
    [
        *("schema.n_tests", "schema.part_type.size", "schema.3.name.size", "tensors.n"),
        *("tensors.0.dim0", "tensors.3.dim0", "tensors.3.dim1", "program.n"),
        *("program.fp32.n_buffers", "program.fp32.n_ops", "program.fp32.op1.n_t"),
        *("points.n_points", "points.n_limits", "golden.n_dies", "golden.n_programs"),
    ],
)
@pytest.mark.parametrize("count", [1000, 65_535, 66_000, 2**31 - 1, 2**32 - 1])
def test_count_bombs(field, count):
    hand = ByHand(build(SECTIONS))
    hand[field] = count
    data = hand.build()
    with pytest.raises(ModelFileError, match="rule"):
        decode(data, "model.kgd")
    assert decoding_bytes(data) < 150_000
