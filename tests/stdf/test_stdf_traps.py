"""The traps of real test data, one by one, in bytes made by hand; numbers as in the field notes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from handmade_stdf import Hand, cells, cn, read

from knowngood import stdf
from knowngood._errors import InputError, SchemaMismatchError
from knowngood._schema import Purpose, Schema, Test

BOTH_ORDERS = pytest.mark.parametrize("order", ["<", ">"])


@BOTH_ORDERS
def test_01_byte_order_follows_the_bytes(tmp_path: Path, order: str) -> None:
    hand = Hand(order)
    lot = read(tmp_path, hand.lot(hand.pir(), hand.ptr(7, 1.5, "VDD"), hand.prr(x=-3, y=4)))
    assert cells(lot) == [{"7 VDD": 1.5}]
    assert (lot.dies.x[0], lot.dies.y[0]) == (-3, 4)
    assert lot.facts.byte_order == {"<": "little", ">": "big"}[order]
    assert lot.facts.odd == ()


@BOTH_ORDERS
def test_01_cpu_type_that_contradicts_the_bytes_is_odd_and_not_followed(
    tmp_path: Path, order: str
) -> None:
    hand = Hand(order)
    wrong = 1 if order == "<" else 2
    data = hand.far(cpu_type=wrong) + hand.lot(hand.pir(), hand.ptr(7, 1.5, "VDD"), hand.prr())[6:]
    lot = read(tmp_path, data)
    assert cells(lot) == [{"7 VDD": 1.5}]
    assert any(f"CPU_TYPE {wrong}" in odd for odd in lot.facts.odd)


def test_02_the_number_alone_is_not_the_key(tmp_path: Path) -> None:
    hand = Hand()
    die = (hand.pir(), hand.ptr(7, 1.0, "A"), hand.ptr(7, 2.0, "B"), hand.prr())
    lot = read(tmp_path, hand.lot(*die, *die))
    assert cells(lot) == [{"7 A": 1.0, "7 B": 2.0}] * 2


def test_02_pins_of_a_multi_pin_result_are_part_of_the_key(tmp_path: Path) -> None:
    hand = Hand()
    pins = (hand.pmr(1, "c1", "p1", "CLK"), hand.pmr(2, "c2", "p2", "DATA"))
    die1 = (hand.pir(), hand.mpr(9, [0.25, 0.5], "VOH", [2, 1]), hand.prr())
    die2 = (hand.pir(), hand.mpr(9, [0.75, 1.0], "VOH"), hand.prr())
    lot = read(tmp_path, hand.lot(*pins, *die1, *die2))
    assert cells(lot) == [
        {"9 VOH@DATA": 0.25, "9 VOH@CLK": 0.5},
        {"9 VOH@DATA": 0.75, "9 VOH@CLK": 1.0},
    ]
    assert lot.schema.tests[0] == Test(9, "VOH", "DATA", "V", -1.0, 1.0)


def test_02_sites_share_their_pins_names(tmp_path: Path) -> None:
    hand = Hand()
    pins = [hand.pmr(1 + s, "VCC", f"ch{s}", "", site=s) for s in range(2)]
    results = [hand.mpr(9, [0.5 + s], "I", [1 + s], site=s) for s in range(2)]
    around = [hand.pir(0), hand.pir(1)], [hand.prr(0), hand.prr(1)]
    lot = read(tmp_path, hand.lot(*pins, *around[0], *results, *around[1]))
    assert cells(lot) == [{"9 I@VCC": 0.5}, {"9 I@VCC": 1.5}]


@pytest.mark.parametrize(
    ("pins", "indexes", "expected"),
    [
        ((), [4, 5], {"9 I@4": 1.0, "9 I@5": 2.0}),
        ((), None, {"9 I@#1": 1.0, "9 I@#2": 2.0}),
        (((4, "A", "p", "5"), (5, "B", "q", "5")), [4, 5], {"9 I@A": 1.0, "9 I@B": 2.0}),
        (((4, "A", "", ""), (5, "A", "", "")), [4, 5], {"9 I@A": 1.0, "9 I@A#2": 2.0}),
        (((4, "A", "", ""), (5, "", "", "B")), [4, 5], {"9 I@4": 1.0, "9 I@5": 2.0}),
    ],
)
def test_02_pins_without_a_good_name(
    tmp_path: Path,
    pins: tuple[tuple[int, str, str, str], ...],
    indexes: list[int] | None,
    expected: dict[str, float],
) -> None:
    hand = Hand()
    records = [hand.pmr(*pin) for pin in pins]
    mpr = hand.mpr(9, [1.0, 2.0], "I", indexes)
    assert cells(read(tmp_path, hand.lot(*records, hand.pir(), mpr, hand.prr()))) == [expected]


def test_03_dies_without_results_are_rows_without_values(tmp_path: Path) -> None:
    hand = Hand()
    data = hand.lot(hand.pir(), hand.prr(), hand.pir(), hand.ptr(7, 1.0, "A"), hand.prr())
    assert cells(read(tmp_path, data)) == [{}, {"7 A": 1.0}]
    assert stdf.summarise(tmp_path / "hand.stdf").n_dies_without_data == 1


def test_04_a_test_that_stopped_on_fail_is_missing(tmp_path: Path) -> None:
    hand = Hand()
    good = (hand.pir(), hand.ptr(1, 1.0, "A"), hand.ptr(2, 2.0, "B"), hand.prr())
    bad = (hand.pir(), hand.ptr(1, 9.0, "A", flag=0x80), hand.prr(flag=8))
    lot = read(tmp_path, hand.lot(*good, *bad))
    assert np.array_equal(lot.values, np.array([[1, 2], [9, np.nan]], np.float32), equal_nan=True)
    assert lot.dies.tester_pass.tolist() == [1, 0]


@BOTH_ORDERS
def test_05_heads_and_sites_interleave(tmp_path: Path, order: str) -> None:
    hand = Hand(order)
    places = [(1, 0), (1, 1), (2, 0), (2, 1)]
    records = [hand.pir(site, head) for head, site in places]
    for test in (1, 2):
        records += [
            hand.ptr(test, 100.0 * head + 10 * site + test, "T", site=site, head=head)
            for head, site in reversed(places)
        ]
    records += [hand.prr(site, head) for head, site in [places[i] for i in (2, 0, 3, 1)]]
    lot = read(tmp_path, hand.lot(*records))
    assert list(zip(lot.dies.head, lot.dies.site, strict=True)) == [(2, 0), (1, 0), (2, 1), (1, 1)]
    assert lot.values.tolist() == [[201, 202], [101, 102], [211, 212], [111, 112]]
    assert lot.group.tolist() == [2 * 65536, 65536, 2 * 65536 + 1, 65536 + 1]


def test_05_wafers_by_head(tmp_path: Path) -> None:
    hand = Hand()
    records = [hand.wir("W1", 1), hand.wir("W2", 2), hand.pir(0, 1), hand.pir(0, 2)]
    records += [hand.prr(0, 1), hand.wrr("W1", 1), hand.prr(0, 2), hand.wrr("W2", 2)]
    records += [hand.pir(0, 1), hand.prr(0, 1)]
    lot = read(tmp_path, hand.lot(*records))
    assert lot.dies.wafer.tolist() == ["W1", "W2", ""]


def test_05_a_wafer_named_only_at_its_end(tmp_path: Path) -> None:
    hand = Hand()
    die = (hand.pir(), hand.prr())
    lot = read(tmp_path, hand.lot(hand.wir(""), *die, hand.wrr("W9"), hand.wir("W10"), *die))
    assert lot.dies.wafer.tolist() == ["W9", "W10"]


def test_05_a_wafer_record_on_a_head_that_no_die_is_on_serves_all(tmp_path: Path) -> None:
    hand = Hand()
    lot = read(tmp_path, hand.lot(hand.wir("W1", head=0), hand.pir(), hand.prr()))
    assert lot.dies.wafer.tolist() == ["W1"]


def test_06_several_lots_in_one_file_stay_apart(tmp_path: Path) -> None:
    hand = Hand()
    die = (hand.pir(), hand.ptr(7, 1.0, "A"), hand.prr(x=1, y=1))
    lot = read(tmp_path, hand.lot(*die, hand.mir("L2", "OTHER"), *die))
    assert lot.dies.lot.tolist() == ["L1", "L2"]
    assert lot.dies.attempt.tolist() == [1, 1]
    assert any("MIR" in odd for odd in lot.facts.odd)


@BOTH_ORDERS
def test_07_values_keep_every_bit(tmp_path: Path, order: str) -> None:
    hand = Hand(order)
    values = [6e-12, 1e9, -0.0, 1.0000001, 1e-45, math.inf]
    records = [hand.ptr(i, value, "T") for i, value in enumerate(values)]
    lot = read(tmp_path, hand.lot(hand.pir(), *records, hand.prr()))
    expected = np.array([values], dtype=np.float32)
    assert np.array_equal(lot.values.view(np.uint32), expected.view(np.uint32))


@BOTH_ORDERS
def test_08_later_records_may_leave_out_name_limits_and_units(tmp_path: Path, order: str) -> None:
    hand = Hand(order)
    first = hand.ptr(7, 1.0, "IDDQ", hand.described(0.5, 2.0, "A"))
    data = hand.lot(
        *(hand.pir(), first, hand.prr()),
        *(hand.pir(), hand.ptr(7, 1.25), hand.prr()),
        *(hand.pir(), hand.ptr(7, 1.5, ""), hand.prr()),
        *(hand.pir(), hand.ptr(7, 1.75, "IDDQ", cn("alarm")), hand.prr()),
    )
    lot = read(tmp_path, data)
    assert lot.schema.tests == (Test(7, "IDDQ", "", "A", 0.5, 2.0),)
    assert lot.values.ravel().tolist() == [1.0, 1.25, 1.5, 1.75]
    assert lot.facts.odd == ()


def test_08_a_nameless_result_of_a_shared_number_is_no_guess(tmp_path: Path) -> None:
    hand = Hand()
    data = hand.lot(
        *(hand.pir(), hand.ptr(7, 1.0, "A"), hand.ptr(7, 2.0), hand.prr()),
        *(hand.pir(), hand.ptr(7, 3.0, "B"), hand.ptr(7, 4.0), hand.prr()),
    )
    lot = read(tmp_path, data)
    assert cells(lot) == [{"7 A": 2.0}, {"7 B": 3.0, "7 ": 4.0}]
    assert any("without a name" in odd for odd in lot.facts.odd)


@pytest.mark.parametrize(
    ("flags", "low", "high"),
    [
        (0x0E, 0.5, 2.0),
        (0x1E, None, 2.0),
        (0x2E, 0.5, None),
        (0x4E, None, 2.0),
        (0x8E, 0.5, None),
        (0xFE, None, None),
    ],
)
def test_08_limits_count_as_opt_flag_says(
    tmp_path: Path, flags: int, low: float | None, high: float | None
) -> None:
    hand = Hand()
    first = hand.ptr(7, 1.0, "A", hand.described(0.5, 2.0, "V", flags))
    test = read(tmp_path, hand.lot(hand.pir(), first, hand.prr())).schema.tests[0]
    assert (test.low, test.high) == (low, high)


def test_08_limits_that_change_within_the_file_are_odd_and_the_first_stay(tmp_path: Path) -> None:
    hand = Hand()
    described = [hand.described(low, 2.0, units) for low, units in ((0.5, "V"), (0.25, "V"))]
    defaulted = hand.described(0.0, 0.0, "V", 0x3E)
    records = [hand.ptr(7, 1.0, "A", tail) for tail in (described[0], defaulted, described[1])]
    lot = read(tmp_path, hand.lot(*(hand.pir() + r + hand.prr() for r in records)))
    assert lot.schema.tests == (Test(7, "A", "", "V", 0.5, 2.0),)
    assert [odd.split(" of ")[0] for odd in lot.facts.odd] == ["limits"]


def test_units_that_change_within_the_file_are_refused(tmp_path: Path) -> None:
    hand = Hand()
    records = [hand.ptr(7, 1.0, "A", hand.described(0.0, 2.0, units)) for units in ("V", "mV")]
    data = hand.lot(*(hand.pir() + r + hand.prr() for r in records))
    with pytest.raises(InputError, match=r"test 7 A has results in 'V' and 'mV'"):
        read(tmp_path, data)


@pytest.mark.parametrize("part_id", ["", "P1"])
@pytest.mark.parametrize("flag", [1, 2])
def test_09_the_same_die_twice_is_two_attempts(tmp_path: Path, flag: int, part_id: str) -> None:
    hand = Hand()
    first = (hand.pir(), hand.ptr(7, 1.0, "A"), hand.prr(x=3, y=4, flag=8, part_id=part_id))
    again = (hand.pir(), hand.ptr(7, 2.0, "A"), hand.prr(x=3, y=4, flag=flag, part_id=part_id))
    lot = read(tmp_path, hand.lot(*first, *again))
    assert lot.dies.attempt.tolist() == [1, 2]
    assert lot.dies.is_final.tolist() == [False, True]
    assert lot.values.ravel().tolist() == [1.0, 2.0]
    assert lot.facts.odd == ()


def test_09_a_retest_of_a_die_that_the_file_does_not_hold_is_odd(tmp_path: Path) -> None:
    hand = Hand()
    lot = read(tmp_path, hand.lot(hand.pir(), hand.prr(x=1, y=1, flag=2)))
    assert any("retest" in odd for odd in lot.facts.odd)


def test_09_a_test_that_runs_again_in_the_same_die(tmp_path: Path) -> None:
    hand = Hand()
    runs = [hand.ptr(7, 1.0, "A"), hand.ptr(8, 5.0, "B"), hand.ptr(7, 2.0, "A")]
    lot = read(tmp_path, hand.lot(hand.pir(), *runs, hand.prr()))
    assert cells(lot) == [{"7 A": 2.0, "8 B": 5.0}]
    assert any(odd.startswith("1 results of tests that ran again") for odd in lot.facts.odd)


def test_10_a_file_without_mrr_keeps_its_dies(tmp_path: Path) -> None:
    hand = Hand()
    die = (hand.pir(), hand.ptr(7, 1.0, "A"), hand.prr())
    unfinished = (hand.pir(), hand.ptr(7, 2.0, "A"))
    data = b"".join((hand.far(), hand.mir(), *die, *unfinished))
    lot = read(tmp_path, data)
    assert cells(lot) == [{"7 A": 1.0}]
    assert "no MRR record" in lot.facts.odd
    assert "1 dies without PRR, dropped" in lot.facts.odd


def test_10_a_die_that_is_opened_twice_counts_once(tmp_path: Path) -> None:
    hand = Hand()
    lost = (hand.pir(), hand.ptr(7, 1.0, "A"))
    lot = read(tmp_path, hand.lot(*lost, hand.pir(), hand.ptr(8, 2.0, "B"), hand.prr()))
    assert cells(lot) == [{"8 B": 2.0}]
    assert "1 dies without PRR, dropped" in lot.facts.odd


def test_11_missing_coordinates_and_bins(tmp_path: Path) -> None:
    hand = Hand()
    whole = hand.prr(hard=65535, soft=65535)
    cut = hand.rec(5, 20, bytes([1, 0, 0]) + hand.pack("HH", 0, 3))
    bare = hand.rec(5, 20, bytes([1, 0]))
    dies = read(tmp_path, hand.lot(*(hand.pir() + prr for prr in (whole, cut, bare)))).dies
    assert dies.x.tolist() == dies.y.tolist() == [-32768] * 3
    assert dies.hard_bin.tolist() == [65535, 3, 65535]
    assert dies.soft_bin.tolist() == [65535] * 3
    assert dies.tester_pass.tolist() == [1, 1, -1]
    assert dies.attempt.tolist() == [1, 1, 1]


def test_12_results_outside_any_die_are_left_out_and_counted(tmp_path: Path) -> None:
    hand = Hand()
    stray = hand.ptr(9, 9.0, "STRAY")
    die = (hand.pir(), hand.ptr(7, 1.0, "A"), hand.ptr(7, 8.0, "A", site=3), hand.prr())
    lot = read(tmp_path, hand.lot(stray, *die, stray, hand.prr(site=5)))
    assert cells(lot) == [{"7 A": 1.0}, {}]
    assert [t.label for t in lot.schema.tests] == ["7 A"]
    assert "3 results outside any die (no PIR before them), left out" in lot.facts.odd
    assert "1 PRR without PIR, kept as dies without data" in lot.facts.odd


@pytest.mark.parametrize("bit", range(8))
def test_13_flagged_results_are_missing(tmp_path: Path, bit: int) -> None:
    hand = Hand()
    flagged = hand.ptr(7, 1.0, "A", flag=1 << bit), hand.mpr(8, [2.0], "B", flag=1 << bit)
    lot = read(tmp_path, hand.lot(hand.pir(), *flagged, hand.prr()))
    expected = [np.nan, np.nan] if bit <= 5 else [1.0, 2.0]
    assert np.array_equal(lot.values, np.array([expected], np.float32), equal_nan=True)


@pytest.mark.parametrize("bit", range(8))
def test_13_results_with_a_scale_or_drift_error_or_oscillation_are_missing(
    tmp_path: Path, bit: int
) -> None:
    hand = Hand()
    flag = 1 << bit
    flagged = (
        hand.ptr(7, 1.0, "A", parameter_flag=flag),
        hand.mpr(8, [2.0], "B", parameter_flag=flag),
    )
    lot = read(tmp_path, hand.lot(hand.pir(), *flagged, hand.prr()))
    expected = [np.nan, np.nan] if bit <= 2 else [1.0, 2.0]
    assert np.array_equal(lot.values, np.array([expected], np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("flag", "passed", "abnormal"),
    [(0, 1, False), (8, 0, False), (4, 1, True), (16, -1, False), (24, -1, False), (12, 0, True)],
)
def test_16_part_flags(tmp_path: Path, flag: int, passed: int, abnormal: bool) -> None:
    hand = Hand()
    dies = read(tmp_path, hand.lot(hand.pir(), hand.prr(flag=flag))).dies
    assert (dies.tester_pass[0], dies.is_abnormal[0]) == (passed, abnormal)


def test_records_cut_short_are_odd_and_harm_nothing(tmp_path: Path) -> None:
    hand = Hand()
    short = [hand.rec(15, 10, hand.pack("IBBBB", 7, 1, 0, 0, 0)), hand.rec(15, 10, b"\7")]
    short += [hand.rec(15, 15, b"\7"), hand.rec(5, 10), hand.rec(5, 20, b"\1"), hand.rec(1, 60)]
    short += [hand.rec(15, 15, hand.pack("IBBBBHH", 8, 1, 0, 0, 0, 9, 9))]
    lot = read(tmp_path, hand.lot(hand.pir(), hand.ptr(6, 1.0, "A"), *short, hand.prr()))
    assert cells(lot) == [{"6 A": 1.0}]
    assert [odd for odd in lot.facts.odd if "cut" in odd] == [
        "2 PTR cut before their result",
        "2 MPR cut before their results",
    ]
    assert [odd for odd in lot.facts.odd if "without head" in odd] == [
        "1 PIR without head and site",
        "1 PRR without head and site",
    ]


def test_unknown_records_are_skipped_and_named(tmp_path: Path) -> None:
    hand = Hand()
    unknown = hand.rec(180, 1, b"\0" * 300)
    lot = read(tmp_path, hand.lot(unknown, hand.pir(), unknown, hand.ptr(7, 1.0, "A"), hand.prr()))
    assert cells(lot) == [{"7 A": 1.0}]
    assert lot.facts.records["(180, 1)"] == 2
    assert lot.facts.odd == ("2 records of unknown type (180, 1), skipped",)


def test_purpose_and_tester_come_from_the_mir(tmp_path: Path) -> None:
    hand = Hand()
    texts = ["PART ", "node", "J750", "prog", "r2", "", "", "", "", "FT1", "85", *[""] * 11, "P2"]
    lot = read(tmp_path, hand.far() + hand.mir("L", *texts))
    assert lot.schema.purpose == Purpose("PART", "85", "P2", "prog", "r2")
    assert lot.facts.tester == "J750 node"
    lot = read(tmp_path, hand.far() + hand.mir("L", *texts[:-1]))
    assert lot.schema.purpose.flow == "FT1"


def test_only_the_tests_of_a_schema_in_its_order(tmp_path: Path) -> None:
    hand = Hand()
    first = [hand.ptr(n, float(n), "T", hand.described(0, 9, "V")) for n in (1, 2, 3)]
    data = hand.lot(hand.pir(), *first, hand.prr(), hand.pir(), hand.ptr(3, 3.5, "T"), hand.prr())
    path = tmp_path / "a.stdf"
    path.write_bytes(data)
    wanted = Schema((Test(3, "T", "", "V", 0, 9), Test(1, "T", "", "V", 0, 8)))
    lot = stdf.read_stdf(path, schema=wanted)
    assert np.array_equal(lot.values, np.array([[3, 1], [3.5, np.nan]], np.float32), equal_nan=True)
    assert lot.schema.tests[1].high == 9
    assert any("limits" in odd for odd in lot.facts.odd)


def test_a_file_that_does_not_fit_the_schema_is_refused(tmp_path: Path) -> None:
    hand = Hand()
    path = tmp_path / "a.stdf"
    path.write_bytes(
        hand.lot(hand.pir(), hand.ptr(1, 1.0, "T", hand.described(0, 9, "V")), hand.prr())
    )
    with pytest.raises(SchemaMismatchError, match="2 T"):
        stdf.read_stdf(path, schema=Schema((Test(1, "T", "", "V"), Test(2, "T"))))
    with pytest.raises(SchemaMismatchError, match="units"):
        stdf.read_stdf(path, schema=Schema((Test(1, "T", "", "A"),)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"PK\3\4 not STDF at all", "not an STDF"),
        (b"x,y,VDD\n1,2,3\n", "not an STDF"),
        (b"\2", "not an STDF"),
        (b"\2\0\0\x0a\2", "inside its FAR"),
        (b"\2\0\0\x0a\2\3", "version 3"),
        (b"\0\2\0\x0a\1\3", "version 3"),
        (b"\2\0\5\x0a\2\4", "not an STDF"),
    ],
)
def test_what_is_not_stdf_v4_is_refused_with_file_and_byte(
    tmp_path: Path, data: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=rf"(?s)hand\.stdf.*{message}|{message}.*byte") as caught:
        read(tmp_path, data)
    assert "byte" in str(caught.value)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.stdf"):
        stdf.read_stdf(tmp_path / "nowhere.stdf")
    with pytest.raises(InputError, match=r"cannot read|reading failed"):
        stdf.read_stdf(tmp_path)
