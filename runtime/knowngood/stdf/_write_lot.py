"""A lot as an STDF file, laid out as a tester would: touchdown by touchdown, wafer by wafer."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .._atomic import write_with
from .._errors import UsageError
from .._lot import NO_COORDINATE, Dies, Lot
from ._blocks import Repeat, ResultBlocks
from ._layout import (
    ALL_HEADS,
    PART_ABNORMAL,
    PART_FAILED,
    PART_NOT_JUDGED,
    PART_RETESTED_BY_ID,
    PART_RETESTED_BY_XY,
)
from ._write import ByteSink, StdfWriter

_MAX_NUM_TEST = 65535
_GZIP_LEVEL = 4


def write_lot(
    path: str | Path,
    lot: Lot,
    *,
    started: int = 0,
    byte_order: str = "little",
    repeat: Repeat = "names",
    test_summary: bool = False,
) -> None:
    """Write a lot as an STDF V4 file, gz if the name ends in ``.gz``; the same lot, the same bytes.

    Successive dies on different sites of the same wafer are one touchdown: their PIR, then their
    results test by test, then their PRR. Missing values (NaN) leave no record; a value outside its
    test's limits carries the fail bit. Tests with a pin become MPR with PMR.

    Args:
        path: the file; written under a temporary name first.
        lot: of one LOT_ID.
        started: every time stamp in the file, seconds since 1970.
        byte_order: ``"little"`` or ``"big"``.
        repeat: what later PTRs of a test say again: ``"nothing"``, ``"names"`` or ``"all"``.
        test_summary: add a TSR for each test.

    Raises:
        UsageError: several lots in one, a text over 255 bytes, a number that its field cannot hold,
            or a folder that cannot be written.
    """
    lots = sorted({str(name) for name in lot.dies.lot})
    if len(lots) > 1:
        raise UsageError(f"an STDF file holds one lot, found {len(lots)}: {', '.join(lots[:5])}")

    def write(stream: BinaryIO) -> None:
        if not str(path).endswith(".gz"):
            _LotWriter(stream, lot, started, byte_order, repeat).write(test_summary)
            return
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0) as packed:
            _LotWriter(packed, lot, started, byte_order, repeat).write(test_summary)

    write_with(path, write)


@dataclass(frozen=True)
class _Counts:
    """PART_CNT, RTST_CNT, ABRT_CNT and GOOD_CNT of some dies."""

    parts: int
    retests: int
    aborted: int
    good: int

    @classmethod
    def of(cls, dies: Dies) -> _Counts:
        return cls(
            parts=len(dies),
            retests=int(np.count_nonzero(dies.attempt > 1)),
            aborted=int(np.count_nonzero(dies.is_abnormal)),
            good=int(np.count_nonzero(dies.is_final & (dies.tester_pass == 1))),
        )

    def fields(self) -> dict[str, int]:
        names = ("PART_CNT", "RTST_CNT", "ABRT_CNT", "GOOD_CNT")
        return dict(zip(names, (self.parts, self.retests, self.aborted, self.good), strict=True))


class _LotWriter:
    """One pass over the dies of a lot."""

    def __init__(
        self, stream: ByteSink, lot: Lot, started: int, byte_order: str, repeat: Repeat
    ) -> None:
        self._stdf = StdfWriter(stream, byte_order=byte_order)
        self._blocks = ResultBlocks(self._stdf, lot.schema.tests, repeat)
        self._lot = lot
        self._started = started

    def write(self, test_summary: bool) -> None:
        self._write_head()
        for wafer, rows in _wafers(self._lot.dies):
            heads = np.unique(self._lot.dies.head[rows]).tolist() if wafer else []
            for head in heads:
                self._stdf.write(
                    "WIR", HEAD_NUM=head, SITE_GRP=ALL_HEADS, START_T=self._started, WAFER_ID=wafer
                )
            for touchdown in _touchdowns(self._lot.dies, rows):
                self._write_touchdown(touchdown)
            for head in heads:
                self._write_wafer_end(wafer, head, rows)
        self._write_summaries(test_summary)

    def _write_head(self) -> None:
        purpose, dies = self._lot.schema.purpose, self._lot.dies
        self._stdf.write(
            "MIR",
            SETUP_T=self._started,
            START_T=self._started,
            LOT_ID=str(dies.lot[0]) if len(dies) else "",
            PART_TYP=purpose.part_type,
            TSTR_TYP=self._lot.facts.tester,
            JOB_NAM=purpose.program,
            JOB_REV=purpose.revision,
            TST_TEMP=purpose.temperature,
            FLOW_ID=purpose.flow,
        )
        for head in np.unique(dies.head).tolist():
            sites = np.unique(dies.site[dies.head == head]).tolist()
            self._stdf.write(
                "SDR", HEAD_NUM=head, SITE_GRP=1, SITE_CNT=len(sites), SITE_NUM=tuple(sites)
            )
        for pin, index in self._blocks.pin_index.items():
            self._stdf.write("PMR", PMR_INDX=index, LOG_NAM=pin, HEAD_NUM=1, SITE_NUM=1)
        if any(dies.wafer):
            self._stdf.write(
                "WCR", POS_X=" ", CENTER_X=NO_COORDINATE, CENTER_Y=NO_COORDINATE, POS_Y=" "
            )

    def _write_touchdown(self, rows: slice) -> None:
        dies, values = self._lot.dies, self._lot.values[rows]
        heads, sites = dies.head[rows], dies.site[rows]
        for head, site in zip(heads.tolist(), sites.tolist(), strict=True):
            self._stdf.write("PIR", HEAD_NUM=head, SITE_NUM=site)
        self._stdf.write_bytes(self._blocks.pack(values, heads, sites))
        n_tests = np.count_nonzero(~np.isnan(values), axis=1)
        for row, n in zip(range(rows.start, rows.stop), n_tests.tolist(), strict=True):
            self._write_die_end(row, n)

    def _write_die_end(self, row: int, n_tests: int) -> None:
        dies = self._lot.dies
        self._stdf.write(
            "PRR",
            HEAD_NUM=int(dies.head[row]),
            SITE_NUM=int(dies.site[row]),
            PART_FLG=_part_flags(dies, row),
            NUM_TEST=min(n_tests, _MAX_NUM_TEST),
            HARD_BIN=int(dies.hard_bin[row]),
            SOFT_BIN=int(dies.soft_bin[row]),
            X_COORD=int(dies.x[row]),
            Y_COORD=int(dies.y[row]),
            PART_ID=str(dies.part_id[row]),
        )

    def _write_wafer_end(self, wafer: str, head: int, rows: slice) -> None:
        on_head = rows.start + np.flatnonzero(self._lot.dies.head[rows] == head)
        counts = _Counts.of(self._lot.dies.select(on_head))
        self._stdf.write(
            "WRR",
            HEAD_NUM=head,
            SITE_GRP=ALL_HEADS,
            FINISH_T=self._started,
            **counts.fields(),
            FUNC_CNT=0xFFFFFFFF,
            WAFER_ID=wafer,
        )

    def _write_summaries(self, test_summary: bool) -> None:
        dies = self._lot.dies
        for kind, bins in (("H", dies.hard_bin), ("S", dies.soft_bin)):
            self._write_bins(kind, bins)
        counts = _Counts.of(dies).fields()
        self._stdf.write(
            "PCR", HEAD_NUM=ALL_HEADS, SITE_NUM=ALL_HEADS, **counts, FUNC_CNT=0xFFFFFFFF
        )
        if test_summary:
            self._write_test_summaries()
        self._stdf.write("MRR", FINISH_T=self._started)

    def _write_bins(self, kind: str, bins: NDArray[np.int32]) -> None:
        """One HBR or SBR for each bin: final attempts, and P or F where every die agrees."""
        dies = self._lot.dies
        judged: dict[int, set[int]] = {}
        counted: Counter[int] = Counter()
        for number, verdict in zip(
            bins[dies.is_final].tolist(), dies.tester_pass[dies.is_final].tolist(), strict=True
        ):
            counted[number] += 1
            judged.setdefault(number, set()).add(verdict)
        for number in sorted(counted):
            verdict = {frozenset({1}): "P", frozenset({0}): "F"}.get(frozenset(judged[number]), " ")
            fields = {f"{kind}BIN_NUM": number, f"{kind}BIN_CNT": counted[number]}
            self._stdf.write(
                f"{kind}BR",
                HEAD_NUM=ALL_HEADS,
                SITE_NUM=ALL_HEADS,
                **fields,
                **{f"{kind}BIN_PF": verdict},
            )

    def _write_test_summaries(self) -> None:
        for column, test in enumerate(self._lot.schema.tests):
            values = self._lot.values[:, column]
            low = -np.inf if test.low is None else np.float32(test.low)
            high = np.inf if test.high is None else np.float32(test.high)
            self._stdf.write(
                "TSR",
                HEAD_NUM=ALL_HEADS,
                SITE_NUM=ALL_HEADS,
                TEST_TYP="M" if test.pin else "P",
                TEST_NUM=test.number,
                EXEC_CNT=int(np.count_nonzero(~np.isnan(values))),
                FAIL_CNT=int(np.count_nonzero((values < low) | (values > high))),
                TEST_NAM=test.name,
            )


def _part_flags(dies: Dies, row: int) -> int:
    flags = 0
    if dies.attempt[row] > 1:
        located = NO_COORDINATE not in (dies.x[row], dies.y[row])
        flags |= PART_RETESTED_BY_XY if located else PART_RETESTED_BY_ID
    flags |= PART_ABNORMAL if dies.is_abnormal[row] else 0
    return flags | {1: 0, 0: PART_FAILED, -1: PART_NOT_JUDGED}[int(dies.tester_pass[row])]


def _wafers(dies: Dies) -> Iterator[tuple[str, slice]]:
    """Runs of successive dies of one wafer."""
    start = 0
    for stop in range(1, len(dies) + 1):
        if stop == len(dies) or dies.wafer[stop] != dies.wafer[start]:
            yield str(dies.wafer[start]), slice(start, stop)
            start = stop


def _touchdowns(dies: Dies, rows: slice) -> Iterator[slice]:
    """Runs of successive dies that no two of share a site."""
    places = list(zip(dies.head[rows].tolist(), dies.site[rows].tolist(), strict=True))
    start = 0
    busy: set[tuple[int, int]] = set()
    for i, place in enumerate(places):
        if place in busy:
            yield slice(rows.start + start, rows.start + i)
            start, busy = i, set()
        busy.add(place)
    if places:
        yield slice(rows.start + start, rows.stop)
