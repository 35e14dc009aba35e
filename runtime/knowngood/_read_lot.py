"""Lots from files: STDF, CSV, Parquet and NumPy, told apart by content and suffix."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from pathlib import Path

from ._errors import InputError, SchemaMismatchError
from ._lot import Lot
from ._merge import merge_lots
from ._schema import Schema
from .tables._csv import read_csv
from .tables._good_if import Condition, apply_condition, parse_condition
from .tables._numpy import read_npy, read_npz
from .tables._parquet import read_parquet
from .tables._table import Table, columns_of, is_description, lot_of

__all__ = ["merge_lots", "read_lot"]

_KIND_OF_SUFFIX = {
    ".stdf": "stdf",
    ".std": "stdf",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".npz": "npz",
    ".npy": "npy",
}
_MAGIC = {b"PAR1": "parquet", b"PK\x03\x04": "npz", b"PK\x05\x06": "npz", b"\x93NUMPY": "npy"}
_FAR_HEADERS = (b"\x02\x00\x00\x0a", b"\x00\x02\x00\x0a")
_GZIP_MAGIC = b"\x1f\x8b"
_MAY_BE_ZIPPED = ("stdf", "csv")


def read_lot(path: str | Path, *, schema: Schema | None = None, good_if: str | None = None) -> Lot:
    """Read a lot.

    Args:
        path: ``.stdf`` or ``.std``, ``.csv``, ``.tsv`` or ``.txt`` (each also with ``.gz``),
            ``.parquet``, ``.npz`` or ``.npy``.
        schema: keep only these tests, in this order; by default all tests of the file. Bare
            arrays carry no names, so they must have just as many columns.
        good_if: which dies the tester called good, for files that do not say so themselves:
            ``'result == "pass"'``, ``"hard_bin == 1"``; see
            ``knowngood.tables._good_if``. It overrides what the file says; its column is then not
            a test.

    Returns:
        The lot, one row per die attempt in file order.

    Raises:
        InputError: the file is missing, empty, damaged, not what its name says, or has no dies;
            the message names the place.
        SchemaMismatchError: the file does not have the tests of ``schema``.
        UsageError: ``good_if`` is not a condition.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    path = Path(path)
    condition = parse_condition(good_if) if good_if is not None else None
    kind = _kind(path)
    if kind == "stdf":
        return _read_stdf(path, schema, condition)
    lot = lot_of(_read_table(path, kind, condition), condition)
    return lot if schema is None else _with_tests(lot, schema)


def _kind(path: Path) -> str:
    """What the file is; its content decides, and a name that says something else is refused."""
    named = _named_kind(path)
    head, zipped = _first_bytes(path)
    found = _kind_of_content(head)
    if named is None and found is None:
        raise InputError(
            f"{path}: cannot tell what this file is; expected a name ending in "
            f"{', '.join(_KIND_OF_SUFFIX)} (STDF and text also with .gz)"
        )
    if found is not None and named not in (None, found):
        raise InputError(f"{path} is named like {named}, but holds {found}; rename it")
    kind = found or named or ""
    if found is None and kind in _MAGIC.values():
        raise InputError(f"{path} is no {kind} file, though it is named like one")
    if zipped and kind not in _MAY_BE_ZIPPED:
        raise InputError(f"{path} is a {kind} file inside gzip; unpack it first")
    return kind


def is_named_like_lot(path: Path) -> bool:
    """Whether the suffix is one of a lot's."""
    return _named_kind(path) is not None


def _named_kind(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    return _KIND_OF_SUFFIX.get(Path(name).suffix)


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    """The first bytes, unpacked if they are gzip, and whether they were."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(8)
        zipped = head.startswith(_GZIP_MAGIC)
        if zipped:
            with gzip.open(path) as unpacked:
                head = unpacked.read(8)
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder; name the files in it") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read {path}: {reason}") from error
    if not head:
        raise InputError(f"{path} is empty; expected test results")
    return head, zipped


def _kind_of_content(head: bytes) -> str | None:
    if head.startswith(_FAR_HEADERS):
        return "stdf"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def _read_stdf(path: Path, schema: Schema | None, condition: Condition | None) -> Lot:
    from .stdf import read_stdf  # import knowngood stays free of STDF

    lot = read_stdf(path, schema=schema)
    if not len(lot.dies):
        raise InputError(f"{path}: no dies; expected at least one finished die (PRR)")
    if not lot.schema.n_tests:
        raise InputError(f"{path}: no parametric results (PTR or MPR); there is nothing to score")
    if condition is None:
        return lot
    passes = apply_condition(condition, columns_of(lot.dies), path, lambda row: f"die {row + 1}")
    return replace(lot, dies=replace(lot.dies, tester_pass=passes))


def _read_table(path: Path, kind: str, condition: Condition | None) -> Table:
    if kind == "npy":
        return read_npy(path)
    if kind == "npz":
        return read_npz(path)
    read = read_csv if kind == "csv" else read_parquet
    return read(path, is_description(condition))


def _with_tests(lot: Lot, schema: Schema) -> Lot:
    """The lot with the tests of ``schema`` only; they keep their own units and limits."""
    if lot.schema.tests == Schema.anonymous(lot.schema.n_tests).tests:
        if lot.schema.n_tests != schema.n_tests:
            raise SchemaMismatchError(
                f"{lot.facts.source} has {lot.schema.n_tests} columns without names; "
                f"expected the {schema.n_tests} tests of the model, in its order"
            )
        lot = replace(lot, schema=Schema(schema.tests, lot.schema.purpose))
    try:
        alignment = schema.align(lot.schema)
    except SchemaMismatchError as error:
        raise SchemaMismatchError(f"{lot.facts.source}: {error}") from error
    odd = lot.facts.odd + alignment.warnings
    return Lot(
        values=alignment.apply(lot.values),
        schema=lot.schema.select(alignment.columns),
        dies=lot.dies,
        facts=replace(lot.facts, odd=odd),
    )
