"""Schema: what is refused, what is warned about, and that the digest sees everything."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._errors import SchemaMismatchError
from knowngood._schema import Purpose, Schema, Test

TESTS = (
    Test(100, "VDD", units="V", low=0.9, high=1.1),
    Test(100, "VDD", pin="IO1", units="V"),
    Test(200, "IDDQ", units="A", high=1e-6),
)
PURPOSE = Purpose("CHIP", "25", "WS1", "prog", "A")
MODEL = Schema(TESTS, PURPOSE)


def data_schema(*tests: Test, **purpose: str) -> Schema:
    return Schema(tests or TESTS, dataclasses.replace(PURPOSE, **purpose))


def test_align_reorders_by_key_and_ignores_extra_tests() -> None:
    extra = Test(300, "NEW", units="s")
    alignment = MODEL.align(data_schema(extra, TESTS[2], TESTS[1], TESTS[0]))
    values = np.array([[3, 2, 1, 0]], dtype=np.float32)
    assert alignment.apply(values).tolist() == [[0, 1, 2]]
    assert alignment.warnings == ()


@pytest.mark.parametrize(
    ("purpose", "named"),
    [
        ({"part_type": "OTHER"}, "part type"),
        ({"temperature": "85"}, "temperature"),
        ({"flow": "FT"}, "flow"),
    ],
)
def test_another_purpose_is_refused_by_name(purpose: dict[str, str], named: str) -> None:
    with pytest.raises(SchemaMismatchError, match=named):
        MODEL.align(data_schema(**purpose))


@pytest.mark.parametrize(
    "purpose", [{"temperature": "25.0"}, {"part_type": " chip "}, {"flow": ""}]
)
def test_the_same_purpose_in_other_words_is_accepted(purpose: dict[str, str]) -> None:
    assert MODEL.align(data_schema(**purpose)).warnings == ()


def test_program_and_limits_warn_and_strict_refuses() -> None:
    other = data_schema(dataclasses.replace(TESTS[0], high=1.2), *TESTS[1:], revision="B")
    warnings = MODEL.align(other).warnings
    assert len(warnings) == 2
    assert "revision" in warnings[0]
    assert "limits" in warnings[1]
    with pytest.raises(SchemaMismatchError, match="revision"):
        MODEL.align(other, strict=True)


def test_other_units_are_refused_and_unknown_units_warned_about() -> None:
    with pytest.raises(SchemaMismatchError, match="units 'V' became 'mV'"):
        MODEL.align(data_schema(dataclasses.replace(TESTS[0], units="mV"), *TESTS[1:]))
    unknown = MODEL.align(data_schema(dataclasses.replace(TESTS[0], units=""), *TESTS[1:]))
    assert unknown.warnings == ("units: the data carry none for 1 test (first: '100 VDD')",)


def test_a_renamed_test_is_refused_and_the_likely_one_named() -> None:
    renamed = dataclasses.replace(TESTS[2], name="IDDQ_NEW")
    with pytest.raises(SchemaMismatchError, match=r"'200 IDDQ'.*'200 IDDQ_NEW'"):
        MODEL.align(data_schema(*TESTS[:2], renamed))


def test_an_absent_test_counts_as_missing_only_when_allowed() -> None:
    alignment = MODEL.align(data_schema(*TESTS[:2]), allow_absent=True)
    applied = alignment.apply(np.ones((2, 2), dtype=np.float32))
    assert np.isnan(applied[:, 2]).all()
    assert (applied[:, :2] == 1).all()
    assert "IDDQ" in alignment.warnings[0]


def test_number_alone_is_not_a_key() -> None:
    with pytest.raises(SchemaMismatchError, match="IO1"):
        MODEL.align(data_schema(TESTS[0], TESTS[2]))


def test_data_without_any_limits_are_one_warning() -> None:
    bare = data_schema(*(dataclasses.replace(t, low=None, high=None) for t in TESTS))
    n_limited = sum(t.low is not None or t.high is not None for t in TESTS)
    (warning,) = MODEL.align(bare).warnings
    assert f"none for {n_limited} tests" in warning
    with pytest.raises(SchemaMismatchError, match="limits"):
        MODEL.align(bare, strict=True)


def test_data_or_a_model_without_any_units_are_one_warning() -> None:
    bare = data_schema(*(dataclasses.replace(t, units=" ") for t in TESTS))
    first = "3 tests (first: '100 VDD')"
    assert MODEL.align(bare).warnings == (f"units: the data carry none for {first}",)
    assert bare.align(MODEL).warnings == (f"units: the model has none for {first}",)
    for model, data in ((MODEL, bare), (bare, MODEL)):
        with pytest.raises(SchemaMismatchError, match="units"):
            model.align(data, strict=True)


def test_limits_that_only_the_data_carry_are_one_warning() -> None:
    bare = data_schema(*(dataclasses.replace(t, low=None, high=None) for t in TESTS))
    (warning,) = bare.align(MODEL).warnings
    assert warning == "limits: the model has none for 2 tests (first: '100 VDD')"


@pytest.mark.parametrize(
    ("ours", "theirs", "shown"),
    [
        (
            (1.8700000047683716, 2.109999895095825),
            (1.87, None),
            "1.87 … 2.11 V became 1.87 … none V",
        ),
        ((None, 2.5e-9), (-1e6, 2.5e-9), "none … 2.5e-09 V became -1e+06 … 2.5e-09 V"),
        ((0.0, 1.000001), (0.0, 1.000004), "0 … 1.000001 V became 0 … 1.000004 V"),
    ],
)
def test_other_limits_are_shown_as_people_write_them(
    ours: tuple[float, float], theirs: tuple[float, float], shown: str
) -> None:
    model, data = (
        Schema((Test(1, "VREF", units="V", low=low, high=high),)) for low, high in (ours, theirs)
    )
    assert model.align(data).warnings == (f"test '1 VREF': limits {shown}",)


def test_a_schema_prints_one_line() -> None:
    assert repr(MODEL) == "<Schema of 3 tests, 'CHIP', '25', 'WS1', 'prog', 'A'>"
    assert repr(Schema.anonymous(5000)) == "<Schema of 5000 tests, purpose not known>"


def test_two_columns_for_one_test_are_refused() -> None:
    with pytest.raises(SchemaMismatchError, match=f"'{TESTS[0].label}' is 2 columns"):
        MODEL.align(data_schema(*TESTS, TESTS[0]))
    MODEL.align(data_schema(*TESTS, *[Test(9, "EXTRA")] * 2))  # not the model's: ignored


text = st.text(max_size=8)
limits = st.none() | st.floats(allow_nan=False, allow_infinity=False)
tests = st.builds(Test, st.integers(0, 2**32 - 1), text, text, text, limits, limits)


@given(st.lists(tests, max_size=5), st.builds(Purpose, text, text, text, text, text))
def test_json_round_trip_keeps_the_digest(items: list[Test], purpose: Purpose) -> None:
    schema = Schema(tuple(items), purpose)
    again = Schema.from_json(schema.to_json())
    assert again == schema
    assert again.digest == schema.digest


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Test)])
def test_the_digest_sees_every_field_of_a_test(field: str) -> None:
    changed = {"number": 101, "low": 0.8, "high": 1.3}.get(field, "other")
    other = Schema((dataclasses.replace(TESTS[0], **{field: changed}), *TESTS[1:]), PURPOSE)
    assert other.digest != MODEL.digest
