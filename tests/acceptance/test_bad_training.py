"""Lots that nothing can be learnt from, and reports on what is no verdict table."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from workplace import QUICK, Desk

from knowngood._lot import Lot
from knowngood.stdf import read_stdf, write_lot


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Lot], Lot]:
    return lambda lot: replace(lot, values=change(lot.values.copy()).astype(np.float32))


def all_fail(lot: Lot) -> Lot:
    verdicts = np.zeros(len(lot.dies), dtype=np.int8)
    return replace(lot, dies=replace(lot.dies, tester_pass=verdicts))


def few_tests(lot: Lot) -> Lot:
    return Lot(lot.values[:, :3], lot.schema.select(range(3)), lot.dies, lot.facts)


def all_but_three_constant(lot: Lot) -> Lot:
    values = lot.values.copy()
    values[:, 3:] = 1.5
    return replace(lot, values=values)


def nearly_all_missing(values: np.ndarray) -> np.ndarray:
    values[1:] = np.nan
    return values


NOTHING_TO_LEARN: dict[str, tuple[Callable[[Lot], Lot], tuple[str, ...]]] = {
    "one die": (lambda lot: lot.select(np.array([3])), ("1 good die",)),
    "thirty dies": (lambda lot: lot.select(np.arange(30)), ("good dies of 30", "at least 30")),
    "fails only": (all_fail, ("none of the", "tester fail")),
    "three tests": (few_tests, ("3 tests", "at least 4")),
    "constant tests": (changed(lambda v: np.ones_like(v)), ("0 tests", "constant")),
    "all but three constant": (all_but_three_constant, ("3 tests", "at least 4")),
    "hardly a result": (changed(nearly_all_missing), ("good dies",)),
    "infinities only": (changed(lambda v: np.full_like(v, np.inf)), ("infinite reading",)),
}


@pytest.mark.parametrize("case", NOTHING_TO_LEARN)
def test_too_little_to_learn_from(desk: Desk, case: str) -> None:
    change, says = NOTHING_TO_LEARN[case]
    write_lot(desk.folder / "lot.stdf", change(read_stdf(desk.workplace.lots[0])))
    (desk.folder / "out").mkdir()
    desk.refuses(3, says, "train", "lot.stdf", "-o", "out", *QUICK)


def test_tests_without_results_and_constant_ones_are_dropped_by_name(desk: Desk) -> None:
    lot = read_stdf(desk.workplace.lots[0])
    values = lot.values.copy()
    values[1:, 0], values[:, 1] = np.nan, 2.5
    write_lot(desk.folder / "lot.stdf", replace(lot, values=values))
    arguments = ("train", "lot.stdf", "-o", ".", "--epochs", "1", "--folds", "0")
    answer = desk.run(*arguments)
    assert answer.code == 0, answer.err
    for test in lot.schema.tests[:2]:
        assert any(test.label in x and "dropped" in x for x in answer.out.splitlines())
    assert "22 used" in answer.out


NO_CONDITION = {
    "colour == 1": "colour",
    "hard_bin == 77": "none of the",
    "hard_bin == 'one'": "hard_bin",
}


@pytest.mark.parametrize("condition", NO_CONDITION)
def test_conditions_that_name_no_good_die(desk: Desk, condition: str) -> None:
    (desk.folder / "out").mkdir()
    arguments = ("train", desk.workplace.lots[0], "-o", "out", "--good-if", condition, *QUICK)
    desk.refuses(3, (NO_CONDITION[condition],), *arguments)


def edited(change: Callable[[list[str]], list[str]]) -> Callable[[Path, Desk], object]:
    """The verdict table with other lines."""

    def write(path: Path, desk: Desk) -> None:
        lines = desk.workplace.verdicts.read_text().splitlines()
        path.write_text("\n".join(change(lines)) + "\n")

    return write


def with_record(text: str) -> Callable[[Path, Desk], object]:
    def write(path: Path, desk: Desk) -> None:
        shutil.copy(desk.workplace.verdicts, path)
        path.with_name(f"{path.name}.run.json").write_text(text)

    return write


NO_VERDICTS: dict[str, tuple[Callable[[Path, Desk], object], str]] = {
    "absent.csv": (lambda path, desk: None, "No such file"),
    "folder.csv": (lambda path, desk: path.mkdir(), "Is a directory"),
    "empty.csv": (lambda path, desk: path.write_bytes(b""), "no column lot"),
    "noise.csv": (lambda path, desk: path.write_bytes(bytes(range(256))), "no verdict table"),
    "noise.parquet": (lambda path, desk: path.write_bytes(bytes(64)), "no Parquet file"),
    "lot.csv": (lambda path, desk: path.write_text("T1,T2\n1,2\n"), "no column lot"),
    "lot.stdf": (lambda path, desk: shutil.copy(desk.workplace.new_lot, path), ".csv or .parquet"),
    "cut.csv": (edited(lambda x: [*x[:3], x[3][:20]]), "row 4"),
    "word.csv": (edited(lambda x: [*x[:3], x[3].replace("PASS", "GOOD")]), "column verdict"),
    "number.csv": (edited(lambda x: [*x[:3], "L,W,one" + ",1" * 14]), "row 4, column x"),
    "record.csv": (with_record("{"), "record.csv.run.json"),
    "newer.csv": (with_record('{"knowngood_run": 99}'), "newer.csv.run.json"),
    "bare.csv": (with_record('{"knowngood_run": 1}'), "created"),
    "odd.csv": (with_record('{"knowngood_run": 1, "model": 7}'), "created"),
}


@pytest.mark.parametrize("name", NO_VERDICTS)
def test_a_report_on_what_is_no_verdict_table(desk: Desk, name: str) -> None:
    write, says = NO_VERDICTS[name]
    write(desk.folder / name, desk)
    desk.refuses(3, (name, says), "report", name, "-o", "r.html")
