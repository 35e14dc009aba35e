"""Lot files that must be refused, each made from a good lot, and what the refusal has to say."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from knowngood._lot import Lot
from knowngood.stdf import write_lot

Write = Callable[[Path, Lot], object]


@dataclass(frozen=True)
class BadLot:
    """A file ``name`` that ``write`` makes of a good lot; every refusal names the file too.

    Attributes:
        says: what ``score`` has to say besides the file's name.
        by: who refuses it: "reader" (any verb), "content" (any verb but ``inspect``, which says
            what little there is), "tests" (only against a model), "purpose" (against a model, and
            beside another lot in training).
    """

    name: str
    write: Write
    says: tuple[str, ...]
    by: str = "reader"


def holding(data: bytes) -> Write:
    return lambda path, lot: path.write_bytes(data)


def stdf_bytes(path: Path, lot: Lot) -> bytes:
    write_lot(path, lot)
    return path.read_bytes()


def keeping_records(*kept: tuple[int, int]) -> Write:
    """An STDF of a good lot's records of these types (REC_TYP, REC_SUB) only."""

    def write(path: Path, lot: Lot) -> None:
        data = stdf_bytes(path, lot)
        path.write_bytes(b"".join(r for r in records(data) if (r[2], r[3]) in kept))

    return write


def records(data: bytes) -> list[bytes]:
    """The records of a little-endian STDF file."""
    found, place = [], 0
    while place < len(data):
        end = place + 4 + struct.unpack_from("<H", data, place)[0]
        found.append(data[place:end])
        place = end
    return found


def with_purpose(**fields: str) -> Write:
    def write(path: Path, lot: Lot) -> None:
        schema = replace(lot.schema, purpose=replace(lot.schema.purpose, **fields))
        write_lot(path, replace(lot, schema=schema))

    return write


def with_test(column: int, **fields: object) -> Write:
    """One test said to be another."""

    def write(path: Path, lot: Lot) -> None:
        tests = list(lot.schema.tests)
        tests[column] = replace(tests[column], **fields)
        write_lot(path, replace(lot, schema=replace(lot.schema, tests=tuple(tests))))

    return write


def with_names_swapped(path: Path, lot: Lot) -> None:
    first, second, *others = lot.schema.tests
    tests = (replace(first, name=second.name), replace(second, name=first.name), *others)
    write_lot(path, replace(lot, schema=replace(lot.schema, tests=tests)))


def without_test(path: Path, lot: Lot) -> None:
    columns = range(1, lot.schema.n_tests)
    write_lot(path, Lot(lot.values[:, 1:], lot.schema.select(columns), lot.dies, lot.facts))


def cut(write: Write, share: float) -> Write:
    """The first ``share`` of a file."""

    def write_cut(path: Path, lot: Lot) -> None:
        write(path, lot)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return write_cut


def as_parquet(path: Path, lot: Lot) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    columns = {t.label: lot.values[:, i] for i, t in enumerate(lot.schema.tests)}
    parquet.write_table(pa.table(columns), path)


def as_npz(path: Path, lot: Lot) -> None:
    np.savez(path, values=lot.values)


def array(make: Callable[[Lot], np.ndarray]) -> Write:
    return lambda path, lot: np.save(path, make(lot))


def csv_of(change: Callable[[list[list[str]]], list[list[str]]]) -> Write:
    """A CSV of the lot, after ``change`` had its rows, the header first."""

    def write(path: Path, lot: Lot) -> None:
        rows = [[f"{t.label} [{t.units}]" for t in lot.schema.tests]]
        rows += [[repr(float(v)) for v in row] for row in np.nan_to_num(lot.values)]
        path.write_text("\n".join(",".join(row) for row in change(rows)) + "\n")

    return write


def cell_changed(row: int, column: int, text: str) -> Write:
    def change(rows: list[list[str]]) -> list[list[str]]:
        rows[row][column] = text
        return rows

    return csv_of(change)


FAR = struct.pack("<HBBBB", 2, 0, 10, 2, 4)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
NOISE = np.random.default_rng(7).bytes(4096)

NOT_LOTS = (
    BadLot("empty.stdf", holding(b""), ("empty",)),
    BadLot("empty.csv", holding(b""), ("empty",)),
    BadLot("folder.stdf", lambda path, lot: path.mkdir(), ("folder",)),
    BadLot("notes.stdf", holding(b"lot 7 looked odd\n"), ("STDF",)),
    BadLot("picture.stdf", holding(PNG), ("STDF",)),
    BadLot("noise.stdf", holding(NOISE), ("STDF",)),
    BadLot("noise.csv", holding(NOISE), ()),
    BadLot("noise.parquet", holding(NOISE), ("no parquet file",)),
    BadLot("noise.npz", holding(NOISE), ("no npz file",)),
    BadLot("noise.npy", holding(NOISE), ("no npy file",)),
    BadLot("lot.xlsx", holding(NOISE), (".stdf", ".csv", ".parquet")),
    BadLot("lot", holding(b"1,2,3\n"), ("cannot tell what this file is", ".stdf")),
    BadLot("stdf_inside.csv", lambda p, lot: write_lot(p, lot), ("named like csv", "holds stdf")),
    BadLot("table.parquet", csv_of(lambda rows: rows), ("no parquet file",)),
    BadLot("model.stdf", holding(b"\x08\x08\x12\x09knowngood"), ("STDF",)),
)
STDF_WITHOUT_LOT = (
    BadLot("half_a_header.stdf", holding(FAR[:5]), ("ends inside its FAR record", "byte 5")),
    BadLot("header_alone.stdf", holding(FAR), ("no dies", "PRR"), "content"),
    BadLot("version_3.stdf", holding(FAR[:5] + b"\x03"), ("version 3", "4")),
    BadLot(
        "no_dies.stdf", keeping_records((0, 10), (1, 10), (1, 20)), ("no dies", "PRR"), "content"
    ),
    BadLot(
        "no_results.stdf",
        keeping_records((0, 10), (1, 10), (5, 10), (5, 20), (1, 20)),
        ("no parametric results", "PTR"),
        "content",
    ),
    BadLot("not_packed.stdf.gz", holding(b"\x1f\x8b" + NOISE), ("cannot read",)),
    BadLot("torn.stdf.gz", holding(gzip.compress(FAR, mtime=0)[:12]), ()),
    BadLot("text.stdf.gz", holding(gzip.compress(b"lot 7\n" * 9, mtime=0)), ("STDF",)),
)
DAMAGED_TABLES = (
    BadLot("cut.parquet", cut(as_parquet, 0.5), ("Parquet",)),
    BadLot("cut.npz", cut(as_npz, 0.5), ()),
    BadLot("cut.npy", cut(array(lambda lot: lot.values), 0.5), ()),
    BadLot("row.npy", array(lambda lot: lot.values[0]), ("dies", "tests", f"({24},)")),
    BadLot("cube.npy", array(lambda lot: lot.values[np.newaxis]), ("dies", "tests")),
    BadLot("no_dies.npy", array(lambda lot: lot.values[:0]), ("no dies",)),
    BadLot("no_tests.npy", array(lambda lot: lot.values[:, :0]), ("no tests",)),
    BadLot("complex.npy", array(lambda lot: lot.values * 1j), ("complex",)),
    BadLot("texts.npy", array(lambda lot: lot.values.astype(str)), ("numbers",)),
    BadLot("objects.npy", array(lambda lot: lot.values.astype(object)), ("Python objects",)),
    BadLot("unnamed.npz", lambda p, lot: np.savez(p, q=lot.values), ("'values'", "q")),
    BadLot("header.csv", csv_of(lambda rows: rows[:1]), ("no ",)),
    BadLot("ragged.csv", csv_of(lambda rows: [*rows[:3], rows[3][:-1]]), ("line 4", "23", "24")),
    BadLot("words.csv", cell_changed(5, 2, "high"), ("line 6", "'high'")),
    BadLot("comma.csv", cell_changed(5, 2, '"1,5"'), ("line 6", "1,5")),
    BadLot(
        "twice.csv",
        csv_of(lambda rows: [[*row[:-1], row[0]] for row in rows]),
        ("column", "more than once"),
    ),
)
OTHER_LOTS = (
    BadLot("units.stdf", with_test(3, units="furlong"), ("units", "'furlong'"), "purpose"),
    BadLot("renamed.stdf", with_test(3, name="OTHER"), ("is not in the data", "OTHER"), "tests"),
    BadLot("renumbered.stdf", with_test(3, number=77), ("is not in the data", "77"), "tests"),
    BadLot("pinned.stdf", with_test(3, pin="CLK"), ("is not in the data", "@CLK"), "tests"),
    BadLot("swapped.stdf", with_names_swapped, ("2 differences", "is not in the data"), "tests"),
    BadLot("absent.stdf", without_test, ("is not in the data",), "tests"),
    BadLot(
        "temperature.stdf", with_purpose(temperature="-40"), ("temperature", "'-40'"), "purpose"
    ),
    BadLot("part.stdf", with_purpose(part_type="KG2"), ("part type", "'KG2'"), "purpose"),
    BadLot("flow.stdf", with_purpose(flow="QC9"), ("flow", "'QC9'"), "purpose"),
    BadLot("narrow.npy", array(lambda lot: lot.values[:, 1:]), ("23", "24"), "purpose"),
    BadLot("wide.npy", array(lambda lot: np.c_[lot.values, lot.values]), ("48", "24"), "purpose"),
)
ALL_BAD_LOTS = (*NOT_LOTS, *STDF_WITHOUT_LOT, *DAMAGED_TABLES, *OTHER_LOTS)
