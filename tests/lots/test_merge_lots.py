"""Several lots as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from knowngood._errors import SchemaMismatchError, UsageError
from knowngood._lot import Dies, Lot, LotFacts
from knowngood._read_lot import merge_lots
from knowngood._schema import Purpose, Schema, Test

VDD = Test(1, "VDD", units="V", low=0.0, high=2.0)
IDD = Test(2, "IDD", units="A")
FREQ = Test(3, "FREQ", units="Hz")
UNKNOWN = Purpose()


def make(name: str, tests: tuple[Test, ...], n_dies: int = 2, purpose: Purpose = UNKNOWN) -> Lot:
    """A lot whose values are its tests' numbers, plus the row over ten."""
    values = np.array([[t.number + row / 10 for t in tests] for row in range(n_dies)], np.float32)
    facts = LotFacts(source=f"{name}.csv", kind="csv", records={"PTR": 3}, odd=("strange",))
    return Lot(values, Schema(tests, purpose), Dies.anonymous(n_dies, lot=name), facts)


def test_common_tests_stay_in_the_first_lots_order() -> None:
    merged = merge_lots([make("A", (IDD, VDD, FREQ)), make("B", (VDD, IDD), 1)])
    assert merged.schema.tests == (IDD, VDD)
    np.testing.assert_array_equal(
        merged.values, np.array([[2.0, 1.0], [2.1, 1.1], [2.0, 1.0]], np.float32)
    )
    assert merged.dies.lot.tolist() == ["A", "A", "B"]
    assert any("3 FREQ" in note for note in merged.facts.odd)


def test_facts_are_put_together() -> None:
    facts = merge_lots([make("A", (VDD,)), make("B", (VDD,))]).facts
    assert facts.source == "A.csv, B.csv"
    assert facts.records == {"PTR": 6}
    assert {"A.csv: strange", "B.csv: strange"} <= set(facts.odd)


@pytest.mark.parametrize("field", ["part_type", "temperature", "flow"])
def test_lots_tested_as_something_else_are_refused(field: str) -> None:
    lots = [
        make("A", (VDD,)),
        make("B", (VDD,), purpose=Purpose(**{field: "1"})),
        make("C", (VDD,), purpose=Purpose(**{field: "2"})),
    ]
    assert getattr(merge_lots(lots[:2]).schema.purpose, field) == "1"
    with pytest.raises(SchemaMismatchError, match=r"(?s)C\.csv was not tested like A\.csv.*'1'"):
        merge_lots(lots)


def test_other_units_are_refused() -> None:
    with pytest.raises(SchemaMismatchError, match="units 'V' became 'mV'"):
        merge_lots([make("A", (VDD,)), make("B", (replace(VDD, units="mV"),))])


@pytest.mark.parametrize("field", ["program", "revision"])
def test_another_program_and_other_limits_are_noted(field: str) -> None:
    other = make("B", (replace(VDD, high=3.0),), purpose=Purpose(**{field: "new"}))
    merged = merge_lots([make("A", (VDD,), purpose=Purpose(**{field: "old"})), other])
    notes = " | ".join(merged.facts.odd)
    assert "B.csv: test '1 VDD': limits 0 … 2 V became 0 … 3 V" in notes
    assert f"B.csv: {field}" in notes
    assert merged.schema.tests == (VDD,)


def test_nothing_in_common_and_nothing_at_all_are_refused() -> None:
    with pytest.raises(SchemaMismatchError, match=r"no test is in all of A\.csv, B\.csv"):
        merge_lots([make("A", (VDD,)), make("B", (IDD,))])
    with pytest.raises(UsageError, match="no lots"):
        merge_lots([])


def test_bare_arrays_need_the_same_width() -> None:
    three, two = Schema.anonymous(3).tests, Schema.anonymous(2).tests
    assert merge_lots([make("A", three), make("B", three)]).schema.n_tests == 3
    with pytest.raises(SchemaMismatchError, match="found 2, 3"):
        merge_lots([make("A", three), make("B", two)])


def test_a_die_retested_in_a_later_file_is_final_there() -> None:
    first, second = make("A", (VDD,)), make("A", (VDD,))
    for lot in (first, second):
        lot.dies.x[:] = [1, 2]
        lot.dies.y[:] = 5
    second.dies.x[1] = 9
    merged = merge_lots([first, second]).dies
    assert merged.attempt.tolist() == [1, 1, 2, 1]
    assert merged.is_final.tolist() == [False, True, True, True]


def test_equal_part_ids_of_two_files_are_two_dies() -> None:
    merged = merge_lots([make("A", (VDD,)), make("A", (VDD,))]).dies
    assert merged.part_id.tolist() == ["1", "2", "1", "2"]
    assert merged.is_final.all()


def test_equal_coordinates_of_two_files_without_lot_are_two_dies() -> None:
    lots = [make("", (VDD,), 1), make("", (VDD,), 1)]
    for lot in lots:
        lot.dies.x[:], lot.dies.y[:] = 1, 1
    assert merge_lots(lots).dies.is_final.all()


def test_retests_within_a_file_stay_retests() -> None:
    lot = make("A", (VDD,))
    lot.dies.part_id[:] = "same"
    assert merge_lots([lot, make("B", (VDD,))]).dies.is_final.tolist() == [False, True, True, True]
