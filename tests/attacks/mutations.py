"""Changed copies of small sealed files, drawn from a seed: what an accident or a forger might do.

A `Mutator` knows every field of its file by name (`kgd_by_hand`), so that it can tell what a change
hit: the *structure* (magic, table, padding, counts, offsets, dims, dtypes, operations), a *value*
(a weight, a threshold, a name), or the *text* for people. It makes digests right on demand.
"""

from __future__ import annotations

import math
import random
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from kgd_by_hand import ByHand, build, read_sections, resealed, with_file_digest
from numpy.typing import NDArray

from knowngood._kgd import list_contents

Digests = Literal["left", "file digest", "both"]
"""Which digests fit the changed bytes: none of them, ``file_digest``, or ``model_id`` as well."""
DIGESTS: tuple[Digests, ...] = ("left", "file digest", "both")
DECIDING = ("schema", "program", "tensors", "points")
TEXTS = ("manifest", "certificate")
_STRUCTURE = re.compile(
    r"\.(size|n|zero|dtype|ndim|dim\d|offset|opcode|out|precision|reconstruction"
    r"|n_\w+|in\d+|t\d+|width\d+)$"
)
_NUMBER = re.compile(r"(?<!int)(?<!fp)(?<!fp3)\d+(?=\.|$)")
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-40, 5e-324, 3.4e38, -3.4e38, float("inf"), float("nan"), 1e300)
_WORDS = (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"A", b"../", b"<b>", b"\x1b[2J", "é".encode())


@dataclass(frozen=True)
class Place:
    """A field at an offset of the whole file; ``layout`` is that of ``struct``."""

    name: str
    at: int
    layout: str

    @property
    def end(self) -> int:
        return self.at + struct.calcsize(self.layout)


@dataclass(frozen=True)
class Mutant:
    """A changed file.

    Attributes:
        kind: of change.
        digests: which of them were made right.
        is_free: a text is another, or the optional certificate gone, and everything else fits.
    """

    data: bytes
    kind: str
    digests: Digests
    is_free: bool = False


@dataclass(frozen=True)
class Tensor:
    """A tensor's data at an offset of the whole file; ``dtype`` as NumPy writes it."""

    name: str
    at: int
    count: int
    dtype: str

    @property
    def item_bytes(self) -> int:
        return int(self.dtype[-1])

    @property
    def end(self) -> int:
        return self.at + self.count * self.item_bytes


@dataclass(frozen=True)
class Change:
    """What a kind of change makes of a file, before digests are looked at."""

    data: bytes
    is_free: bool = False


@dataclass
class Mutator:
    """Mutants of one file, the same ones for the same seed."""

    base: bytes
    seed: int
    sections: Mapping[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.sections = read_sections(self.base)
        self._starts = _starts(self.base)
        self._fields = _fields(self.base, self._starts)
        self._structure = [p for p in self._fields if _STRUCTURE.search(p.name)]
        self._values = [p for p in self._fields if not _STRUCTURE.search(p.name)]
        start = self._starts["tensors"]
        names = list_contents(self.base).tensors
        self._tensors = [
            Tensor(name, start + at, math.prod(shape), dtype)
            for name, (dtype, at, shape) in zip(names, ByHand(self.base).tensors, strict=True)
        ]
        self._is_value = self._value_mask()
        self._kinds: dict[str, Callable[[], Change]] = {
            "bits": self._flip_bits,
            "bytes": self._set_bytes,
            "splice": self._splice,
            "truncation": self._truncate,
            "growth": self._grow,
            "table": self._edit_table,
            "order of sections": self._reorder,
            "section grown or cut": self._resize_section,
            "structure": self._edit_structure,
            "value": self._edit_values,
            "tensor": self._edit_tensor,
            "text": self._edit_text,
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of change."""
        return tuple(self._kinds)

    def mutant(self) -> Mutant:
        """The next one; its bytes are never those of the base."""
        while True:
            kind = self._random.choice(self.kinds)
            digests = self._random.choice(DIGESTS)
            change = self._kinds[kind]()
            data = _with_digests(change.data, digests)
            if data != self.base:
                return Mutant(data, kind, digests, change.is_free)

    def changed_sections(self, mutant: Mutant) -> frozenset[str]:
        """Names of the sections whose bytes are others than the base's."""
        found = read_sections(mutant.data)
        names = [name for name in self.sections if found.get(name) != self.sections[name]]
        return frozenset(names)

    def changed_fields(self, mutant: Mutant) -> tuple[str, ...]:
        """What was changed, by field and without numbers: ``points.*.fp32.threshold``."""
        if len(mutant.data) != len(self.base):
            return ()
        data, base = mutant.data, self.base
        items: tuple[Place | Tensor, ...] = (*self._values, *self._tensors)
        changed = {
            item.name for item in items if data[item.at : item.end] != base[item.at : item.end]
        }
        return tuple(sorted({re.sub(r"\d+(?=\.|$)", "*", name) for name in changed}))

    def is_structural(self, mutant: Mutant) -> bool:
        """Whether more changed than values, texts and digests, so that no file may hold it."""
        if mutant.is_free:
            return False
        if len(mutant.data) != len(self.base):
            return True
        found, base = (np.frombuffer(data, np.uint8) for data in (mutant.data, self.base))
        return bool((found != base)[~self._is_value].any())

    def _value_mask(self) -> NDArray[np.bool_]:
        """True for each byte of a value, a text, or a digest.

        The sizes of names count as values: edited together they are a legal file of other names.
        """
        mask = np.zeros(len(self.base), dtype=np.bool_)
        mask[32:96] = True
        sizes = [place for place in self._structure if place.name.endswith(".size")]
        items: tuple[Place | Tensor, ...] = (*self._values, *self._tensors, *sizes)
        for item in items:
            mask[item.at : item.end] = True
        for name in TEXTS:
            if name in self.sections:
                mask[self._starts[name] :][: len(self.sections[name])] = True
        return mask

    def _flip_bits(self) -> Change:
        data = bytearray(self.base)
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
            bit = self._random.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
        return Change(bytes(data))

    def _set_bytes(self) -> Change:
        data = bytearray(self.base)
        n_bytes = self._random.choice((1, 1, 2, 4, 8, 16))
        at = self._random.randrange(len(data) - n_bytes)
        fill = self._random.choice((bytes(n_bytes), b"\xff" * n_bytes, None))
        data[at : at + n_bytes] = self._random.randbytes(n_bytes) if fill is None else fill
        return Change(bytes(data))

    def _splice(self) -> Change:
        """Some bytes of the file put in another of its places."""
        data = bytearray(self.base)
        n_bytes = self._random.randint(1, 256)
        source, target = (self._random.randrange(len(data) - n_bytes) for _ in range(2))
        data[target : target + n_bytes] = self.base[source : source + n_bytes]
        return Change(bytes(data))

    def _truncate(self) -> Change:
        near = len(self.base) - self._random.randint(1, 256)
        end = self._random.choice((near, self._random.randrange(len(self.base))))
        return Change(self._sized(self.base[:end]))

    def _grow(self) -> Change:
        n_bytes = self._random.choice((1, 63, 64, 128, self._random.randint(1, 4096)))
        more = self._random.choice((bytes(n_bytes), self._random.randbytes(n_bytes)))
        at = self._random.choice((len(self.base), len(self.base) - 128, self._anywhere()))
        return Change(self._sized(self.base[:at] + more + self.base[at:]))

    def _anywhere(self) -> int:
        return self._random.randrange(len(self.base))

    def _sized(self, data: bytes) -> bytes:
        """With the size in the header made right, or left."""
        if len(data) < 24 or self._random.random() < 0.2:
            return data
        return data[:16] + struct.pack("<Q", len(data)) + data[24:]

    def _edit_table(self) -> Change:
        data = bytearray(self.base)
        entry = 96 + 32 * self._random.randrange(len(self.sections))
        at = entry + self._random.choice((16, 24))
        old = struct.unpack_from("<Q", data, at)[0]
        struct.pack_into("<Q", data, at, self._other_count(old, 64))
        return Change(bytes(data))

    def _reorder(self) -> Change:
        """Sections swapped, in each other's name, left out, renamed, emptied; the table fits."""
        items = list(self.sections.items())
        i, j = self._random.sample(range(len(items)), 2)
        choice = self._random.randrange(6)
        if choice == 0:
            items[i], items[j] = items[j], items[i]
        elif choice == 1:
            items[i] = (items[i][0], items[j][1])
        elif choice == 2:
            del items[i]
        elif choice == 3:
            items[i] = (f"{items[i][0][:10]}{j}", items[i][1])
        elif choice == 4:
            items[i] = (items[i][0], b"")
        is_legal = (choice == 1 and items[i][0] in TEXTS) or (
            choice == 2 and "certificate" not in dict(items)
        )
        change = self._rebuilt(dict(items), is_free=is_legal)
        return Change(self._tagged_twice(change.data, i, j)) if choice == 5 else change

    def _rebuilt(self, sections: Mapping[str, bytes], *, is_free: bool = False) -> Change:
        """The file around other sections, with the digests that it had."""
        data = build(dict(sections))
        return Change(data[:32] + self.base[32:96] + data[96:], is_free)

    def _tagged_twice(self, data: bytes, i: int, j: int) -> bytes:
        """Two entries of the table have one name."""
        tags = [slice(96 + 32 * index, 112 + 32 * index) for index in (i, j)]
        return data[: tags[0].start] + data[tags[1]] + data[tags[0].stop :]

    def _resize_section(self) -> Change:
        """Bytes put into or taken from a section, whose new size the table has."""
        name = self._random.choice(list(self.sections))
        section = self.sections[name]
        at = self._random.choice((len(section), self._random.randrange(len(section))))
        n_bytes = self._random.choice((1, 4, 8, 64))
        more = self._random.choice((bytes(n_bytes), self._random.randbytes(n_bytes), b""))
        rest = section[at + n_bytes :] if not more else section[at:]
        changed = {**self.sections, name: section[:at] + more + rest}
        return self._rebuilt(changed, is_free=name in TEXTS)

    def _edit_structure(self) -> Change:
        """Counts, sizes, offsets, dims, dtypes, operations: one of them or a few."""
        data = bytearray(self.base)
        for _ in range(self._random.choice((1, 1, 2, 3))):
            place = self._random.choice(self._structure)
            old = struct.unpack_from(place.layout, data, place.at)[0]
            bits = 8 * struct.calcsize(place.layout)
            other = self._other_count(old, bits) & ((1 << bits) - 1)
            data[place.at : place.end] = other.to_bytes(bits // 8, "little")
        return Change(bytes(data))

    def _other_count(self, old: int, bits: int) -> int:
        edges = (0, 1, old + 1, old - 1, 2 * old, old + 64, 1 << (bits - 1), (1 << bits) - 1)
        drawn = self._random.choice((*edges, self._random.randrange(1 << 16)))
        return drawn & ((1 << bits) - 1)

    def _edit_values(self) -> Change:
        data = bytearray(self.base)
        for _ in range(self._random.choice((1, 1, 1, 2))):
            place = self._random.choice(self._values)
            data[place.at : place.end] = self._other_value(place)
        return Change(bytes(data))

    def _other_value(self, place: Place) -> bytes:
        size, code = place.end - place.at, place.layout[-1]
        if code == "s":
            word = self._random.choice((*_WORDS, self._random.randbytes(2)))
            return (self.base[place.at : place.end - len(word)] + word)[-size or size :]
        if code in "fd":
            return self._other_float(code, self.base[place.at : place.end])
        old = int.from_bytes(self.base[place.at : place.end], "little")
        return self._other_count(old, 8 * size).to_bytes(size, "little")

    def _other_float(self, code: str, old: bytes) -> bytes:
        """A special number, the next one, or one of another sign or size."""
        number = struct.unpack(f"<{code}", old)[0]
        scaled = number * self._random.choice((-1, 0.5, 0.99, 1.01, 2))
        drawn = self._random.choice((*_FLOATS, scaled, scaled, scaled, None))
        if drawn is None:
            return (int.from_bytes(old, "little") ^ 1).to_bytes(len(old), "little")
        try:
            return struct.pack(f"<{code}", drawn)
        except OverflowError:
            return struct.pack(f"<{code}", float("inf"))

    def _edit_tensor(self) -> Change:
        data = bytearray(self.base)
        tensor = self._random.choice(self._tensors)
        size = tensor.item_bytes
        at = tensor.at + size * self._random.randrange(tensor.count)
        old = self.base[at : at + size]
        if tensor.dtype[-2] == "f":
            data[at : at + size] = self._other_float({4: "f", 8: "d"}[size], old)
        else:
            other = self._other_count(int.from_bytes(old, "little"), 8 * size)
            data[at : at + size] = other.to_bytes(size, "little")
        return Change(bytes(data))

    def _edit_text(self) -> Change:
        """The JSON of manifest or certificate with a few characters others, more or fewer."""
        name = self._random.choice([name for name in TEXTS if name in self.sections])
        text = bytearray(self.sections[name])
        at = self._random.randrange(len(text))
        n_bytes = self._random.choice((0, 1, 1, 2, 8))
        word = self._random.choice((b"", b"0", b"x", b"[", b"1e999", b"NaN", b'","', b"\\ud800"))
        text[at : at + n_bytes] = word
        return self._rebuilt({**self.sections, name: bytes(text)}, is_free=True)


def _starts(data: bytes) -> dict[str, int]:
    n_sections = struct.unpack_from("<I", data, 12)[0]
    table = [struct.unpack_from("<16sQQ", data, 96 + 32 * i) for i in range(n_sections)]
    return {tag.rstrip(b"\0").decode(): at for tag, at, _ in table}


def _fields(data: bytes, starts: Mapping[str, int]) -> list[Place]:
    places = ByHand(data).places.items()
    fields = [Place(name, starts[s] + at, layout) for name, (s, at, layout) in places]
    return [place for place in fields if place.end > place.at]


def _with_digests(data: bytes, digests: Digests) -> bytes:
    """The same bytes, with the digests right as far as the file still has a place for them."""
    if digests == "left" or len(data) < 96 + 128:
        return data
    if digests == "both":
        try:
            return resealed(data)
        except (struct.error, UnicodeDecodeError):
            pass
    return with_file_digest(data)
