"""A lot: dies (one row per attempt), their values, and the schema of the columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._errors import InputError, UsageError
from ._schema import Schema

NO_COORDINATE = -32768
"""X or Y of a die without coordinates, as STDF writes it."""
MOST_HEADS, MOST_SITES = 2**15, 2**16
"""Heads and sites are numbered from 0; both fit one int32. STDF has 256 of each."""
NO_BIN = 65535
"""Hard or soft bin of a die without one, as STDF writes it."""


@dataclass(frozen=True)
class Dies:
    """One row per die *attempt*, in file order; every column has shape ``(n_dies,)``.

    Attributes:
        lot, wafer, part_id: str (object dtype); empty where the file does not say.
        x, y: int32; ``NO_COORDINATE`` where absent.
        head, site: int32.
        hard_bin, soft_bin: int32; ``NO_BIN`` where absent.
        tester_pass: int8; 1 pass, 0 fail, −1 the tester did not say.
        attempt: int32, from 1; counts tests of the same die (same lot, wafer and X/Y or part id).
        is_final: bool; the last attempt of its die.
        is_abnormal: bool; PART_FLG says that testing ended abnormally.
    """

    lot: NDArray[np.object_]
    wafer: NDArray[np.object_]
    part_id: NDArray[np.object_]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    head: NDArray[np.int32]
    site: NDArray[np.int32]
    hard_bin: NDArray[np.int32]
    soft_bin: NDArray[np.int32]
    tester_pass: NDArray[np.int8]
    attempt: NDArray[np.int32]
    is_final: NDArray[np.bool_]
    is_abnormal: NDArray[np.bool_]

    @classmethod
    def anonymous(cls, n_dies: int, *, lot: str = "", tester_pass: int = -1) -> Dies:
        """Rows for values that come without any description of their dies."""

        def full(value: object, dtype: Any) -> NDArray[Any]:
            return np.full(n_dies, value, dtype=dtype)

        return cls(
            lot=full(lot, object),
            wafer=full("", object),
            part_id=np.array([str(i + 1) for i in range(n_dies)], dtype=object),
            x=full(NO_COORDINATE, np.int32),
            y=full(NO_COORDINATE, np.int32),
            head=full(1, np.int32),
            site=full(0, np.int32),
            hard_bin=full(NO_BIN, np.int32),
            soft_bin=full(NO_BIN, np.int32),
            tester_pass=full(tester_pass, np.int8),
            attempt=full(1, np.int32),
            is_final=full(True, np.bool_),
            is_abnormal=full(False, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.lot)

    def __repr__(self) -> str:
        return f"<Dies of {len(self)} test attempts>"

    def select(self, rows: NDArray[Any]) -> Dies:
        """Some of the rows: a boolean mask or indices, shape ``(n,)``."""
        return Dies(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Dies]) -> Dies:
        """All rows of ``parts``, in order."""
        names = [f.name for f in fields(cls)]
        return cls(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def die_keys(
    lot: NDArray[np.object_],
    wafer: NDArray[np.object_],
    x: NDArray[np.int32],
    y: NDArray[np.int32],
    part_id: NDArray[np.object_],
) -> Iterator[tuple[object, ...] | None]:
    """What each row's die is known by: coordinates, else part id; None for a die with neither."""
    for lot_id, wafer_id, die_x, die_y, part in zip(
        lot, wafer, x.tolist(), y.tolist(), part_id, strict=True
    ):
        if die_x != NO_COORDINATE and die_y != NO_COORDINATE:
            yield lot_id, wafer_id, die_x, die_y
        else:
            yield (lot_id, wafer_id, part) if part else None


class Located(Protocol):
    """Rows that say where a die is; columns as in ``Dies``."""

    @property
    def lot(self) -> NDArray[np.object_]: ...
    @property
    def wafer(self) -> NDArray[np.object_]: ...
    @property
    def part_id(self) -> NDArray[np.object_]: ...
    @property
    def x(self) -> NDArray[np.int32]: ...
    @property
    def y(self) -> NDArray[np.int32]: ...


def mark_attempts(
    lot: NDArray[np.object_],
    wafer: NDArray[np.object_],
    x: NDArray[np.int32],
    y: NDArray[np.int32],
    part_id: NDArray[np.object_],
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Number the attempts of each die and mark the last; inputs ``(n_dies,)`` in file order.

    A die is known by its coordinates, or by its part id where it has none; a die with neither is
    its own.

    Returns:
        attempt int32 from 1, and is_final bool, each ``(n_dies,)``.
    """
    attempt = np.ones(len(lot), dtype=np.int32)
    is_final = np.ones(len(lot), dtype=np.bool_)
    last_row: dict[tuple[object, ...], int] = {}
    for row, key in enumerate(die_keys(lot, wafer, x, y, part_id)):
        if key is None:
            continue
        previous = last_row.get(key)
        if previous is not None:
            attempt[row] = attempt[previous] + 1
            is_final[previous] = False
        last_row[key] = row
    return attempt, is_final


def mark_attempts_of_files(
    dies: Located, n_dies: Sequence[int]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """``mark_attempts`` over files one after the other, of ``n_dies`` rows each.

    Part ids alone make no retest across files, since every file may number its parts from 1; nor
    do coordinates where the files do not name their lots.
    """
    file_of_row = np.repeat(np.arange(len(n_dies)), n_dies).tolist()
    part = [
        f"{f}/{part}" if part else "" for f, part in zip(file_of_row, dies.part_id, strict=True)
    ]
    lot = [name or f"/{f}" for f, name in zip(file_of_row, dies.lot, strict=True)]
    return mark_attempts(
        np.array(lot, dtype=object), dies.wafer, dies.x, dies.y, np.array(part, dtype=object)
    )


@dataclass(frozen=True)
class LotFacts:
    """What a file said of itself, for ``knowngood inspect`` and the verdicts' record."""

    source: str = ""
    kind: str = ""
    byte_order: str = ""
    tester: str = ""
    records: dict[str, int] = field(default_factory=dict)
    odd: tuple[str, ...] = ()
    """What was unusual and tolerated: a missing MRR, PTR without PIR, a wrong CPU_TYPE …"""


@dataclass(frozen=True)
class Lot:
    """Values of dies with their schema.

    Attributes:
        values: float32 ``(n_dies, n_tests)`` in the schema's units, NaN where a test is missing.
        schema: the columns.
        dies: the rows, one per attempt.
        facts: what the file said of itself.

    Raises:
        UsageError: values of another dtype or shape.
        InputError: a head or site number that is out of range.
    """

    values: NDArray[np.float32]
    schema: Schema
    dies: Dies
    facts: LotFacts = field(default_factory=LotFacts)

    def __post_init__(self) -> None:
        expected = (len(self.dies), self.schema.n_tests)
        if self.values.shape != expected or self.values.dtype != np.float32:
            raise UsageError(
                f"values of a lot must be float32 {expected} (dies × tests), "
                f"found {self.values.dtype} {self.values.shape}"
            )

        for name, most in (("head", MOST_HEADS), ("site", MOST_SITES)):
            numbers = getattr(self.dies, name)
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < most:
                raise InputError(
                    f"{name} numbers must be from 0 to {most - 1}, "
                    f"found {numbers.min()} to {numbers.max()}"
                )

    def __repr__(self) -> str:
        source = repr(self.facts.source) if self.facts.source else "not from a file"
        return f"<Lot of {len(self.dies)} test attempts, {self.schema.n_tests} tests, {source}>"

    def _repr_html_(self) -> str:
        from ._notebook import lot_html

        return lot_html(self)

    @property
    def group(self) -> NDArray[np.int32]:
        """int32 ``(n_dies,)``: head and site in one number, ``head · 65536 + site``."""
        return (self.dies.head * MOST_SITES + self.dies.site).astype(np.int32)

    def select(self, rows: NDArray[Any]) -> Lot:
        """Some of the dies: a boolean mask or indices."""
        return Lot(self.values[rows], self.schema, self.dies.select(rows), self.facts)


def source_name(path: str | Path) -> str:
    """A file's name without directories and the endings of a lot: ``lot7.stdf.gz`` → ``lot7``."""
    name = Path(path).name
    for ending in (".gz", ".stdf", ".std", ".csv", ".parquet", ".npz", ".npy"):
        name = name.removesuffix(ending)
    return name
