"""Several lots as one: the same tests side by side, dies one lot after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

import numpy as np

from ._errors import SchemaMismatchError, UsageError
from ._lot import Dies, Lot, LotFacts, mark_attempts_of_files
from ._schema import Purpose, Schema


def merge_lots(lots: Sequence[Lot]) -> Lot:
    """Put lots together that were tested alike.

    The tests are those of the first lot that every lot has, in its order; the others are dropped
    and named in ``facts.odd``, as are differing limits, program names and revisions. A die that
    comes in two lots with the same lot id, wafer and coordinates was tested again: the later
    attempt is the final one. Part ids alone make no retest across files, since every file may
    number its parts from 1.

    Raises:
        UsageError: no lots.
        SchemaMismatchError: other units, part type, temperature or flow, no test in common, or
            bare arrays of different width.
    """
    if not lots:
        raise UsageError("no lots to merge; give at least one")
    if len(lots) == 1:
        return lots[0]
    schema, notes = _merged_schema(lots)
    values = np.concatenate([schema.align(lot.schema).apply(lot.values) for lot in lots])
    return Lot(values, schema, _merged_dies(lots), _merged_facts(lots, notes))


def _merged_schema(lots: Sequence[Lot]) -> tuple[Schema, list[str]]:
    """The schema that all lots share, and what differs without forbidding to merge."""
    _refuse_other_widths(lots)
    everywhere = set.intersection(*({t.key for t in lot.schema.tests} for lot in lots))
    first = lots[0].schema
    tests = tuple(t for t in first.tests if t.key in everywhere)
    if not tests:
        raise SchemaMismatchError(f"no test is in all of {_names(lots)}")
    schema = Schema(tests, first.purpose)
    notes = _dropped_tests(lots, everywhere)
    for lot in lots[1:]:
        try:
            warnings = schema.align(lot.schema).warnings
        except SchemaMismatchError as error:
            raise SchemaMismatchError(
                f"{lot.facts.source} was not tested like {lots[0].facts.source}, which is taken "
                f"for the model here: {error}"
            ) from error
        notes.extend(f"{lot.facts.source}: {warning}" for warning in warnings)
        schema = replace(schema, purpose=_filled(schema.purpose, lot.schema.purpose))
    return schema, notes


def _refuse_other_widths(lots: Sequence[Lot]) -> None:
    widths = {lot.schema.n_tests for lot in lots}
    bare = [lot for lot in lots if lot.schema == Schema.anonymous(lot.schema.n_tests)]
    if bare and len(widths) > 1:
        raise SchemaMismatchError(
            f"{bare[0].facts.source} is a bare array, so all lots need as many columns; "
            f"found {', '.join(map(str, sorted(widths)))}"
        )


def _dropped_tests(lots: Sequence[Lot], everywhere: set[tuple[int, str, str]]) -> list[str]:
    dropped = {t.key: t.label for lot in lots for t in lot.schema.tests if t.key not in everywhere}
    if not dropped:
        return []
    labels = list(dropped.values())
    shown = ", ".join(labels[:12]) + (" …" if len(labels) > 12 else "")
    return [f"{len(labels)} tests are not in every lot and were dropped: {shown}"]


def _filled(known: Purpose, more: Purpose) -> Purpose:
    """``known``, with its empty fields taken from ``more``."""
    return Purpose(
        **{f.name: getattr(known, f.name) or getattr(more, f.name) for f in fields(Purpose)}
    )


def _merged_dies(lots: Sequence[Lot]) -> Dies:
    dies = Dies.concatenate([lot.dies for lot in lots])
    attempt, is_final = mark_attempts_of_files(dies, [len(lot.dies) for lot in lots])
    return replace(dies, attempt=attempt, is_final=is_final)


def _merged_facts(lots: Sequence[Lot], notes: list[str]) -> LotFacts:
    records: Counter[str] = Counter()
    for lot in lots:
        records.update(lot.facts.records)
        notes = notes + [f"{lot.facts.source}: {note}" for note in lot.facts.odd]
    return LotFacts(
        source=_names(lots),
        kind=_joined(lot.facts.kind for lot in lots),
        byte_order=_joined(lot.facts.byte_order for lot in lots),
        tester=_joined(lot.facts.tester for lot in lots),
        records=dict(records),
        odd=tuple(notes),
    )


def _names(lots: Sequence[Lot]) -> str:
    return ", ".join(lot.facts.source for lot in lots)


def _joined(texts: Iterable[str]) -> str:
    """The different texts in order of their first appearance."""
    return ", ".join(dict.fromkeys(text for text in texts if text))
