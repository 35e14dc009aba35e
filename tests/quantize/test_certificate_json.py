"""A certificate as JSON: read back equal, canonical, refused by field where it is damaged."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certified_scores import certificate, disturbed, int8, reference, scored, usual_certificate
from knowngood import InputError
from knowngood._kgd import decode, encode
from knowngood_quantize.certificate import Certificate, certify_form
from sealed_models import tiny_sealed

CERTIFICATE = usual_certificate()
DATA = json.loads(CERTIFICATE.to_json())


def leaves(data, path=()):
    if isinstance(data, (dict, list)):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, (*path, key))
    else:
        yield path, type(data)


LEAVES = [
    (path, kind)
    for path, kind in leaves(DATA)
    if path[0] not in ("recipe", "band_evidence", "knowngood_certificate")
]
OPTIONAL = (
    "cpu_path", "float64_error_median", "float64_error_worst", "auc", "auc_change", "spearman",
    "top5_overlap", "bias", "spread", "low", "high", "worst", "band_low", "band_high",
)  # fmt: skip
WRONG = {
    str: ({}, 3, True, None),
    bool: ({}, 3, "yes", None),
    int: ({}, "3", True, 3.5, None, 10**400),
    float: ([], "3", True, None, math.nan, -math.inf, 10**400),
    type(None): ([], "3", True, math.nan),
}


def with_leaf(path, value):
    data = json.loads(CERTIFICATE.to_json())
    holder = data
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return json.dumps(data)


def test_it_is_read_back_equal():
    assert Certificate.from_json(CERTIFICATE.to_json()) == CERTIFICATE
    assert Certificate.from_json(CERTIFICATE.to_json().encode()) == CERTIFICATE


def test_it_is_what_a_kgd_takes():
    """Canonical, in ASCII, within the caps of docs/format.md, and back byte for byte."""
    text = CERTIFICATE.to_json()
    model = tiny_sealed(certificate=text)
    assert decode(encode(model), "model.kgd").model.certificate == text
    assert "\\u00e9" in text


def test_three_forms_of_a_kgd_stay_far_below_its_caps():
    text = CERTIFICATE.to_json()
    assert len(text) < 64_000
    assert sum(text.count(c) for c in "[{,:") < 4096


def test_rates_are_arrays_of_count_dies_and_bounds():
    point = CERTIFICATE.forms[1].point(0.02)
    found = DATA["forms"][1]["points"][2]["flips_good"]
    assert found == [point.flips_good.count, 4000, point.flips_good.low, point.flips_good.high]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_field_of_another_kind_is_refused(data):
    path, kind = data.draw(st.sampled_from(LEAVES))
    value = data.draw(st.sampled_from(WRONG[kind]))
    if value is None and path[-1] in OPTIONAL:
        value = {}
    with pytest.raises(InputError, match="expected"):
        Certificate.from_json(with_leaf(path, value))


def test_the_message_names_the_place():
    path = ("forms", 0, "points", 0, "flips_good", 1)
    with pytest.raises(InputError, match=r"forms.*flips_good\.n: expected int, found 'many'"):
        Certificate.from_json(with_leaf(path, "many"))
    with pytest.raises(InputError, match=r"flips_good: expected \[count, n, low, high\]"):
        Certificate.from_json(with_leaf(path[:-1], [1, 2]))
    with pytest.raises(InputError, match=r"kind: expected one of good, defective, found 'bad'"):
        Certificate.from_json(with_leaf(("dies", 0, "kind"), "bad"))


@pytest.mark.parametrize("field", ["forms", "created", "gates"])
def test_a_missing_field_is_named(field):
    data = {k: v for k, v in DATA.items() if k != field}
    with pytest.raises(InputError, match=rf"; missing: {field}$"):
        Certificate.from_json(json.dumps(data))


def test_an_unknown_field_is_named():
    with pytest.raises(InputError, match=r"; unknown: colour$"):
        Certificate.from_json(json.dumps({**DATA, "colour": 1}))


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "3", '{"a": 1}', "[" * 100_000])
def test_other_files_are_refused(text):
    with pytest.raises(InputError, match="not a certificate of knowngood"):
        Certificate.from_json(text)


def test_another_version_is_refused():
    with pytest.raises(InputError, match="has version 2, this knowngood reads 1"):
        Certificate.from_json(json.dumps({**DATA, "knowngood_certificate": 2}))


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        ([5, 4, 0.1, 0.9], "expected 0 to 4 dies, found 5"),
        ([-1, 4, 0.1, 0.9], "expected 0 to 4 dies, found -1"),
        ([0, -1, 0, 1], "expected 0 to -1 dies"),
        ([1, 4, 0.3, 0.9], "expected bounds about 1 of 4 dies, found 0.3 to 0.9"),
        ([3, 4, 0.1, 0.7], "expected bounds about 3 of 4 dies"),
        ([1, 4, -0.1, 0.9], "expected bounds"),
        ([1, 4, 0.1, 1.1], "expected bounds"),
        ([0, 0, 0.9, 0.1], "expected bounds about 0 of 0 dies, found 0.9 to 0.1"),
    ],
)
def test_a_share_that_cannot_be_is_refused(rate, told):
    path = ("forms", 0, "points", 0, "flips_good")
    with pytest.raises(InputError, match=rf"flips_good: {told}"):
        Certificate.from_json(with_leaf(path, rate))


@pytest.mark.parametrize("field", ["recipe", "band_evidence"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_free_fields_hold_finite_numbers(field, number):
    text = with_leaf((field,), {"trials": [{"flips": "here"}]}).replace('"here"', number)
    with pytest.raises(InputError, match=rf"{field}\.trials\.0\.flips: expected float, found"):
        Certificate.from_json(text)


@pytest.mark.parametrize("depth", [40, 900])
def test_free_fields_are_no_deeper_than_can_be_written_again(depth):
    text = with_leaf(("recipe",), {"a": "here"}).replace('"here"', "[" * depth + "]" * depth)
    with pytest.raises(InputError):
        Certificate.from_json(text)


def test_the_forms_of_one_file():
    only = CERTIFICATE.only("tflite int8")
    assert [form.form for form in only.forms] == ["tflite int8"]
    assert replace(only, forms=CERTIFICATE.forms) == CERTIFICATE


def test_a_file_of_fp32_alone_has_no_steps_of_int8():
    assert CERTIFICATE.only("kgd verified").weight_steps == CERTIFICATE.weight_steps != ()
    assert CERTIFICATE.only().weight_steps == ()


def test_a_certificate_passes_if_every_gated_form_does():
    dies = scored()
    good = certify_form(reference(dies), int8(dies))
    bad = certify_form(reference(dies), int8(disturbed(dies, 0.3, 0.2)))
    assert certificate(good).passed
    assert not certificate(good, bad).passed
    told = certificate(good, replace(bad, is_gated=False))
    assert told.passed
    assert told.breaches == ()
    assert told.forms[1].breaches
    assert certificate(bad).breaches[0].startswith("kgd int8: ")
