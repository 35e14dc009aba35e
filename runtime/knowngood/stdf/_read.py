"""A whole STDF file as a lot, or as a summary that needs no memory for its values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError
from .._lot import Lot, LotFacts
from .._schema import Schema, Test
from ._assemble import Assembler
from ._layout import RECORD_NAMES
from ._stream import StdfStream
from ._tests import TestRegister
from ._values import GrowingValues


@dataclass(frozen=True)
class StdfSummary:
    """What a file holds, counted without keeping its values.

    Attributes:
        facts: what the file said of itself.
        schema: every test that reached a die, and what the lot was tested as.
        lots, wafers: LOT_ID of each MIR and WAFER_ID of each WIR, in file order.
        n_dies: PRR records: die attempts.
        n_fails: attempts that the tester failed.
        n_dies_without_data: attempts without a single parametric result.
        n_results: results (PTR, and each pin of an MPR) inside dies, invalid ones included.
        sites: every (head, site) that a die was tested on, sorted.
    """

    facts: LotFacts
    schema: Schema
    lots: tuple[str, ...]
    wafers: tuple[str, ...]
    n_dies: int
    n_fails: int
    n_dies_without_data: int
    n_results: int
    sites: tuple[tuple[int, int], ...]


def read_stdf(path: str | Path, *, schema: Schema | None = None) -> Lot:
    """Read an STDF V4 file, plain or gz, into a lot.

    One row per PRR in file order, one column per (TEST_NUM, TEST_TXT, pin) of PTR and MPR in the
    order of their first result. Values are as stored (scales are for display). A result is missing
    (NaN) if its TEST_FLG has any of bits 0–5 set; of a test that ran twice in a die the later
    result counts. Where the file breaks off, the dies before are kept. What was unusual and
    tolerated is in ``lot.facts.odd``.

    Args:
        path: the file.
        schema: keep only these tests, in this order; others cost no memory. The file must fit it by
            the rules of ``Schema.align``; the columns keep the file's own units and limits.

    Raises:
        InputError: not STDF V4, empty, or damaged, with the byte; a test in two units.
        SchemaMismatchError: the file does not fit ``schema``.
    """
    values = GrowingValues()
    with StdfStream(path) as stream:
        assembler = Assembler(stream.byte_order, TestRegister(stream.byte_order, schema), values)
        broken = _feed(stream, assembler)
    _refuse_mixed_units(stream, assembler)
    n_repeated = assembler.n_results - values.n_filled()
    dies, order = assembler.dies.finish()
    tests, columns, notes = _choose(assembler, schema)
    if n_repeated:
        notes += (f"{n_repeated} results of tests that ran again in the same die; the last counts",)
    matrix = values.finish(order, columns)
    facts = _facts(stream, assembler, broken + notes)
    return Lot(matrix, Schema(tests, assembler.dies.purpose), dies, facts)


def _refuse_mixed_units(stream: StdfStream, assembler: Assembler) -> None:
    """Results in different units make no column, and one cannot say which are meant."""
    mixed = assembler.register.mixed_units()
    if mixed:
        more = f" (and {len(mixed) - 1} tests more)" if len(mixed) > 1 else ""
        raise InputError(
            f"{stream.path}: {mixed[0]}{more}; expected one unit for each test of a file. "
            "Split the file where the test program changed"
        )


def summarise(path: str | Path) -> StdfSummary:
    """Read a file for what it holds; memory stays flat whatever its size.

    Raises:
        InputError: not STDF V4, empty, or damaged, with the byte.
    """
    with StdfStream(path) as stream:
        assembler = Assembler(stream.byte_order, TestRegister(stream.byte_order), None)
        broken = _feed(stream, assembler)
    dies, order = assembler.dies.finish()
    places = {(int(h), int(s)) for h, s in zip(dies.head, dies.site, strict=True)}
    with_data = assembler.rows_with_data
    tests, _, _ = _choose(assembler, None)
    return StdfSummary(
        facts=_facts(stream, assembler, broken),
        schema=Schema(tests, assembler.dies.purpose),
        lots=assembler.dies.lots,
        wafers=assembler.dies.wafers,
        n_dies=len(dies),
        n_fails=int(np.count_nonzero(dies.tester_pass == 0)),
        n_dies_without_data=int(
            len(dies) - np.count_nonzero(with_data[order[order < len(with_data)]])
        ),
        n_results=assembler.n_results,
        sites=tuple(sorted(places)),
    )


def _feed(stream: StdfStream, assembler: Assembler) -> tuple[str, ...]:
    """Run the whole file through; returns where it broke off, if it did."""
    offset, rest = 0, b""
    for block in stream.chunks():
        chunk = rest + block
        used = assembler.feed(chunk)
        offset, rest = offset + used, chunk[used:]
    if rest:
        return (f"the file breaks off inside the record at byte {offset}",)
    return ()


def _choose(
    assembler: Assembler, wanted: Schema | None
) -> tuple[tuple[Test, ...], NDArray[np.int64], tuple[str, ...]]:
    """The lot's tests as the file describes them, their columns, and what ``align`` warns of.

    Without a schema these are the tests that reached a die.
    """
    seen = assembler.register.tests()
    if wanted is None:
        columns = np.flatnonzero(assembler.columns_with_data[: len(seen)])
        return tuple(seen[i] for i in columns), columns, ()
    alignment = wanted.align(Schema(seen, assembler.dies.purpose))
    tests = tuple(seen[i] for i in alignment.columns)
    return tests, np.arange(len(tests)), alignment.warnings


def _facts(stream: StdfStream, assembler: Assembler, notes: tuple[str, ...]) -> LotFacts:
    records = assembler.records()
    odd = [*stream.odd, *notes, *assembler.register.odd()]
    odd += [f"{n} {what}" for what, n in assembler.odd.items() if n]
    unknown = {name: n for name, n in records.items() if name not in RECORD_NAMES.values()}
    odd += [f"{n} records of unknown type {name}, skipped" for name, n in unknown.items()]
    odd += [f"no {name} record" for name in ("MIR", "MRR") if name not in records]
    return LotFacts(
        source=str(stream.path),
        kind="stdf",
        byte_order=stream.byte_order,
        tester=assembler.dies.tester,
        records=records,
        odd=tuple(odd),
    )
