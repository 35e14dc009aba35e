"""Dies, attempts and lots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from knowngood._errors import InputError, UsageError
from knowngood._lot import NO_COORDINATE, Dies, Lot, LotFacts, mark_attempts, source_name
from knowngood._schema import Schema


def test_attempts_count_up_and_the_last_is_final() -> None:
    def text(*items: str) -> np.ndarray:
        return np.array(items, dtype=object)

    none = NO_COORDINATE
    attempt, final = mark_attempts(
        text("L", "L", "L", "L", "L", "L", "L"),
        text("1", "1", "2", "1", "", "", ""),
        np.array([3, 3, 3, 3, none, none, none], np.int32),
        np.array([4, 4, 4, 4, none, none, none], np.int32),
        text("a", "b", "c", "d", "p7", "p7", ""),
    )
    assert attempt.tolist() == [1, 2, 1, 3, 1, 2, 1]
    assert final.tolist() == [False, False, True, True, False, True, True]


def test_dies_select_and_concatenate() -> None:
    dies = Dies.concatenate([Dies.anonymous(2, lot="A"), Dies.anonymous(1, lot="B")])
    assert dies.lot.tolist() == ["A", "A", "B"]
    assert len(dies.select(np.array([False, False, True]))) == 1


def test_group_tells_heads_with_the_same_site_apart() -> None:
    dies = Dies.anonymous(2)
    dies.head[:] = [1, 2]
    dies.site[:] = [3, 3]
    lot = Lot(np.zeros((2, 1), np.float32), Schema.anonymous(1), dies)
    assert len(set(lot.group.tolist())) == 2


def test_every_head_and_site_has_a_group_of_its_own() -> None:
    dies = Dies.anonymous(4)
    dies.head[:] = [0, 1, 2, 32767]
    dies.site[:] = [300, 300, 44, 65535]
    group = Lot(np.zeros((4, 1), np.float32), Schema.anonymous(1), dies).group
    assert len(set(group.tolist())) == 4
    assert group.min() >= 0
    for name, number in (("site", -1), ("site", 65536), ("head", 32768)):
        bad = Dies.anonymous(1)
        getattr(bad, name)[:] = number
        with pytest.raises(InputError, match=name):
            Lot(np.zeros((1, 1), np.float32), Schema.anonymous(1), bad)


def test_a_lot_prints_one_line() -> None:
    lot = Lot(np.zeros((2, 3), np.float32), Schema.anonymous(3), Dies.anonymous(2))
    assert repr(lot) == "<Lot of 2 test attempts, 3 tests, not from a file>"
    read = replace(lot, facts=LotFacts(source="lot7.stdf"))
    assert repr(read) == "<Lot of 2 test attempts, 3 tests, 'lot7.stdf'>"
    assert repr(lot.dies) == "<Dies of 2 test attempts>"


def test_a_lot_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\(2, 3\)"):
        Lot(np.zeros((2, 4), np.float32), Schema.anonymous(3), Dies.anonymous(2))


def test_source_name() -> None:
    assert source_name("/a/lot7.stdf.gz") == "lot7"
