"""Lots that cannot be read, or are not what the model was made for: refused, with a reason."""

from __future__ import annotations

import json

import pytest
from bad_lots import ALL_BAD_LOTS, OTHER_LOTS, BadLot
from workplace import Desk

UNREADABLE = tuple(case for case in ALL_BAD_LOTS if case.by == "reader")
WITHOUT_CONTENT = tuple(case for case in ALL_BAD_LOTS if case.by == "content")


def by_name(cases: tuple[BadLot, ...]) -> list[object]:
    return [pytest.param(case, id=case.name) for case in cases]


def place(desk: Desk, case: BadLot) -> None:
    case.write(desk.folder / case.name, desk.workplace.read_new_lot())


@pytest.mark.parametrize("case", by_name(ALL_BAD_LOTS))
def test_score_refuses(desk: Desk, case: BadLot) -> None:
    place(desk, case)
    arguments = ["score", desk.workplace.model, case.name, "-o", "v.csv"]
    desk.refuses(3, (case.name, *case.says), *arguments)


@pytest.mark.parametrize("case", by_name(UNREADABLE))
def test_inspect_refuses_what_is_no_lot(desk: Desk, case: BadLot) -> None:
    place(desk, case)
    desk.refuses(3, (case.name,), "inspect", case.name)


@pytest.mark.parametrize("case", by_name(WITHOUT_CONTENT))
def test_inspect_says_what_little_there_is(desk: Desk, case: BadLot) -> None:
    place(desk, case)
    answer = desk.run("inspect", case.name, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["tests"] == 0


@pytest.mark.parametrize("case", by_name(UNREADABLE + WITHOUT_CONTENT))
def test_train_refuses_what_is_no_lot(desk: Desk, case: BadLot) -> None:
    place(desk, case)
    (desk.folder / "out").mkdir()
    desk.refuses(3, (case.name, *case.says), "train", case.name, "-o", "out", "--quiet")


@pytest.mark.parametrize("case", by_name(tuple(c for c in OTHER_LOTS if c.by == "purpose")))
def test_lots_that_do_not_fit_together_are_not_trained_on(desk: Desk, case: BadLot) -> None:
    place(desk, case)
    (desk.folder / "out").mkdir()
    first = desk.workplace.lots[0]
    desk.refuses(3, (case.name,), "train", first, case.name, "-o", "out", "--quiet")
