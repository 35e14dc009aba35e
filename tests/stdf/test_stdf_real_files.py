"""Thirteen real files: counts that three other readers agree on, values as ``stdf-convert``'s."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stdf_convert

from knowngood import stdf
from knowngood._lot import Lot

NAMES = (
    "galaxy_lot2",
    "itest_IN2864LP_QUAL_STEP_1_SN_101_25c_Jun_20_21h30m13s",
    "itest_Wafer_TX_WM19784-13B1_20181113_180615",
    "itest_bcdm_145bga_sn1_25c_apr_23_2012",
    "itest_bcdm_145bga_sn2_25c_apr_23_2012",
    "itest_main_Lot_1_Jan_12_17h35m56s",
    "itest_spreadsheet14",
    "itest_x17y8",
    "libstdf_sample",
    "makechip_d10_1",
    "makechip_x",
    "radar_a595",
    "wxwxw_test",
)

Cells = dict[tuple[int, int, str], list[float]]
"""Present values by die, test number and name; the pins of an MPR sorted by value."""


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def path(name: str, shared_data: Path) -> Path:
    return shared_data / "stdf" / f"{name}.stdf.gz"


@pytest.fixture(scope="module")
def expected(name: str, shared_data: Path) -> dict[str, Any]:
    table = json.loads((shared_data / "stdf" / "expected.json").read_text())
    entry: dict[str, Any] = table[f"{name}.stdf"]
    return entry


@pytest.fixture(scope="module")
def lot(path: Path) -> Lot:
    return stdf.read_stdf(path)


def test_the_list_of_files_is_whole(shared_data: Path) -> None:
    assert sorted(f"{n}.stdf" for n in NAMES) == sorted(
        json.loads((shared_data / "stdf" / "expected.json").read_text())
    )


def test_records(lot: Lot, expected: dict[str, Any]) -> None:
    """The figures name V4-2007 records by number, and count ``orphanPTR`` among the PTR too."""
    by_number = {"VUR": "(0, 30)", "STR": "(15, 30)", "PSR": "(1, 90)", "NMR": "(1, 91)"}
    by_number |= {"CNR": "(1, 92)", "SSR": "(1, 93)", "CDR": "(1, 94)"}
    found = {by_number.get(name, name): n for name, n in lot.facts.records.items()}
    assert found == {name: n for name, n in expected["records"].items() if name != "orphanPTR"}


def test_dies(lot: Lot, path: Path, expected: dict[str, Any]) -> None:
    summary = stdf.summarise(path)
    assert len(lot.dies) == summary.n_dies == expected["dies"]
    assert np.count_nonzero(lot.dies.tester_pass == 0) == summary.n_fails == expected["fails"]
    assert summary.n_dies_without_data == expected["dies_without_ptr"]
    assert len(summary.sites) == len(np.unique(lot.group)) == expected["sites"]
    assert lot.facts.byte_order == summary.facts.byte_order == expected["endian"]
    assert lot.facts.tester.startswith(expected["tester"])
    assert lot.schema.purpose.part_type == expected["part"]
    assert summary.schema == lot.schema


def test_tests(lot: Lot, expected: dict[str, Any]) -> None:
    """Both count only tests that reached a die."""
    tests = lot.schema.tests
    assert len({t.number for t in tests}) == expected["distinct_num"]
    assert len({(t.number, t.name) for t in tests}) == expected["distinct_num_name"]


def test_sum_of_all_results(path: Path, expected: dict[str, Any]) -> None:
    """The figure takes every PTR, flagged invalid or outside a die; a lot takes neither."""
    ptrs = [r.fields() for r in stdf.iter_records(path) if r.name == "PTR"]
    results = [ptr["RESULT"] for ptr in ptrs if "RESULT" in ptr]
    assert len(results) == expected["ptr_with_result"]
    assert math.fsum(results) == pytest.approx(expected["ptr_sum"], rel=1e-12, abs=1e-9)


def test_strays(lot: Lot, path: Path, expected: dict[str, Any]) -> None:
    """The figure counts PTR; the results of an MPR on another site than any die stay out too."""
    places = {(row["HEAD_NUM"], row["SITE_NUM"]) for row in oracle_rows(path, "PIR")}
    strays = expected["records"].get("orphanPTR", 0)
    for row in oracle_rows(path, "MPR"):
        if (row["HEAD_NUM"], row["SITE_NUM"]) not in places or path.name.startswith("makechip_x"):
            strays += len(row["RTN_RSLT"])
    said = [odd for odd in lot.facts.odd if "outside any die" in odd]
    assert said == (
        [f"{strays} results outside any die (no PIR before them), left out"] * (strays > 0)
    )


def test_value_by_value(lot: Lot, path: Path) -> None:
    assert lot_cells(lot) == oracle_cells(path)


def test_dies_field_by_field(lot: Lot, path: Path) -> None:
    rows = oracle_rows(path, "PRR")
    columns = {"x": "X_COORD", "y": "Y_COORD", "head": "HEAD_NUM", "site": "SITE_NUM"}
    columns |= {"hard_bin": "HARD_BIN", "soft_bin": "SOFT_BIN"}
    for ours, theirs in columns.items():
        assert getattr(lot.dies, ours).tolist() == [row[theirs] for row in rows]
    assert lot.dies.part_id.tolist() == [row["PART_ID"].strip() for row in rows]


def test_descriptions_as_the_first_record_gives_them(lot: Lot, path: Path) -> None:
    first: dict[tuple[int, str], dict[str, Any]] = {}
    for row in oracle_rows(path, "PTR"):
        if row["OPT_FLAG"] is not None and row["UNITS"] is not None:
            first.setdefault((row["TEST_NUM"], row["TEST_TXT"]), row)
    for test in lot.schema.tests:
        if not test.pin and (test.number, test.name) in first:
            row = first[test.number, test.name]
            flags = row["OPT_FLAG"][0]
            assert test.units == row["UNITS"]
            assert test.low == (None if flags & 0x50 else row["LO_LIMIT"])
            assert test.high == (None if flags & 0xA0 else row["HI_LIMIT"])


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_written_again_it_is_the_same_lot(lot: Lot, tmp_path: Path, byte_order: str) -> None:
    stdf.write_lot(tmp_path / "again.stdf", lot, byte_order=byte_order)
    again = stdf.read_stdf(tmp_path / "again.stdf")
    assert lot_cells(again) == lot_cells(lot) == oracle_cells(tmp_path / "again.stdf")
    described = set(lot.schema.tests)
    assert all(test in described for test in again.schema.tests)
    assert again.dies.attempt.tolist() == lot.dies.attempt.tolist()


def lot_cells(lot: Lot) -> Cells:
    found: Cells = defaultdict(list)
    for die, row in enumerate(lot.values):
        for test, value in zip(lot.schema.tests, row.tolist(), strict=True):
            if not math.isnan(value):
                found[die, test.number, test.name].append(value)
    return {key: sorted(values) for key, values in found.items()}


def oracle_rows(path: Path, kind: str) -> list[dict[str, Any]]:
    table = stdf_convert.tables(path, [kind]).get(kind)
    return [] if table is None else list(table.to_pylist())


def oracle_cells(path: Path) -> Cells:
    """Dies put together from the records of ``stdf-convert``; the last run of a test counts."""
    tables = stdf_convert.tables(path, ["PIR", "PTR", "MPR", "PRR"])
    rows = [{"kind": kind, **row} for kind, table in tables.items() for row in table.to_pylist()]
    open_dies: dict[tuple[int, int], dict[tuple[int, str, str], float]] = {}
    indexes: dict[tuple[int, str], list[int]] = {}
    closed: list[dict[tuple[int, str, str], float]] = []
    for row in sorted(rows, key=lambda row: int(row["sequence_number"])):
        place = row["HEAD_NUM"], row["SITE_NUM"]
        if row["kind"] == "PIR":
            open_dies[place] = {}
        elif row["kind"] == "PRR":
            closed.append(open_dies.pop(place, {}))
        elif place in open_dies:
            open_dies[place] |= oracle_results(row, indexes)
    found: Cells = defaultdict(list)
    for i, die in enumerate(closed):
        for (number, text, _), value in die.items():
            if not math.isnan(value):
                found[i, number, text].append(value)
    return {key: sorted(values) for key, values in found.items()}


def oracle_results(
    row: dict[str, Any], indexes: dict[tuple[int, str], list[int]]
) -> dict[tuple[int, str, str], float]:
    number, text = row["TEST_NUM"], row["TEST_TXT"] or ""
    valid = not row["TEST_FLG"][0] & 0x3F
    if row["kind"] == "PTR":
        return {(number, text, ""): row["RESULT"] if valid else math.nan}
    results = row["RTN_RSLT"]
    pins = row["RTN_INDX"] or indexes.get((number, text), [])
    indexes.setdefault((number, text), pins)
    if len(pins) != len(results):
        pins = range(-1, -1 - len(results), -1)
    return {
        (number, text, str(p)): r if valid else math.nan for p, r in zip(pins, results, strict=True)
    }
