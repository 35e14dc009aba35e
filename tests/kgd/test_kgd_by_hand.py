"""The page alone is enough to read a file: ``struct`` finds the numbers that were written."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from kgd_by_hand import HEADER, ByHand, build, read_sections

from knowngood._kgd import decode, encode, list_contents
from knowngood._manifest import Drift, Evaluation, HeadChoice, HeadTrial, Provenance
from knowngood._schema import Purpose
from knowngood_export._sealing import n_bytes_graph
from sealed_models import HISTORY, seal_up, tiny_sealed, varied_network

CERTIFICATE = '{"flips":{"good":0}}'
MODEL = tiny_sealed(**HISTORY, certificate=CERTIFICATE)
DATA = encode(MODEL)
HAND = ByHand(DATA)
PAGE = Path(__file__).parents[2] / "docs" / "format.md"


def codes(before: str) -> list[tuple[int, str]]:
    """The list of the page that follows ``before``: "0 linear, 1 relu, …"."""
    listed = PAGE.read_text().split(before, 1)[1]
    text = re.match(r"\d \w+(, \d \w+)*", listed)
    assert text
    return [(int(code), name) for code, name in (item.split() for item in text[0].split(", "))]


def with_text(hand: ByHand, name: str, text: bytes) -> bytes:
    """The file with another string of the same length in its schema."""
    section, at, layout = hand.places[name]
    assert len(text) == struct.calcsize(layout)
    hand.sections[section][at : at + len(text)] = text
    return hand.build()


def test_the_header():
    magic, major, minor, n, size, zero, digest, model_id = struct.unpack_from(HEADER, DATA)
    assert (magic, major, minor, n) == (b"\x89KGD\r\n\x1a\n", 1, 0, 7)
    assert (size, zero) == (len(DATA), 0)
    assert digest == hashlib.sha256(DATA[:32] + DATA[64:-128]).digest()
    contents = decode(DATA, "model.kgd")
    assert (contents.file_digest, contents.model_id) == (digest.hex(), model_id.hex())
    assert DATA[-128:] == bytes(128)
    assert list(read_sections(DATA)) == [
        *("schema", "program", "tensors", "points", "golden", "manifest", "certificate")
    ]


def test_what_is_told_of_the_sections():
    sizes = {name: len(section) for name, section in read_sections(DATA).items()}
    assert list_contents(DATA).section_bytes == sizes
    assert n_bytes_graph(DATA) == sizes["program"] + sizes["tensors"]
    assert decode(DATA, "model.kgd").format == "kgd 1.0"


def test_the_sections_laid_out_by_hand_are_the_same_file():
    assert build(read_sections(DATA)) == DATA
    assert HAND.build() == DATA


def test_the_schema():
    purpose, tests = MODEL.screen.schema.purpose, MODEL.screen.schema.tests
    assert HAND["schema.n_tests"] == 6
    assert HAND["schema.part_type"] == purpose.part_type == "KG1"
    assert HAND["schema.program"] == purpose.program
    for i, test in enumerate(tests):
        found = [HAND[f"schema.{i}.{name}"] for name in ("number", "name", "pin", "units")]
        assert found == [test.number, test.name, test.pin, test.units]
        assert [HAND[f"schema.{i}.{name}"] for name in ("flags", "low", "high")] == [3, -50, 50]


PURPOSE = ("part_type", "temperature", "flow", "program", "revision")


@pytest.mark.parametrize("name", PURPOSE)
def test_what_the_model_is_for(name):
    """The strings in the order of the page, each written and read as itself."""
    texts = {name: f"{name}!" for name in PURPOSE}
    schema = replace(MODEL.screen.schema, purpose=Purpose(**texts))
    hand = ByHand(encode(replace(MODEL, screen=replace(MODEL.screen, schema=schema))))
    assert [hand[f"schema.{name}"] for name in PURPOSE] == list(texts.values())
    other = b"?" * len(texts[name])
    purpose = decode(with_text(hand, f"schema.{name}", other), "x.kgd").model.screen.schema.purpose
    assert purpose == Purpose(**texts | {name: other.decode()})


def test_the_page_lists_strings_and_codes_as_these_tests_read_them():
    page = PAGE.read_text()
    assert "part type, temperature, flow, program, revision: 5 strings" in page
    assert [len(codes(f"{what} ")) for what in ("Activations:", "Heads:")] == [6, 4]
    assert len(codes("Detector code (")) == 4
    assert codes("precision code (") == [(0, "fp32"), (1, "int8")]


@pytest.mark.parametrize(("code", "kind"), codes("Activations: "))
def test_the_code_of_an_activation(code, kind):
    model = seal_up(varied_network((4, 2, 4), kind, "topk", 1))
    data = encode(model)
    hand = ByHand(data)
    assert [hand[f"program.{p}.op1.p0"] for p in ("fp32", "int8")] == [code, code]
    assert decode(data, "x.kgd").model.fp32[0].activation.kind == kind


@pytest.mark.parametrize(("code", "kind"), codes("Heads: "))
def test_the_code_of_a_head(code, kind):
    data = encode(seal_up(varied_network((4, 2, 4), "relu", kind, 1)))
    hand = ByHand(data)
    assert [hand[f"program.{p}.op3.p0"] for p in ("fp32", "int8")] == [code, code]
    assert decode(data, "x.kgd").model.screen.head.kind == kind


@pytest.mark.parametrize(("code", "kind"), codes("Detector code ("))
def test_the_code_of_a_detector(code, kind):
    data = encode(replace(MODEL, detector=kind))
    assert ByHand(data)["program.detector"] == code
    assert decode(data, "x.kgd").model.detector == kind


def test_the_operations():
    assert HAND["program.detector"] == 0
    for precision, opcode in (("fp32", 2), ("int8", 3)):
        prefix = f"program.{precision}"
        assert [HAND[f"{prefix}.width{i}"] for i in range(5)] == [6, 6, 3, 6, 1]
        assert (HAND[f"{prefix}.latent"], HAND[f"{prefix}.reconstruction"]) == (2, 3)
        assert [HAND[f"{prefix}.op{i}.opcode"] for i in range(4)] == [1, opcode, opcode, 4]
        assert [HAND[f"{prefix}.op{i}.out"] for i in range(4)] == [1, 2, 3, 4]
        assert [HAND[f"{prefix}.op3.in{i}"] for i in range(2)] == [1, 3]
        assert [HAND[f"{prefix}.op1.p{i}"] for i in range(2)] == [1, 0]
        head = MODEL.screen.head
        assert [HAND[f"{prefix}.op3.p{i}"] for i in range(3)] == [2, head.k, head.min_present]


def test_the_tensors():
    scaler, head = MODEL.screen.scaler, MODEL.screen.head
    expected = {
        "program.fp32.op0": (scaler.groups, scaler.centre, scaler.inv_scale),
        "program.fp32.op1": (MODEL.fp32[0].weight, MODEL.fp32[0].bias),
        "program.fp32.op2": (MODEL.fp32[1].weight, MODEL.fp32[1].bias),
        "program.fp32.op3": (head.residual_weight, head.expected_square, head.present_gain),
        "program.int8.op1": (MODEL.int8[0].weight, MODEL.int8[0].weight_scale, MODEL.int8[0].bias),
        "program.int8.op3": (head.residual_weight, head.expected_square),
    }
    for operation, arrays in expected.items():
        for i, array in enumerate(arrays):
            found = HAND.operand(operation, i)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
    assert all(at % 64 == 0 for _, at, _ in HAND.tensors)


def test_alpha_and_the_low_rank_of_mahalanobis():
    model = seal_up(varied_network((7, 4, 7), "leaky_relu", "mahalanobis", 1))
    hand = ByHand(encode(model))
    assert hand["program.fp32.op1.p0"] == 2
    assert hand["program.fp32.op1.p1"] == struct.unpack("<I", struct.pack("<f", 0.02))[0]
    assert hand["program.fp32.op3.p0"] == 3
    low_rank = model.screen.head.low_rank
    np.testing.assert_array_equal(hand.operand("program.int8.op3", 4), low_rank.project)
    np.testing.assert_array_equal(hand.operand("program.int8.op3", 5), low_rank.subtract)


def test_the_points():
    assert HAND["points.default"] == 0.005
    assert [HAND[f"points.limit{i}"] for i in range(2)] == [64, 64]
    for i, point in enumerate(MODEL.points["int8"]):
        assert HAND[f"points.{i}.fpr"] == point.fpr
        prefix = f"points.{i}.int8"
        found = [HAND[f"{prefix}.{name}"] for name in ("threshold", "low", "high", "dies")]
        assert found == [point.threshold, point.low, point.high, point.n_dies]
        assert HAND[f"{prefix}.supported"] == point.supported
        band = MODEL.bands[i]
        assert [HAND[f"points.{i}.lo"], HAND[f"points.{i}.hi"]] == [band.lo, band.hi]


def test_the_golden_dies():
    golden = MODEL.golden
    assert HAND["golden.n_dies"] == len(golden.values) == 6
    for die in range(6):
        found = [HAND[f"golden.{die}.value{test}"] for test in range(6)]
        np.testing.assert_array_equal(np.float32(found), golden.values[die])
        assert HAND[f"golden.{die}.group"] == golden.group[die]
        assert HAND[f"golden.{die}.int8"] == golden.score_bits["int8"][die]
    for precision in ("fp32", "int8"):
        assert HAND[f"golden.{precision}.digest"] == golden.reconstruction_digest[precision]
    assert len(set(golden.reconstruction_digest.values())) == 2


def test_the_texts():
    sections = read_sections(DATA)
    manifest = json.loads(sections["manifest"])
    assert list(manifest) == ["drift", "evaluation", "provenance"]
    assert manifest["provenance"]["sources"][0]["name"] == "lot é.stdf"
    assert manifest["provenance"]["learning_curve"] == [[1, 0.5, 0.625], [2, 0.1, 1e-300]]
    assert manifest["drift"][0]["flips_defective"] == 1
    assert sections["certificate"].decode() == CERTIFICATE


@pytest.mark.parametrize("record", [Provenance, Evaluation, HeadChoice, HeadTrial, Drift])
def test_the_fields_of_the_manifest_are_those_of_the_page(record):
    (row,) = re.findall(rf"^\| {record.__name__} \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    outermost = re.sub(r"[\[{(][^\[\](){}]*[\])}]", "", row)
    while outermost != row:
        row, outermost = outermost, re.sub(r"[\[{(][^\[\](){}]*[\])}]", "", outermost)
    assert [item.split()[0] for item in row.split(", ")] == [f.name for f in fields(record)]
