"""Summaries and bare records: what a file holds, without its values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from handmade_stdf import Hand

from knowngood import stdf
from knowngood._lot import Dies, Lot
from knowngood._schema import Schema, Test


def test_a_summary_counts_what_the_file_holds(tmp_path: Path) -> None:
    hand = Hand()
    data = hand.lot(
        *(hand.wir("W1"), hand.pir(0), hand.pir(3, 2)),
        *(hand.ptr(7, 1.0, "A"), hand.ptr(7, 2.0, "A", flag=2), hand.mpr(8, [1.0, 2.0], "B")),
        *(hand.prr(0, flag=8), hand.prr(3, 2), hand.wrr("W1"), hand.mir("L2"), hand.wir("W2")),
        *(hand.pir(0), hand.ptr(7, 1.0), hand.prr(0)),
    )
    path = tmp_path / "a.stdf"
    path.write_bytes(data)
    summary = stdf.summarise(path)
    assert (summary.lots, summary.wafers) == (("L1", "L2"), ("W1", "W2"))
    assert (summary.n_dies, summary.n_fails, summary.n_dies_without_data) == (3, 1, 1)
    assert summary.n_results == 5
    assert summary.sites == ((1, 0), (2, 3))
    assert [t.label for t in summary.schema.tests] == ["7 A", "8 B@#1", "8 B@#2"]
    assert summary.facts.records["PTR"] == 3
    assert summary.facts.source == str(path)
    assert summary.facts.kind == "stdf"


PEAK_OF_A_SUMMARY = """
import sys
from knowngood import stdf

def peak_kb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak_kb()
n_results = stdf.summarise(sys.argv[1]).n_results
print(n_results, (peak_kb() - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_summary_keeps_no_values(tmp_path: Path) -> None:
    """Eighty megabytes of results pass through less than half of that, in a process of its own."""
    values = np.zeros((7500, 400), dtype=np.float32)
    tests = tuple(Test(i, f"TEST_{i}") for i in range(400))
    path = tmp_path / "a.stdf"
    stdf.write_lot(path, Lot(values, Schema(tests), Dies.anonymous(7500)))
    command = [sys.executable, "-c", PEAK_OF_A_SUMMARY, str(path)]
    n_results, peak = subprocess.run(command, capture_output=True, check=True).stdout.split()
    assert int(n_results) == values.size
    assert int(peak) < path.stat().st_size / 2


def test_records_say_where_they_are_and_what_they_hold(tmp_path: Path) -> None:
    hand = Hand(">")
    path = tmp_path / "a.stdf"
    path.write_bytes(hand.far() + hand.mpr(9, [0.5, 1.5], "V", [3, 4]) + hand.rec(180, 7, b"abc"))
    far, mpr, unknown = stdf.iter_records(path)
    assert (far.name, far.offset, far.fields()) == ("FAR", 0, {"CPU_TYPE": 1, "STDF_VER": 4})
    assert (mpr.name, mpr.offset, mpr.byte_order) == ("MPR", 6, "big")
    fields = mpr.fields()
    assert fields["RTN_RSLT"] == (0.5, 1.5)
    assert fields["RTN_STAT"] == (0, 0)
    assert fields["RTN_INDX"] == (3, 4)
    assert fields["UNITS"] == "V"
    assert "UNITS_IN" not in fields
    assert (unknown.name, unknown.payload, unknown.fields()) == ("(180, 7)", b"abc", {})


def test_text_that_is_not_utf_8_is_latin_1(tmp_path: Path) -> None:
    hand = Hand()
    units = ("µA".encode("latin-1"), "µA".encode())
    ptrs = [
        hand.rec(15, 10, hand.ptr(7 + i, 1.0)[4:] + b"\1T\0\x0e" + bytes(11) + bytes([len(u)]) + u)
        for i, u in enumerate(units)
    ]
    path = tmp_path / "a.stdf"
    path.write_bytes(hand.lot(hand.pir(), *ptrs, hand.prr()))
    assert [t.units for t in stdf.read_stdf(path).schema.tests] == ["µA", "µA"]
