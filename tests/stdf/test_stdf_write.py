"""What the writer writes, as our reader and ``stdf-convert`` read it; a foreign writer's file."""

from __future__ import annotations

import gzip
import io
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pystdf4
import pytest
import stdf_convert
from handmade_stdf import Hand, cells
from hypothesis import given, settings
from hypothesis import strategies as st

from knowngood import stdf
from knowngood._errors import UsageError
from knowngood._lot import Dies, Lot, LotFacts, mark_attempts
from knowngood._schema import Purpose, Schema, Test

ORDERS = ("little", "big")
REPEATS: tuple[Literal["nothing", "names", "all"], ...] = ("nothing", "names", "all")


def make_lot(
    n_touchdowns: int = 5, n_sites: int = 3, tests: tuple[Test, ...] | None = None, seed: int = 0
) -> Lot:
    """Two wafers, several sites, a twentieth of the results missing, the first die tested twice."""
    rng = np.random.default_rng(seed)
    tests = tests or tuple(
        Test(100 + i, f"VDD_{i}", "", "V", *((-1.0, 1.0) if i % 3 else (None, 2.0)))
        for i in range(7)
    )
    n = n_touchdowns * n_sites
    values = rng.normal(size=(n, len(tests))).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    x, y = (np.arange(n) // n_sites).astype(np.int32), np.arange(n, dtype=np.int32) % n_sites
    x[n - n_sites], y[n - n_sites] = x[n - n_sites - 1], y[n - n_sites - 1]
    wafer = np.array(["W1"] * (n // 2) + ["W2"] * (n - n // 2), dtype=object)
    dies = Dies.anonymous(n, lot="LOT7")
    attempt, is_final = mark_attempts(dies.lot, wafer, x, y, dies.part_id)
    dies = replace(
        dies,
        wafer=wafer,
        x=x,
        y=y,
        attempt=attempt,
        is_final=is_final,
        site=np.arange(n, dtype=np.int32) % n_sites,
        hard_bin=rng.integers(1, 4, n).astype(np.int32),
        soft_bin=rng.integers(1, 9, n).astype(np.int32),
        tester_pass=rng.integers(-1, 2, n).astype(np.int8),
        is_abnormal=rng.random(n) < 0.2,
    )
    schema = Schema(tests, Purpose("PART", "25", "FT1", "prog", "r3"))
    return Lot(values, schema, dies, LotFacts(tester="J750"))


def assert_same_lot(read: Lot, written: Lot) -> None:
    """Columns may come in another order: a test is met at its first result."""
    column_of = {t.key: i for i, t in enumerate(read.schema.tests)}
    filled = [i for i in range(written.schema.n_tests) if not np.isnan(written.values[:, i]).all()]
    assert sorted(column_of) == sorted(written.schema.tests[i].key for i in filled)
    for i in filled:
        column = column_of[written.schema.tests[i].key]
        assert read.schema.tests[column] == written.schema.tests[i]
        assert np.array_equal(read.values[:, column], written.values[:, i], equal_nan=True)
    assert read.schema.purpose == written.schema.purpose
    for field in Dies.__dataclass_fields__:
        assert getattr(read.dies, field).tolist() == getattr(written.dies, field).tolist(), field


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("repeat", REPEATS)
@pytest.mark.parametrize("byte_order", ORDERS)
def test_a_written_lot_reads_back_equal(
    tmp_path: Path, byte_order: str, repeat: Any, suffix: str
) -> None:
    lot = make_lot()
    path = tmp_path / f"a.stdf{suffix}"
    stdf.write_lot(path, lot, byte_order=byte_order, repeat=repeat)
    read = stdf.read_stdf(path)
    assert_same_lot(read, lot)
    assert read.facts.odd == ()
    assert read.facts.byte_order == byte_order
    assert read.facts.tester == "J750"


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
limits = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)
tests = st.lists(
    st.builds(
        Test,
        number=st.sampled_from([1, 2, 3, 2**32 - 1]),
        name=names.filter(bool),
        pin=st.sampled_from(["", "", "CLK", "DATA"]),
        units=names,
        low=limits,
        high=limits,
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda test: test.key,
)


@settings(deadline=None)  # a written file is synced to the disk
@given(
    tests=tests,
    data=st.data(),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    byte_order=st.sampled_from(ORDERS),
    repeat=st.sampled_from(REPEATS),
)
def test_any_lot_reads_back_equal_here_and_elsewhere(
    tmp_path_factory: pytest.TempPathFactory,
    tests: list[Test],
    data: st.DataObject,
    shape: tuple[int, int],
    byte_order: str,
    repeat: Any,
) -> None:
    lot = make_lot(*shape, tests=tuple(tests), seed=data.draw(st.integers(0, 99)))
    bits = st.integers(0, 2**32 - 1).filter(lambda b: b & 0x7FFFFFFF <= 0x7F800000)
    cells = data.draw(st.lists(bits, min_size=lot.values.size, max_size=lot.values.size))
    some = np.array(cells, dtype=np.uint32).view(np.float32).reshape(lot.values.shape)
    lot = replace(lot, values=np.where(np.isnan(lot.values), lot.values, some))
    path = tmp_path_factory.getbasetemp() / "any.stdf"
    stdf.write_lot(path, lot, byte_order=byte_order, repeat=repeat)
    assert_same_lot(stdf.read_stdf(path), lot)
    assert foreign_values(path, repeat) == expected_values(lot)


def expected_values(lot: Lot) -> dict[tuple[int, int], list[bytes]]:
    """The bits of each die's results by number, test after test in the schema's order."""
    found = defaultdict(list)
    for die, row in enumerate(lot.values):
        for test, value in zip(lot.schema.tests, row, strict=True):
            if not np.isnan(value):
                found[die, test.number].append(value.tobytes())
    return {key: sorted(values) for key, values in found.items()}


def foreign_values(path: Path, repeat: str) -> dict[tuple[int, int], list[bytes]]:
    """The same from the records of ``stdf-convert``."""
    tables = stdf_convert.tables(path)
    rows = [(kind, row) for kind, table in tables.items() for row in table.to_pylist()]
    found, die_on, n_dies = defaultdict(list), {}, 0
    for kind, row in sorted(rows, key=lambda item: int(item[1]["sequence_number"])):
        if kind == "PIR":
            die_on[row["HEAD_NUM"], row["SITE_NUM"]] = n_dies
            n_dies += 1
        elif kind in ("PTR", "MPR"):
            assert row["TEST_TXT"] or repeat == "nothing"
            result = row["RESULT"] if kind == "PTR" else row["RTN_RSLT"][0]
            die = die_on[row["HEAD_NUM"], row["SITE_NUM"]]
            found[die, row["TEST_NUM"]].append(np.float32(result).tobytes())
    return {key: sorted(values) for key, values in found.items()}


@pytest.mark.parametrize("byte_order", ORDERS)
def test_stdf_convert_finds_every_field_in_place(tmp_path: Path, byte_order: str) -> None:
    lot = make_lot()
    path = tmp_path / "a.stdf"
    stdf.write_lot(path, lot, byte_order=byte_order, started=1_700_000_000, test_summary=True)
    tables = {kind: table.to_pylist() for kind, table in stdf_convert.tables(path).items()}
    assert "UNKNOWN" not in tables
    n_parts = len(lot.dies)
    assert tables["MIR"][0]["LOT_ID"] == "LOT7"
    assert tables["MIR"][0]["START_T"] == tables["MRR"][0]["FINISH_T"] == 1_700_000_000
    assert tables["SDR"][0]["SITE_NUM"] == [0, 1, 2]
    assert [row["WAFER_ID"] for row in tables["WIR"]] == ["W1", "W2"]
    assert [row["WAFER_ID"] for row in tables["WRR"]] == ["W1", "W2"]
    assert sum(row["PART_CNT"] for row in tables["WRR"]) == n_parts
    assert tables["PCR"][0]["PART_CNT"] == n_parts
    assert tables["PCR"][0]["RTST_CNT"] == 1
    assert tables["PCR"][0]["ABRT_CNT"] == int(lot.dies.is_abnormal.sum())
    finals = int(lot.dies.is_final.sum())
    assert sum(row["HBIN_CNT"] for row in tables["HBR"]) == finals
    assert sum(row["SBIN_CNT"] for row in tables["SBR"]) == finals
    flags = [row["PART_FLG"][0] for row in tables["PRR"]]
    assert [flag & 8 > 0 for flag in flags] == (lot.dies.tester_pass == 0).tolist()
    assert [flag & 16 > 0 for flag in flags] == (lot.dies.tester_pass == -1).tolist()
    assert [flag & 4 > 0 for flag in flags] == lot.dies.is_abnormal.tolist()
    assert [flag & 3 for flag in flags] == (2 * (lot.dies.attempt > 1)).tolist()
    executed = np.count_nonzero(~np.isnan(lot.values), axis=0)
    assert [row["EXEC_CNT"] for row in tables["TSR"]] == executed.tolist()
    fails = [
        sum(r["TEST_FLG"][0] >> 7 for r in tables["PTR"] if r["TEST_NUM"] == t.number)
        for t in lot.schema.tests
    ]
    assert [row["FAIL_CNT"] for row in tables["TSR"]] == fails


def test_touchdowns_interleave_test_by_test(tmp_path: Path) -> None:
    lot = make_lot(n_touchdowns=2, n_sites=2, tests=(Test(1, "A"), Test(2, "B")))
    values = np.array([[1, 2], [3, np.nan], [5, 6], [7, 8]], dtype=np.float32)
    wafers = np.array([""] * 4, dtype=object)
    lot = replace(lot, values=values, dies=replace(lot.dies, wafer=wafers))
    stdf.write_lot(tmp_path / "a.stdf", lot)
    shown = []
    for record in stdf.iter_records(tmp_path / "a.stdf"):
        fields = record.fields()
        if record.name in ("PIR", "PTR", "PRR"):
            shown.append((record.name, fields["SITE_NUM"], fields.get("RESULT")))
    touchdown = [("PIR", 0, None), ("PIR", 1, None)], [("PRR", 0, None), ("PRR", 1, None)]
    first = [("PTR", 0, 1.0), ("PTR", 1, 3.0), ("PTR", 0, 2.0)]
    second = [("PTR", 0, 5.0), ("PTR", 1, 7.0), ("PTR", 0, 6.0), ("PTR", 1, 8.0)]
    assert shown == [*touchdown[0], *first, *touchdown[1], *touchdown[0], *second, *touchdown[1]]


@pytest.mark.parametrize(
    ("value", "fails", "judged"),
    [
        (0.5, False, True),
        (-1.0, False, True),
        (1.0, False, True),
        (1.5, True, True),
        (-np.inf, True, True),
    ],
)
def test_fail_bits_follow_the_limits(
    tmp_path: Path, value: float, fails: bool, judged: bool
) -> None:
    tests = (Test(1, "A", "", "V", -1.0, 1.0), Test(2, "FREE"))
    values = np.array([[value, value]], dtype=np.float32)
    lot = Lot(values, Schema(tests), Dies.anonymous(1))
    stdf.write_lot(tmp_path / "a.stdf", lot)
    limited, free = stdf_convert.tables(tmp_path / "a.stdf")["PTR"].to_pylist()
    assert (limited["TEST_FLG"][0] >> 7 == 1) == fails
    assert limited["TEST_FLG"][0] & 0x40 == 0
    assert free["TEST_FLG"][0] == 0x40


def test_what_later_records_repeat(tmp_path: Path) -> None:
    """Limits once, names once: a test that is met late is still described, on its first result."""
    values = np.array([[1, np.nan], [2, 20], [3, 30]], dtype=np.float32)
    tests = (Test(1, "A", "", "V", 0.0, 9.0), Test(2, "B", "", "A", 0.0, 99.0))
    lot = Lot(values, Schema(tests), Dies.anonymous(3))
    sizes = {}
    for repeat in REPEATS:
        stdf.write_lot(tmp_path / "a.stdf", lot, repeat=repeat)
        rows = stdf_convert.tables(tmp_path / "a.stdf")["PTR"].to_pylist()
        assert [row["TEST_TXT"] for row in rows] == (
            ["A", "", "B", "", ""] if repeat == "nothing" else ["A", "A", "B", "A", "B"]
        )
        given = [row["HI_LIMIT"] for row in rows]
        assert given == ([9, 9, 99, 9, 99] if repeat == "all" else [9, None, 99, None, None])
        assert stdf.read_stdf(tmp_path / "a.stdf").schema == lot.schema
        sizes[repeat] = (tmp_path / "a.stdf").stat().st_size
    assert sizes["nothing"] < sizes["names"] < sizes["all"]


def test_the_same_lot_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.stdf.gz", "b.stdf.gz"):
        stdf.write_lot(tmp_path / name, make_lot())
    packed = (tmp_path / "a.stdf.gz").read_bytes()
    assert packed == (tmp_path / "b.stdf.gz").read_bytes()
    stdf.write_lot(tmp_path / "c.stdf", make_lot())
    assert gzip.decompress(packed) == (tmp_path / "c.stdf").read_bytes()


@pytest.mark.parametrize("n_dies", [0, 1])
def test_lots_of_no_and_one_die(tmp_path: Path, n_dies: int) -> None:
    values = np.full((n_dies, 1), 2.5, dtype=np.float32)
    lot = Lot(values, Schema((Test(1, "A"),)), Dies.anonymous(n_dies, lot="L"))
    stdf.write_lot(tmp_path / "a.stdf", lot)
    assert_same_lot(stdf.read_stdf(tmp_path / "a.stdf"), lot)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lot": np.array(["A", "B"], dtype=object)}, "one lot, found 2: A, B"),
        ({"site": np.array([0, 256], dtype=np.int32)}, "SITE_NUM"),
        ({"x": np.array([0, 40000], dtype=np.int32)}, "X_COORD"),
        ({"part_id": np.array(["1", "x" * 256], dtype=object)}, "PART_ID"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_file(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    dies = replace(Dies.anonymous(2, lot="L"), **change)
    lot = Lot(np.zeros((2, 1), np.float32), Schema((Test(1, "A"),)), dies)
    with pytest.raises(UsageError, match=message):
        stdf.write_lot(tmp_path / "a.stdf", lot)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (Test(-1, "A"), r"PTR\.TEST_NUM"),
        (Test(1, "A" * 256), "256 bytes, at most 255"),
        (Test(1, "A", high=1e39), r"PTR\.HI_LIMIT"),
        (Test(5, ""), "test 5 has no name"),
    ],
)
def test_tests_that_do_not_fit_are_refused(tmp_path: Path, test: Test, message: str) -> None:
    tests = (test, Test(5, "OTHER"))
    lot = Lot(np.zeros((1, 2), np.float32), Schema(tests), Dies.anonymous(1))
    with pytest.raises(UsageError, match=message):
        stdf.write_lot(tmp_path / "a.stdf", lot)


@pytest.mark.parametrize("byte_order", ORDERS)
def test_records_written_one_by_one(byte_order: str) -> None:
    """Against the same records put together by hand."""
    hand = Hand("<" if byte_order == "little" else ">")
    stream = io.BytesIO()
    writer = stdf.StdfWriter(stream, byte_order=byte_order)
    writer.write("PIR", HEAD_NUM=1, SITE_NUM=2)
    writer.write("PTR", TEST_NUM=7, HEAD_NUM=1, SITE_NUM=2, RESULT=1.5, TEST_TXT="A")
    writer.write("PMR", PMR_INDX=4, CHAN_NAM="c", PHY_NAM="p", LOG_NAM="l", HEAD_NUM=1, SITE_NUM=2)
    writer.write("DTR", TEXT_DAT="note")
    assert stream.getvalue() == b"".join(
        (
            hand.far(),
            hand.pir(2),
            hand.ptr(7, 1.5, "A", site=2),
            hand.pmr(4, "c", "p", "l", site=2),
            hand.rec(50, 30, b"\4note"),
        )
    )


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("XYZ", {}, "cannot write 'XYZ'"),
        ("PIR", {"HEAD": 1}, "PIR has no field HEAD"),
        ("PIR", {"HEAD_NUM": 256}, r"PIR.HEAD_NUM \(U1\) cannot hold 256"),
        ("HBR", {"HBIN_PF": "PF"}, "one character"),
        ("SDR", {"SITE_CNT": 2, "SITE_NUM": (1,)}, "SITE_CNT is 2"),
        ("MPR", {"RSLT_CNT": 20000, "RTN_RSLT": (0.0,) * 20000}, "at most 65535"),
    ],
)
def test_records_that_cannot_be_written(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stdf.StdfWriter(io.BytesIO()).write(name, **fields)


def test_a_foreign_writers_file(tmp_path: Path) -> None:
    path = tmp_path / "foreign.stdf"
    texts = {"LOT_ID": "L9", "PART_TYP": "PART", "NODE_NAM": "n", "TSTR_TYP": "T", "JOB_NAM": "J"}
    with pystdf4.Stdf4Writer(str(path)) as foreign:
        foreign.FAR(CPU_TYPE=2, STDF_VER=4)
        foreign.MIR(SETUP_T=0, START_T=0, STAT_NUM=1, JOB_REV="r", **texts)
        foreign.WIR(HEAD_NUM=1, SITE_GRP=255, START_T=0, WAFER_ID="W3")
        for die in range(2):
            foreign.PIR(HEAD_NUM=1, SITE_NUM=0)
            for number, flag in ((5, 0x0E), (6, 0x8E)):
                foreign.PTR(
                    number,
                    *(1, 0, b"\0", b"\xc0", bytes([flag])),
                    RESULT=number + die / 4,
                    TEST_TXT=f"T{number}",
                    LO_LIMIT=0.5,
                    HI_LIMIT=9.5,
                    UNITS="mA",
                )
            foreign.PRR(1, 0, b"\x08", 2, HARD_BIN=4, SOFT_BIN=44, X_COORD=die, PART_ID=f"p{die}")
        foreign.MRR(FINISH_T=0)
    lot = stdf.read_stdf(path)
    assert cells(lot) == [{"5 T5": 5.0, "6 T6": 6.0}, {"5 T5": 5.25, "6 T6": 6.25}]
    assert lot.schema.tests == (
        Test(5, "T5", "", "mA", 0.5, 9.5),
        Test(6, "T6", "", "mA", 0.5, None),
    )
    assert lot.schema.purpose == Purpose("PART", program="J", revision="r")
    dies = lot.dies
    assert (dies.wafer[1], dies.part_id[1], dies.x[1], dies.soft_bin[1]) == ("W3", "p1", 1, 44)
    assert dies.tester_pass.tolist() == [0, 0]


def test_an_unknown_byte_order_is_refused() -> None:
    with pytest.raises(UsageError, match="'middle'"):
        stdf.StdfWriter(io.BytesIO(), byte_order="middle")
