"""Lots that are odd and yet can be scored: what becomes of them, die by die."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bad_lots import records, stdf_bytes, with_purpose
from workplace import Desk

from knowngood import VerdictTable, read_verdicts
from knowngood._lot import Lot
from knowngood._verdicts import Disposition, Reason, Verdict
from knowngood.stdf import write_lot

PIR, PRR = (5, 10), (5, 20)


def score(desk: Desk, name: str, *options: str) -> VerdictTable:
    arguments = ("score", desk.workplace.model, name, "-o", "v.csv", *options)
    answer = desk.run(*arguments, "--quiet")
    assert answer.code == 0, answer.err
    return read_verdicts("v.csv")


def expected(desk: Desk) -> VerdictTable:
    return read_verdicts(desk.workplace.verdicts)


@pytest.mark.slow
def test_cut_at_every_record_boundary(desk: Desk) -> None:
    """Every die that was finished (PRR) before the cut is scored as in the whole file."""
    lot = desk.workplace.read_new_lot().select(np.arange(5))
    data = stdf_bytes(desk.folder / "whole.stdf", lot)
    whole = score(desk, "whole.stdf")
    cut = desk.folder / "cut.stdf"
    size = n_dies = 0
    for record in records(data):
        size += len(record)
        n_dies += (record[2], record[3]) == PRR
        cut.write_bytes(data[:size])
        (desk.folder / "v.csv").unlink(missing_ok=True)
        (desk.folder / "v.csv.run.json").unlink(missing_ok=True)
        if n_dies == 0:
            arguments = ("score", desk.workplace.model, "cut.stdf", "-o", "v.csv")
            desk.refuses(3, ("cut.stdf", "no dies"), *arguments)
            continue
        try:
            table = score(desk, "cut.stdf", "--allow-absent")
        except AssertionError:
            raise AssertionError(f"cut after byte {size}, {n_dies} dies") from None
        np.testing.assert_array_equal(table.score, whole.score[:n_dies])
        is_whole = size == len(data)
        assert table.run is not None
        assert any("no MRR" in odd for odd in table.run["facts"][0]["odd"]) != is_whole
    assert n_dies == 5


def test_cut_inside_every_kind_of_record(desk: Desk) -> None:
    lot = desk.workplace.read_new_lot().select(np.arange(4))
    data = stdf_bytes(desk.folder / "whole.stdf", lot)
    whole = score(desk, "whole.stdf")
    size = n_dies = 0
    seen: set[tuple[int, int]] = set()
    for record in records(data):
        kind = (record[2], record[3])
        if n_dies and kind not in seen:
            seen.add(kind)
            (desk.folder / "cut.stdf").write_bytes(data[: size + len(record) // 2])
            table = score(desk, "cut.stdf", "--allow-absent")
            np.testing.assert_array_equal(table.score, whole.score[:n_dies])
            assert table.run is not None
            assert any("breaks off" in odd for odd in table.run["facts"][0]["odd"])
        size += len(record)
        n_dies += kind == PRR
    assert len(seen) >= 5


def big_endian(path: Path, lot: Lot) -> None:
    write_lot(path, lot, byte_order="big")


def packed(path: Path, lot: Lot) -> None:
    path.write_bytes(gzip.compress(stdf_bytes(path.with_name("plain.stdf"), lot)))


def with_columns_turned(path: Path, lot: Lot) -> None:
    columns = np.arange(lot.schema.n_tests)[::-1]
    write_lot(path, Lot(lot.values[:, columns], lot.schema.select(columns), lot.dies, lot.facts))


def with_a_test_more(path: Path, lot: Lot) -> None:
    extra = replace(lot.schema.tests[0], number=99, name="EXTRA")
    schema = replace(lot.schema, tests=(extra, *lot.schema.tests))
    write_lot(path, Lot(np.c_[lot.values[:, :1], lot.values], schema, lot.dies, lot.facts))


def with_unknown_records(path: Path, lot: Lot) -> None:
    unknown = struct.pack("<HBB", 3, 180, 7) + b"abc"
    data = stdf_bytes(path, lot)
    path.write_bytes(b"".join(r + unknown for r in records(data)))


def with_a_purpose_unsaid(path: Path, lot: Lot) -> None:
    with_purpose(part_type="", temperature="", flow="")(path, lot)


SAME_SCORES: dict[str, Callable[[Path, Lot], object]] = {
    "big_endian.stdf": big_endian,
    "packed.stdf.gz": packed,
    "turned.stdf": with_columns_turned,
    "extra.stdf": with_a_test_more,
    "unknown_records.stdf": with_unknown_records,
    "no_purpose.stdf": with_a_purpose_unsaid,
    "program.stdf": with_purpose(program="another", revision="Z"),
    "warmer_in_words.stdf": with_purpose(temperature="25.0"),
    "native.npy": lambda p, lot: np.save(p, lot.values),
    "swapped_bytes.npy": lambda p, lot: np.save(p, lot.values.astype(">f4")),
    "double.npy": lambda p, lot: np.save(p, lot.values.astype(np.float64)),
    "fortran.npy": lambda p, lot: np.save(p, np.asfortranarray(lot.values)),
    "named.npz": lambda p, lot: np.savez(
        p, values=lot.values[:, ::-1], names=[t.label for t in lot.schema.tests[::-1]]
    ),
}


@pytest.mark.parametrize("name", SAME_SCORES)
def test_the_same_dies_in_other_files_score_the_same(desk: Desk, name: str) -> None:
    SAME_SCORES[name](desk.folder / name, desk.workplace.read_new_lot())
    known_fails = name.endswith(("npy", "npz"))  # these do not say what the tester thought
    table, whole = score(desk, name), expected(desk)
    judged = whole.disposition != Disposition.TESTER_FAIL
    # engines round a die's sums differently in batches of other sizes
    np.testing.assert_allclose(table.score[judged], whole.score[judged], rtol=1e-6)
    assert known_fails or (table.disposition == whole.disposition).all()


def test_other_limits_are_told_and_refused_by_strict(desk: Desk) -> None:
    lot = desk.workplace.read_new_lot()
    tests = (replace(lot.schema.tests[0], high=1e6), *lot.schema.tests[1:])
    write_lot(desk.folder / "l.stdf", replace(lot, schema=replace(lot.schema, tests=tests)))
    table = score(desk, "l.stdf")
    np.testing.assert_array_equal(table.score, expected(desk).score)
    assert table.run is not None
    assert any(tests[0].label in warning for warning in table.run["warnings"])
    (desk.folder / "v.csv").unlink()
    (desk.folder / "v.csv.run.json").unlink()
    arguments = ("score", desk.workplace.model, "l.stdf", "-o", "v.csv", "--strict")
    desk.refuses(3, ("l.stdf", tests[0].label, "limits", "1e+06"), *arguments)


def test_dies_that_cannot_be_scored_never_pass(desk: Desk) -> None:
    lot = desk.workplace.read_new_lot()
    ok = np.flatnonzero(lot.dies.tester_pass == 1)[:6]
    values = lot.values.copy()
    values[ok[0]] = np.nan
    values[ok[1], 2:] = np.nan
    values[ok[2], 3] = np.inf
    values[ok[3], 3] = -np.inf
    values[ok[4], 3] = 3e38
    np.save(desk.folder / "odd.npy", values)
    table = score(desk, "odd.npy")
    reasons = (
        Reason.NO_DATA,
        Reason.TOO_MANY_MISSING,
        Reason.NOT_FINITE,
        Reason.NOT_FINITE,
        Reason.RANGE,
    )
    for die, reason in zip(ok, reasons, strict=False):
        assert table.verdict[die] == Verdict.UNSCORED
        assert table.reason[die] == reason
        assert np.isnan(table.score[die])
        assert table.disposition[die] == Disposition.HOLD
    assert table.verdict[ok[5]] == Verdict.PASS


def test_one_die(desk: Desk) -> None:
    write_lot(desk.folder / "one.stdf", desk.workplace.read_new_lot().select(np.arange(1)))
    table = score(desk, "one.stdf", "--allow-absent")
    assert len(table) == 1
    np.testing.assert_array_equal(table.score, expected(desk).score[:1])


def test_a_lot_of_fails_only_has_no_verdict(desk: Desk) -> None:
    lot = desk.workplace.read_new_lot()
    dies = replace(lot.dies, tester_pass=np.zeros(len(lot.dies), dtype=np.int8))
    write_lot(desk.folder / "fails.stdf", replace(lot, dies=dies))
    arguments = ("score", desk.workplace.model, "fails.stdf", "-o", "v.csv")
    answer = desk.run(*arguments, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["counts"]["yield_loss"] is None
    assert "no die was judged" in desk.run(*arguments).out
    assert set(read_verdicts("v.csv").verdict.tolist()) == {int(Verdict.UNSCORED)}
