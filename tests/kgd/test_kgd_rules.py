"""Every rule of docs/format.md broken, one by one, with both digests right: the rule is named."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kgd_by_hand import ByHand
from kgd_edits import (
    D1,
    D2,
    FP32,
    INT8_PROGRAM,
    Q1,
    S1,
    SCORE,
    Edit,
    all_nan,
    both,
    cutting,
    dims,
    filling,
    growing,
    last_offset,
    other_numbers,
    padding_of_tensors,
    replacing,
    same_group_twice,
    same_key_twice,
    setting,
    text,
    twice,
    twice_in_second,
    without_the_end_of_golden,
)
from kgd_shells import DATA, END_OF_SCHEMA, SECTIONS, SHELLS

from knowngood._errors import ModelFileError
from knowngood._kgd import decode, encode
from random_networks import make_network, without_layers
from sealed_models import seal_up, varied_network

LEAKY = encode(seal_up(varied_network((7, 4, 7), "leaky_relu", "mahalanobis", 1)))
INT8 = encode(seal_up(varied_network((5, 3, 5), "relu", "normalized", 1), precisions=("int8",)))
PAT = encode(seal_up(without_layers(make_network((6, 6), head="mse")), precisions=("fp32",)))
NAN = float("nan")


def refused(data: bytes, rule: int, says: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        decode(data, "model.kgd")
    message = str(caught.value)
    assert f"(rule {rule} of the .kgd format)" in message, message
    assert re.search(says, message), message
    assert message.startswith("model.kgd: ")


@pytest.mark.parametrize(("rule", "says", "data"), SHELLS)
def test_a_rule_of_the_shell(rule, says, data):
    assert END_OF_SCHEMA % 64, "the schema is followed by padding"
    refused(DATA[:500] + b"\xaa" + DATA[501:] if data is None else data, rule, says)


def manifest(change: Callable[[dict], object]) -> Edit:
    data = json.loads(SECTIONS["manifest"])
    change(data)
    return replacing("manifest", canonical(data))


def canonical(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


RULES = [
    # counts and ends
    (5, "schema: number of tests", setting("schema.n_tests", 0)),
    (5, "schema: number of tests", setting("schema.n_tests", 66_001)),
    (5, "schema: number of tests", setting("schema.n_tests", 60_000)),
    (5, "schema: number of tests", setting("schema.n_tests", 2**32 - 1)),
    (5, "schema: its end", growing("schema")),
    (5, "schema: test 5: high limit", cutting("schema")),
    (5, "schema: part_type: bytes", setting("schema.part_type.size", 65_536)),
    (5, "schema: part_type: bytes", setting("schema.part_type.size", 60_000)),
    (5, "program: number of programs", setting("program.n", 0)),
    (5, "program: number of programs", setting("program.n", 3)),
    (5, "number of buffers", setting(f"{FP32}.n_buffers", 1)),
    (5, "number of buffers", setting(f"{FP32}.n_buffers", 257)),
    (5, "number of buffers", setting(f"{FP32}.n_buffers", 256)),
    (5, "widths", setting(f"{FP32}.width2", 0)),
    (5, "widths", setting(f"{FP32}.width2", 66_001)),
    (5, "number of operations", setting(f"{FP32}.n_ops", 0)),
    (5, "number of operations", setting(f"{FP32}.n_ops", 257)),
    (5, "number of operations", setting(f"{FP32}.n_ops", 256)),
    (5, "number of inputs", setting(f"{S1}.n_in", 17)),
    (5, "number of tensors", setting(f"{S1}.n_t", 17)),
    (5, "number of parameters", setting(f"{D1}.n_p", 17)),
    (5, "program: its end", growing("program")),
    (5, "program int8, operation 3", cutting("program")),
    (5, "tensors: number of tensors", setting("tensors.n", 0)),
    (5, "tensors: number of tensors", setting("tensors.n", 2049)),
    (5, "tensors: number of tensors", setting("tensors.n", 2048)),
    (5, "tensor 3: data", setting("tensors.3.dim0", 2**32 - 1)),
    (5, "tensor 16: data", cutting("tensors")),
    (5, "points: number of points", setting("points.n_points", 0)),
    (5, "points: number of points", setting("points.n_points", 65)),
    (5, "points: number of points", setting("points.n_points", 40)),
    (5, "points: its end", growing("points")),
    (5, "points: its end", setting("points.n_points", 2)),
    (5, "points: point 2", cutting("points")),
    (5, "golden: number of dies", setting("golden.n_dies", 0)),
    (5, "golden: number of dies", setting("golden.n_dies", 65)),
    (5, "golden: number of dies", setting("golden.n_dies", 64)),
    (5, "golden: its end", growing("golden")),
    (5, "golden: reconstruction digest int8: expected 32 bytes, found 31", cutting("golden")),
    (5, "golden: score bits int8: expected 24 bytes", without_the_end_of_golden),
    # numbers and texts
    (8, "schema: test 0: low limit", setting("schema.0.low", NAN)),
    (8, "schema: test 1: high limit", setting("schema.1.high", float("inf"))),
    (8, "schema: part_type: .*UTF-8", text("schema.part_type", b"\xff\xfe\xfd")),
    (8, "schema: test 2: name: .*NUL", text("schema.2.name", b"T\0")),
    (8, "schema: test 2: name: .*UTF-8", text("schema.2.name", b"\xed\xa0")),
    (8, "points: default yield loss", setting("points.default", NAN)),
    (8, "points: point 0: threshold", setting("points.0.fp32.threshold", NAN)),
    (8, "points: point 1: threshold", setting("points.1.int8.threshold", float("inf"))),
    (8, "points: point 2: low end", setting("points.2.int8.low", NAN)),
    (8, "points: point 0: high end of the band", setting("points.0.hi", float("inf"))),
    *[
        (8, "tensors: tensor .*: data", filling(operation, index, value))
        for operation, index in [(S1, 1), (S1, 2), (D1, 0), (D1, 1), (Q1, 1), (Q1, 2)]
        for value in (NAN, float("inf"), -float("inf"))
    ],
    *[(8, "tensors: tensor .*: data", filling(SCORE, index, NAN)) for index in range(4)],
    # codes
    (9, "program: detector", setting("program.detector", 4)),
    (9, "program: precision", setting("program.1.precision", 2)),
    (9, "opcode", setting(f"{D1}.opcode", 5)),
    (9, "opcode", setting(f"{D1}.opcode", 0)),
    (9, "dtype", setting("tensors.0.dtype", 5)),
    (9, "dtype", setting("tensors.0.dtype", 0)),
    (9, "activation", twice("op1.p0", 6)),
    (
        9,
        "SCORE: head",
        twice("op3.p0", 4),
    ),
    (9, "supported", setting("points.0.int8.supported", 2)),
    # schema
    (10, "test 0: flags", setting("schema.0.flags", 7)),
    (10, "test 0: low limit", setting("schema.0.flags", 2)),
    (10, "test 0: high limit", both(setting("schema.0.flags", 1), setting("schema.0.high", -0.0))),
    (11, "test 4: .*test 1, '1010 T1'", same_key_twice),
    # tensors
    (12, "reserved", setting("tensors.zero", 1)),
    (12, "tensor 1: dims", setting("tensors.1.ndim", 0)),
    (12, "tensor 1: dims", setting("tensors.1.ndim", 5)),
    (12, "tensor 1: dims", setting("tensors.1.dim1", 0)),
    (12, "tensor 1: dims", setting("tensors.1.dim3", 1)),
    (12, "tensor 1: offset", setting("tensors.1.offset", 0)),
    (12, "tensor 1: offset", setting("tensors.1.offset", 2**64 - 64)),
    (12, "tensor 1: padding", padding_of_tensors),
    (12, "tensors: its end", growing("tensors")),
    (13, "tensor 3 next, found 4", both(setting(f"{D1}.t0", 4), setting(f"{D1}.t1", 3))),
    (13, "expected tensor 13 next, found 4", twice_in_second),
    (13, "tensor 4 next", setting(f"{D1}.t1", 4_000_000)),
    (13, "tensor 4 next, found 3", setting(f"{D1}.t1", 3)),
    # programs
    (14, "fp32, operation 1: inputs", setting(f"{D1}.in0", 3)),
    (14, "fp32, operation 1: inputs", setting(f"{D1}.in0", 2**32 - 1)),
    (14, "fp32, operation 1: inputs", setting(f"{D1}.in0", 2)),
    (14, "fp32, operation 2: output", setting(f"{D2}.out", 2)),
    (14, "fp32, operation 2: output", setting(f"{D2}.out", 0)),
    (14, "fp32, operation 3: output", setting(f"{SCORE}.out", 5)),
    (15, "fp32, operation 1: opcode", setting(f"{D1}.opcode", 3)),
    (15, "fp32, operation 1: opcode", setting(f"{D1}.opcode", 1)),
    (15, "fp32, operation 0: opcode", setting(f"{S1}.opcode", 2)),
    (15, "fp32, operation 3: opcode", setting(f"{SCORE}.opcode", 2)),
    (15, "fp32, operation 2: inputs", setting(f"{D2}.in0", 1)),
    (15, "fp32, operation 3: inputs", setting(f"{SCORE}.in1", 2)),
    (15, "fp32, operation 2: output", other_numbers),
    (15, "width of the values", setting(f"{FP32}.width0", 5)),
    (15, "width of u", setting(f"{FP32}.width1", 5)),
    (15, "width of the reconstruction", setting(f"{FP32}.width3", 7)),
    (15, "width of the score", setting(f"{FP32}.width4", 2)),
    (15, "reconstruction buffer", setting(f"{FP32}.reconstruction", -1)),
    (15, "latent buffer", setting(f"{FP32}.latent", 3)),
    (15, "latent buffer", setting(f"{FP32}.latent", 1)),
    (15, "latent buffer", setting(f"{FP32}.latent", -2)),
    (15, "STANDARDISE: centre .*float64 .3, 6.", dims(1, 6, 3)),
    (15, "operation 1: weight .*float32 .3, 6.", dims(3, 6, 3)),
    (15, "operation 1: weight .*float32 .3, 6.", dims(3, 18)),
    (15, "operation 1: bias .*float32 .3,.", setting("tensors.4.dtype", 3)),
    (15, "STANDARDISE: groups .*int32 .3,.", dims(0, 3, 1)),
    (16, "activations", setting(f"{Q1}.p0", 0)),
    (16, "SCORE", setting(f"{INT8_PROGRAM}.op3.p2", 2)),
    (16, "SCORE", setting(f"{INT8_PROGRAM}.op3.p0", 1)),
    (16, "STANDARDISE", setting(f"{INT8_PROGRAM}.op0.t1", 2)),
    (16, "latent buffer", setting(f"{INT8_PROGRAM}.latent", -1)),
    (16, "widths", setting(f"{INT8_PROGRAM}.width2", 4)),
    (17, "operation 1: alpha", twice("op1.p1", 1)),
    (17, "operation 2: alpha", twice("op2.p1", 2**31)),
    (18, "int8, operation 1: weight", filling(Q1, 0, -128)),
    (18, "int8, operation 1: weight_scale", filling(Q1, 1, 0)),
    (18, "int8, operation 1: weight_scale", filling(Q1, 1, -1)),
    (19, "groups", filling(S1, 0, 0)),
    (19, "groups", same_group_twice),
    (19, "groups", lambda hand: hand.operand(S1, 0).__setitem__(1, -1)),
    (19, "inv_scale", filling(S1, 2, 0)),
    (19, "inv_scale", filling(S1, 2, -0.5)),
    (20, "residual_weight", filling(SCORE, 0, 0)),
    (20, "expected_square", filling(SCORE, 1, -1)),
    (20, "present_gain", filling(SCORE, 2, -1)),
    (20, "present_offset", filling(SCORE, 3, -1)),
    (20, "present_offset of all tests", last_offset),
    *[
        (20, says, twice(f"op3.{name}", value))
        for says, name, value in [
            ("min_present", "p2", 0),
            ("min_present", "p2", 7),
            ("k of topk", "p1", 0),
            ("k of topk", "p1", 7),
            ("k of normalized", "p0", 1),
        ]
    ],
    # points
    (21, "number of programs", setting("points.n_programs", 1)),
    (21, "number of scale limits", setting("points.n_limits", 1)),
    (21, "number of scale limits", setting("points.n_limits", 2**32 - 1)),
    (21, "scale limits", setting("points.limit0", 0)),
    (21, "scale limits", setting("points.limit1", NAN)),
    (22, "yield losses", setting("points.0.fpr", 0.005)),
    (22, "yield losses", setting("points.0.fpr", 0.01)),
    (22, "yield losses", setting("points.0.fpr", 0)),
    (22, "yield losses", setting("points.2.fpr", 1)),
    (22, "default yield loss", setting("points.default", 0.0050001)),
    (23, "point 1: band", setting("points.1.lo", 2.001)),
    (23, "point 1: band", setting("points.1.hi", 1.999)),
    # golden dies
    (24, "number of programs", setting("golden.n_programs", 1)),
    (24, "score bits fp32", setting("golden.0.fp32", 0x7F800000)),
    (24, "score bits int8", setting("golden.0.int8", 0x7FC00001)),
    (24, "score bits int8", setting("golden.0.int8", 0xFFC00000)),
    (24, "score bits fp32", all_nan),
    # texts for people
    *[
        (25, "manifest", replacing("manifest", data))
        for data in (
            b"",
            b"null",
            b"[]",
            b"{}",
            b"{",
            b"\xff",
            SECTIONS["manifest"] + b" ",
            SECTIONS["manifest"].replace(b'"seed":7', b'"seed": 7'),
            SECTIONS["manifest"].replace(b'"seed":7', b'"seed":7,"seed":7'),
            SECTIONS["manifest"].replace(b'"seed":7', b'"seed":NaN'),
            SECTIONS["manifest"].replace(b'"seed":7', b'"seed":7.0'),
            SECTIONS["manifest"].replace(b'"seed":7', b'"seed":' + b"9" * 400),
            SECTIONS["manifest"].replace(b'"seed":7', b'"seed":' + b"9" * 5000),
            SECTIONS["manifest"].replace(b'"facts":{"x":0.5}', b'"facts":{"x":1e999}'),
            SECTIONS["manifest"].replace(b'"facts":{"x":0.5}', b'"facts":{"x":5e-1}'),
            SECTIONS["manifest"].replace(rb"\u00e9", "é".encode()),
            SECTIONS["manifest"].replace(rb"\u00e9", rb"\u00E9"),
            SECTIONS["manifest"].replace(rb"\u00e9", rb"\ud800"),
            SECTIONS["manifest"][:-1] + b',"zzz":' + b"[" * 5000 + b"]" * 5000 + b"}",
        )
        if data
    ],
    (25, "manifest", manifest(lambda m: m.pop("drift"))),
    (25, "manifest", manifest(lambda m: m["provenance"].update(more=1))),
    (25, "manifest", manifest(lambda m: m["provenance"].pop("seed"))),
    (25, "manifest", manifest(lambda m: m["provenance"].update(created=5))),
    (25, "manifest", manifest(lambda m: m["provenance"].update(notes="text"))),
    (25, "manifest", manifest(lambda m: m["provenance"].update(dropped={"x": True}))),
    (25, "manifest", manifest(lambda m: m["provenance"].update(sources=[3]))),
    (25, "manifest", manifest(lambda m: m["provenance"].update(seed=2**60))),
    (25, "manifest", manifest(lambda m: m["drift"][0].update(error_median=10**300))),
    (25, "manifest", manifest(lambda m: m["evaluation"].update(curves=[{}]))),
    (25, "certificate", replacing("certificate", b"[]")),
    *[
        (25, "certificate", replacing("certificate", b'{"a":' + value + b"}"))
        for value in (b"NaN", b"Infinity", b"-Infinity", b"1e999")
    ],
    *[
        (25, "half", replacing("certificate", b'{"a":"' + value + b'"}'))
        for value in (rb"\ud800", rb"\udc00", rb"\udc00\ud800", rb"\ud800x\udc00", rb"\ud800\n")
    ],
    (25, "certificate", replacing("certificate", b'{"b":1,"a":2}')),
    (26, "manifest", replacing("manifest", b'{"a":[' + b"[]," * 9000 + b"0]}")),
    (26, "32 levels", replacing("certificate", b'{"a":' * 33 + b"0" + b"}" * 33)),
    (26, "certificate", replacing("certificate", b'{"a":"' + b"x" * 131_072 + b'"}')),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "says", "change"), RULES)
def test_a_rule_of_the_sections(rule, says, change):
    hand = ByHand(DATA)
    change(hand)
    data = hand.build()
    assert data != DATA
    refused(data, rule, says)


OTHERS = [
    (LEAKY, 8, "operation 1: alpha", twice("op1.p1", 0x7FC00000)),
    (LEAKY, 16, "activations", setting(f"{Q1}.p1", 0)),
    (LEAKY, 20, "k of mahalanobis", twice("op3.p1", 1)),
    (LEAKY, 15, "number of tensors", twice("op3.p0", 1)),
    (LEAKY, 8, "data", filling(SCORE, 4, NAN)),
    (LEAKY, 15, "SCORE: subtract", dims(12, 2, 7)),
    (INT8, 15, "opcode", setting(f"{INT8_PROGRAM}.op1.opcode", 2)),
    (INT8, 15, "program fp32, operation 1", setting("program.0.precision", 0)),
    (INT8, 15, "number of tensors", both(setting(f"{INT8_PROGRAM}.op3.p0", 3))),
    (PAT, 15, "program int8: layers", setting("program.0.precision", 1)),
    (PAT, 15, "latent buffer", setting(f"{FP32}.latent", 1)),
    (PAT, 15, "reconstruction buffer", setting(f"{FP32}.reconstruction", 1)),
    (PAT, 21, "number of scale limits", setting("points.n_limits", 1)),
    (PAT, 20, "k of mse", setting(f"{FP32}.op1.p1", 1)),
]  # fmt: skip


@pytest.mark.parametrize(("data", "rule", "says", "change"), OTHERS)
def test_a_rule_of_other_models(data, rule, says, change):
    hand = ByHand(data)
    assert hand.build() == data
    change(hand)
    refused(hand.build(), rule, says)


def test_two_programs_of_one_precision():
    hand = ByHand(INT8)
    program = hand.sections["program"]
    hand.sections["program"] = program[:4] + struct.pack("<I", 2) + program[8:] * 2
    refused(hand.build(), 16, "precisions")


def test_tensors_left_over():
    hand = ByHand(DATA)
    hand["program.n"] = 1
    start_of_int8 = hand.places["program.1.precision"][1]
    del hand.sections["program"][start_of_int8:]
    refused(hand.build(), 13, "number of tensors: expected 11, found 17")


def test_every_numbered_rule_is_broken_here():
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    numbers = {int(n) for n in re.findall(r"^(\d+)\. ", page, re.MULTILINE)}
    assert numbers == set(range(1, 27))
    broken = {rule for rule, *_ in SHELLS} | {rule for rule, *_ in RULES}
    assert broken == numbers


def test_json_may_nest_as_deep_as_the_page_says():
    hand = ByHand(DATA)
    hand.sections["certificate"] = bytearray(b'{"a":' * 32 + b"0" + b"}" * 32)
    decode(hand.build(), "model.kgd")


def test_golden_values_may_be_anything():
    hand = ByHand(DATA)
    hand["golden.0.value0"] = float("-inf")
    found = decode(hand.build(), "model.kgd").model
    assert np.isneginf(found.golden.values[0, 0])
