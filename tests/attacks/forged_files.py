"""Files that attack the reader, by their number in README.md; digests fit wherever they can."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable

import numpy as np
from kgd_by_hand import ByHand, build, read_sections, with_file_digest

from knowngood._kgd import encode
from sealed_models import HISTORY, tiny_sealed

DATA = encode(tiny_sealed(**HISTORY, certificate='{"flips":{"good":0}}'))
SECTIONS = read_sections(DATA)
NAMES = tuple(SECTIONS)
FP32, INT8 = "program.fp32", "program.int8"
NAN, INFINITY = float("nan"), float("inf")
LARGEST = 2**32 - 1
Edit = Callable[[ByHand], object]


def edited(*edits: Edit) -> bytes:
    """The file after edits of its fields, with both digests right."""
    hand = ByHand(DATA)
    for edit in edits:
        edit(hand)
    return hand.build()


def fields(**values: object) -> Edit:
    """Set fields; ``__`` stands for the dots in their names."""

    def edit(hand: ByHand) -> None:
        for name, value in values.items():
            hand[name.replace("__", ".")] = value

    return edit


def number(operation: str, tensor: int, value: float, at: int = 0) -> Edit:
    """Set a number in a tensor of an operation of the program in fp32, or of ``int8.op…``."""
    name = f"program.{operation}" if operation.startswith("int8") else f"{FP32}.{operation}"
    return lambda hand: hand.operand(name, tensor).flat.__setitem__(at, value)


def shape(tensor: int, *sizes: int) -> Edit:
    """Give a tensor other dims in the table; its data stay."""
    padded = (*sizes, 0, 0, 0)[:4]
    dims = {f"tensors__{tensor}__dim{i}": size for i, size in enumerate(padded)}
    return fields(**dims, **{f"tensors__{tensor}__ndim": len(sizes)})


def in_both(field: str, value: int) -> Edit:
    """Set a field of the program in fp32 and of that in int8."""
    return fields(**{f"program__{p}__{field}": value for p in ("fp32", "int8")})


def section(name: str, data: bytes) -> bytes:
    return build({**SECTIONS, name: data})


def manifest(old: bytes, new: bytes) -> bytes:
    assert old in SECTIONS["manifest"]
    return section("manifest", SECTIONS["manifest"].replace(old, new))


def patched(at: int, layout: str, value: object, seal: Callable[[bytes], bytes]) -> bytes:
    data = bytearray(DATA)
    struct.pack_into(layout, data, at, value)
    return seal(bytes(data))


def entry(index: int, at: int, value: int) -> bytes:
    """Another number in the section table."""
    return patched(96 + 32 * index + at, "<Q", value, with_file_digest)


def reordered(*names: str) -> bytes:
    return build({name: SECTIONS.get(name, b"{}") for name in names})


def tagged_twice() -> bytes:
    return patched(96 + 32 * 2, "<16s", b"program", with_file_digest)


def swollen() -> bytes:
    """A block of zeros before the trailer that the header's size counts."""
    longer = DATA[:16] + struct.pack("<Q", len(DATA) + 64) + DATA[24:-128] + bytes(192)
    return with_file_digest(longer)


def program_edited_under_the_old_model_id() -> bytes:
    forged = edited(number("op1", 0, 0.25))
    return with_file_digest(forged[:64] + DATA[64:96] + forged[96:])


def without_a_pooled_row() -> bytes:
    return edited(lambda hand: hand.operand(f"{FP32}.op0", 0).__setitem__(slice(None), [2, 0, 1]))


def with_an_unused_tensor() -> bytes:
    """The last tensor is one more that no operation names."""
    tensors = bytearray(SECTIONS["tensors"])
    n_tensors = struct.unpack_from("<I", tensors)[0]
    table = 8 + 32 * n_tensors
    first = struct.unpack_from("<Q", tensors, 8 + 24)[0]
    moved = -(-(table + 32) // 64) * 64 - first
    for i in range(n_tensors):
        at = 8 + 32 * i + 24
        struct.pack_into("<Q", tensors, at, struct.unpack_from("<Q", tensors, at)[0] + moved)
    end = -(-(len(tensors) + moved) // 64) * 64
    struct.pack_into("<I", tensors, 0, n_tensors + 1)
    new = struct.pack("<IIIIIIQ", 1, 1, 1, 0, 0, 0, end)
    body = bytes(first + moved - table - 32) + tensors[first:]
    whole = tensors[:table] + new + body
    return section("tensors", bytes(whole) + bytes(end - len(whole)) + bytes(4))


def named_like_another(hand: ByHand) -> None:
    hand["schema.4.number"], hand["schema.4.name"] = hand["schema.1.number"], b"T1"


def no_golden_score(hand: ByHand) -> None:
    for die in range(6):
        hand[f"golden.{die}.int8"] = 0x7FC00000


def last_bit_of_an_output(hand: ByHand) -> None:
    """The head takes the three largest of six residuals; this one is too small to show."""
    bias = hand.operand(f"{FP32}.op2", 1)
    bias[1] = np.nextafter(bias[1], np.float32(1))


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model.kgd", DATA)
    return stream.getvalue()


def deep(n_levels: int) -> bytes:
    return b'{"a":' + b"[" * n_levels + b"]" * n_levels + b"}"


FILES: dict[str, Callable[[], bytes]] = {
    "A01": lambda: DATA[:999] + bytes([DATA[999] ^ 4]) + DATA[1000:],
    "A02": lambda: DATA[:-64],
    "A03": lambda: DATA + b"more",
    "A04": swollen,
    "A05": lambda: DATA.replace(b"\r\n", b"\n"),
    "A06": lambda: patched(10, "<H", 1, with_file_digest),
    "A07": lambda: patched(8, "<H", 0, with_file_digest),
    "A08": lambda: reordered(NAMES[0], NAMES[2], NAMES[1], *NAMES[3:]),
    "A09": tagged_twice,
    "A10": lambda: reordered(*NAMES[:4], NAMES[5], NAMES[6]),
    "A11": lambda: reordered(*NAMES[:6], "weights2"),
    "A12": lambda: entry(1, 16, 320),
    "A13": lambda: entry(0, 24, 2**64 - 1),
    "A14": lambda: section("manifest", b""),
    "A15": lambda: with_file_digest(DATA[:-129] + b"x" + DATA[-128:]),
    "A16": lambda: DATA[:-128] + b"signed!!" + DATA[-120:],
    "A17": lambda: patched(24, "<Q", 7, with_file_digest),
    "A18": lambda: with_file_digest(DATA[:64] + bytes(32) + DATA[96:]),
    "A19": program_edited_under_the_old_model_id,
    "A20": lambda: edited(fields(schema__n_tests=LARGEST)),
    "A21": lambda: edited(fields(tensors__n=LARGEST)),
    "A22": lambda: edited(fields(program__fp32__n_ops=LARGEST)),
    "A23": lambda: edited(fields(program__fp32__n_buffers=LARGEST)),
    "A24": lambda: edited(fields(golden__n_dies=LARGEST)),
    "A25": lambda: edited(fields(points__n_points=LARGEST)),
    "A26": lambda: edited(fields(schema__part_type__size=LARGEST)),
    "A27": lambda: edited(shape(3, LARGEST, LARGEST, LARGEST, LARGEST)),
    "A28": lambda: edited(shape(3, 2**31, 2**31, 4, 18)),
    "A29": lambda: edited(fields(tensors__1__offset=2**64 - 64)),
    "A30": lambda: edited(lambda h: h.__setitem__("tensors.4.offset", h["tensors.3.offset"])),
    "A31": with_an_unused_tensor,
    "A32": lambda: edited(fields(program__int8__op1__t2=4)),
    "A33": lambda: edited(fields(program__fp32__op1__t1=LARGEST)),
    "A34": lambda: edited(shape(3, 72), fields(tensors__3__dtype=4)),
    "A35": lambda: edited(shape(3, 6, 3)),
    "A36": lambda: edited(in_both("width2", 4)),
    "A37": lambda: edited(in_both("width2", 66_001)),
    "A38": lambda: edited(fields(program__fp32__op1__in0=4)),
    "A39": lambda: edited(fields(program__fp32__op1__in0=2)),
    "A40": lambda: edited(fields(program__fp32__op2__out=2)),
    "A41": lambda: edited(fields(program__fp32__op1__opcode=77)),
    "A42": lambda: edited(in_both("op1__p0", 6)),
    "A43": lambda: edited(fields(program__int8__op1__p0=0)),
    "A44": lambda: edited(in_both("op1__p1", 1)),
    "A45": lambda: edited(fields(schema__2__name=b"\xc3(")),
    "A46": lambda: edited(fields(schema__2__name=b"T\0")),
    "A47": lambda: edited(named_like_another),
    "A48": lambda: edited(fields(schema__0__flags=0x83)),
    "A49": lambda: edited(fields(schema__0__flags=2)),
    "A50": lambda: edited(number("op1", 0, NAN)),
    "A51": lambda: edited(number("op2", 1, INFINITY)),
    "A52": lambda: edited(number("op0", 1, NAN)),
    "A53": lambda: edited(number("op0", 2, 0.0)),
    "A54": lambda: edited(number("op0", 2, -1.0)),
    "A55": without_a_pooled_row,
    "A56": lambda: edited(number("op0", 0, 0, at=2)),
    "A57": lambda: edited(number("int8.op1", 0, -128)),
    "A58": lambda: edited(number("int8.op1", 1, -0.5)),
    "A59": lambda: edited(number("op3", 0, 0.0)),
    "A60": lambda: edited(number("op3", 1, 0.0)),
    "A61": lambda: edited(number("op3", 2, -1.0)),
    "A62": lambda: edited(in_both("op3__p1", 7)),
    "A63": lambda: edited(in_both("op3__p2", 0)),
    "A64": lambda: edited(fields(points__0__fp32__threshold=NAN)),
    "A65": lambda: edited(fields(points__0__fpr=0.02, points__2__fpr=0.001)),
    "A66": lambda: edited(fields(points__default=0.01)),
    "A67": lambda: edited(fields(points__2__fpr=1.0)),
    "A68": lambda: edited(fields(points__1__lo=2.5)),
    "A69": lambda: edited(fields(points__limit0=0.0)),
    "A70": lambda: edited(fields(points__n_programs=1)),
    "A71": lambda: edited(no_golden_score),
    "A72": lambda: edited(fields(golden__0__fp32=0x7FA00000)),
    "A73": lambda: section("certificate", deep(200)),
    "A74": lambda: section("certificate", b'{"a":[' + b"0," * 9000 + b"0]}"),
    "A75": lambda: manifest(b'"seed":7', b'"seed":' + b"9" * 5000),
    "A76": lambda: manifest(b'"seed":7', b'"seed":7,"seed":8'),
    "A77": lambda: manifest(b'"x":0.5', b'"x":NaN'),
    "A78": lambda: manifest(rb"\u00e9", rb"\ud800"),
    "A79": lambda: section("certificate", json.dumps({"b": 1, "a": 2}).encode()),
    "A80": lambda: gzip.compress(DATA),
    "A81": zipped,
    "A82": lambda: b"PK\x03\x04" + DATA,
    "A83": lambda: DATA + zipped(),
    "A84": lambda: b"",
    "A85": lambda: edited(number("op1", 0, 0.25)),
    "A86": lambda: edited(number("int8.op2", 0, 77)),
    "A87": lambda: edited(fields(golden__3__fp32=0x43A88B3F)),
    "A117": lambda: edited(last_bit_of_an_output),
    "A118": lambda: edited(fields(golden__int8__digest=bytes(32))),
}
"""Each is refused, at the latest by its golden dies; README.md says by which rule."""
