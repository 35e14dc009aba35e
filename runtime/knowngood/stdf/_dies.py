"""Lots, wafers and dies of a file: who is on which site, and what became of each die."""

from __future__ import annotations

from array import array
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from .._lot import NO_BIN, NO_COORDINATE, Dies, mark_attempts
from .._schema import Purpose
from ._codec import decode
from ._layout import (
    ALL_HEADS,
    LAYOUTS,
    PART_ABNORMAL,
    PART_FAILED,
    PART_NOT_JUDGED,
    PART_RETESTED_BY_ID,
    PART_RETESTED_BY_XY,
)

_COLUMNS = ("row", "lot", "wafer", "head", "site", "flags", "hard_bin", "soft_bin", "x", "y")


class DieLog:
    """Takes MIR, WIR, WRR, PIR and PRR payloads in file order.

    Attributes:
        open_rows: row of the die being tested, by the bytes HEAD_NUM and SITE_NUM.
        n_rows: rows given out so far, those of dies without PRR included.
        odd: what was unusual, counted.
    """

    def __init__(self, byte_order: str) -> None:
        self.open_rows: dict[bytes, int] = {}
        self.n_rows = 0
        self.odd: Counter[str] = Counter()
        self.purpose = Purpose()
        self.tester = ""
        self._order = byte_order
        self._lots: list[str] = []
        self._wafers = [""]
        self._wafer_on_head: dict[int, int] = {}
        self._heads_with_wafers: set[int] = set()
        self._context: dict[bytes, tuple[int, int]] = {}
        self._closed = array("i")
        self._part_ids: list[str] = []

    def __len__(self) -> int:
        return len(self._part_ids)

    @property
    def lots(self) -> tuple[str, ...]:
        """LOT_ID of each MIR, in file order."""
        return tuple(self._lots)

    @property
    def wafers(self) -> tuple[str, ...]:
        """WAFER_ID of each WIR, in file order."""
        return tuple(self._wafers[1:])

    def start_lot(self, payload: bytes) -> None:
        """Take in a MIR; the first one says what the file is for."""
        mir = decode(LAYOUTS["MIR"], payload, self._order)
        said = {name: str(value).strip() for name, value in mir.items()}
        purpose = Purpose(
            part_type=said.get("PART_TYP", ""),
            temperature=said.get("TST_TEMP", ""),
            flow=said.get("FLOW_ID", "") or said.get("TEST_COD", ""),
            program=said.get("JOB_NAM", ""),
            revision=said.get("JOB_REV", ""),
        )
        if self._lots and purpose != self.purpose:
            self.odd["MIR that say another part, temperature, flow or program than the first"] += 1
        if not self._lots:
            self.purpose = purpose
            self.tester = " ".join(filter(None, (said.get("TSTR_TYP"), said.get("NODE_NAM"))))
        self._lots.append(said.get("LOT_ID", ""))

    def start_wafer(self, payload: bytes) -> None:
        """Take in a WIR: the dies that follow on its head belong to this wafer."""
        wir = decode(LAYOUTS["WIR"], payload, self._order)
        self._wafers.append(wir.get("WAFER_ID", "").strip())
        head = wir.get("HEAD_NUM", ALL_HEADS)
        self._wafer_on_head[head] = len(self._wafers) - 1
        self._heads_with_wafers.add(head)

    def end_wafer(self, payload: bytes) -> None:
        """Take in a WRR, which may name a wafer that its WIR did not."""
        wrr = decode(LAYOUTS["WRR"], payload, self._order)
        wafer = self._wafer_on_head.pop(wrr.get("HEAD_NUM", ALL_HEADS), 0)
        if wafer and not self._wafers[wafer]:
            self._wafers[wafer] = wrr.get("WAFER_ID", "").strip()

    def open(self, payload: bytes) -> None:
        """Take in a PIR: a die begins on this head and site."""
        place = payload[:2]
        if len(place) < 2:
            self.odd["PIR without head and site"] += 1
            return
        if place in self.open_rows:
            self.odd["dies without PRR, dropped"] += 1
        self.open_rows[place] = self._new_row()
        self._context[place] = self._lot_and_wafer(place[0])

    def close(self, payload: bytes) -> None:
        """Take in a PRR: the die on this head and site is done."""
        place = payload[:2]
        if len(place) < 2:
            self.odd["PRR without head and site"] += 1
            return
        row = self.open_rows.pop(place, None)
        if row is None:
            self.odd["PRR without PIR, kept as dies without data"] += 1
            row = self._new_row()
        lot, wafer = self._context.pop(place, self._lot_and_wafer(place[0]))
        prr = decode(LAYOUTS["PRR"], payload, self._order)
        self._part_ids.append(prr.get("PART_ID", "").strip())
        self._closed.extend(
            (row, lot, wafer, place[0], place[1], prr.get("PART_FLG", PART_NOT_JUDGED))
        )
        self._closed.extend((prr.get("HARD_BIN", NO_BIN), prr.get("SOFT_BIN", NO_BIN)))
        self._closed.extend((prr.get("X_COORD", NO_COORDINATE), prr.get("Y_COORD", NO_COORDINATE)))

    def finish(self) -> tuple[Dies, NDArray[np.int64]]:
        """The dies in the order of their PRR, and the row of each, int64 ``(n_dies,)``."""
        table = np.frombuffer(self._closed, dtype=np.int32).reshape(-1, len(_COLUMNS))
        column = {name: table[:, i].copy() for i, name in enumerate(_COLUMNS)}
        lot = np.array([*self._lots, ""], dtype=object)[column["lot"]]
        wafer = np.array(self._wafers, dtype=object)[column["wafer"]]
        part_id = np.array(self._part_ids, dtype=object)
        attempt, is_final = mark_attempts(lot, wafer, column["x"], column["y"], part_id)
        flags = column["flags"]
        unmatched = (flags & (PART_RETESTED_BY_ID | PART_RETESTED_BY_XY) != 0) & (attempt == 1)
        self.odd["dies marked as retests without an earlier attempt"] += int(unmatched.sum())
        self.odd["dies without PRR, dropped"] += len(self.open_rows)
        dies = Dies(
            lot=lot,
            wafer=wafer,
            part_id=part_id,
            **{name: column[name] for name in ("x", "y", "head", "site", "hard_bin", "soft_bin")},
            tester_pass=_tester_pass(flags),
            attempt=attempt,
            is_final=is_final,
            is_abnormal=flags & PART_ABNORMAL != 0,
        )
        return dies, column["row"].astype(np.int64)

    def _new_row(self) -> int:
        self.n_rows += 1
        return self.n_rows - 1

    def _lot_and_wafer(self, head: int) -> tuple[int, int]:
        """Indexes of the current lot and of the wafer on this head.

        A head that no WIR names shares the only wafer there is: some writers put 0 for any head.
        """
        wafers = self._wafer_on_head
        shared = ALL_HEADS
        if len(wafers) == 1 and head not in self._heads_with_wafers:
            shared = next(iter(wafers))
        return len(self._lots) - 1, wafers.get(head, wafers.get(shared, 0))


def _tester_pass(flags: NDArray[np.int32]) -> NDArray[np.int8]:
    judged = np.where(flags & PART_FAILED != 0, 0, 1)
    return np.where(flags & PART_NOT_JUDGED != 0, -1, judged).astype(np.int8)
