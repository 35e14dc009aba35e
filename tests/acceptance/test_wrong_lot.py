"""A sealed model and lots that it was not made for: refused, or told and recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bad_lots import OTHER_LOTS, BadLot, with_purpose, with_test
from workplace import Desk

import knowngood
from knowngood._lot import Lot


@dataclass(frozen=True)
class NearLot:
    """A lot that may be scored, with a difference that must be known.

    ``says``: what the warning names, both sides of it.
    """

    name: str
    write: Callable[[Path, Lot], object]
    says: tuple[str, ...]


NEAR_LOTS = (
    NearLot("low.stdf", with_test(3, low=-123.5), ("limits", "-123.5")),
    NearLot("high.stdf", with_test(3, high=1e6), ("limits", "1e+06")),
    NearLot("program.stdf", with_purpose(program="OTHER"), ("program", "'OTHER'")),
    NearLot("revision.stdf", with_purpose(revision="Z9"), ("revision", "'Z9'")),
)
KNOWN_SIDES = {"temperature.stdf": "temperature", "part.stdf": "part_type", "flow.stdf": "flow"}


def sealed(desk: Desk) -> Path:
    return desk.workplace.model.with_name("model.kgd")


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in OTHER_LOTS])
def test_another_lot_is_refused_naming_both_sides(desk: Desk, case: BadLot) -> None:
    lot = desk.workplace.read_new_lot()
    case.write(desk.folder / case.name, lot)
    says = (case.name, "model.kgd", *case.says)
    if case.name in KNOWN_SIDES:
        says += (repr(getattr(lot.schema.purpose, KNOWN_SIDES[case.name])),)
    desk.refuses(3, says, "score", sealed(desk), case.name, "-o", "v.csv")


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in NEAR_LOTS])
def test_a_difference_that_is_allowed_is_told_and_recorded(desk: Desk, case: NearLot) -> None:
    lot = desk.workplace.read_new_lot()
    case.write(desk.folder / case.name, lot)
    arguments = ("score", sealed(desk), case.name, "-o")
    answer = desk.run(*arguments, "v.csv")
    assert answer.code == 0, answer.err
    (told,) = (line for line in answer.out.splitlines() if case.says[0] in line)
    table = knowngood.read_verdicts("v.csv")
    assert table.run is not None
    (recorded,) = table.run["warnings"]
    assert told == f"warning   {recorded}"
    assert all(words in recorded for words in case.says)
    if case.says[0] == "limits":
        assert lot.schema.tests[3].label in recorded
    else:
        assert repr(getattr(lot.schema.purpose, case.says[0])) in recorded
    plain = knowngood.load(sealed(desk)).score_lot(lot)
    np.testing.assert_array_equal(table.score, plain.scores)
    assert not plain.warnings
    desk.refuses(3, (case.name, *case.says), *arguments, "w.csv", "--strict")


@pytest.mark.parametrize("precision", [None, "int8", "fp32"])
def test_the_record_names_file_model_format_precision_and_engine(
    desk: Desk, precision: str | None
) -> None:
    options = () if precision is None else ("--precision", precision)
    lot = desk.workplace.new_lot
    answer = desk.run("score", sealed(desk), lot, "-o", "v.csv", "--json", *options)
    assert answer.code == 0, answer.err
    model = json.loads(answer.out)["model"]
    facts = json.loads(desk.run("inspect", sealed(desk), "--json").out)
    data = sealed(desk).read_bytes()
    assert model == {
        "path": str(sealed(desk)),
        "sha256": hashlib.sha256(data[:32] + data[64:-128]).hexdigest(),
        "model_id": facts["model_id"],
        "format": "kgd 1.0",
        "detector": "autoencoder",
        "precision": precision or facts["precision"],
        "engine": "native",
        "engine_version": knowngood.__version__,
        "cpu_path": knowngood.cpu_paths()[0],
    }
    expected = knowngood.load(sealed(desk), precision=precision).score_lot(knowngood.read_lot(lot))
    np.testing.assert_array_equal(knowngood.read_verdicts("v.csv").score, expected.scores)


def test_a_precision_that_the_file_does_not_have(desk: Desk) -> None:
    arguments = (desk.workplace.new_lot, "-o", "v.csv", "--precision")
    says = ("no precision 'int4'", "int8", "fp32", "--precision")
    desk.refuses(2, says, "score", sealed(desk), *arguments, "int4")
    desk.refuses(2, ("'int8'", "fp32"), "score", desk.workplace.model, *arguments, "int8")
