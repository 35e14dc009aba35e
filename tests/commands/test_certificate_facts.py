"""What ``inspect`` tells of a certificate, and of what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from knowngood._commands._certificate_facts import certificate_facts, certificate_lines


def certificate(**changes: Any) -> dict[str, Any]:
    point = {
        "fpr": 0.005,
        "supported": True,
        "flips_good": [0, 2000, 0.0, 0.002],
        "flips_defective": [3, 6000, 0.0001, 0.002],
        "rescored_good": [12, 2000, 0.003, 0.01],
    }
    form = {"form": "kgd verified", "is_gated": True, "breaches": [], "points": [point]}
    plain = {**form, "form": "kgd int8", "breaches": ["bias: 0.2"], "points": [
        {**point, "fpr": 0.02}, {**point, "flips_good": [1234, 2000, 0, 1], "rescored_good": None}
    ]}  # fmt: skip
    data = {
        "knowngood_certificate": 1,
        "created": "2026-01-01",
        "model_id": "ab",
        "default_fpr": 0.005,
        "forms": [form, plain],
    }
    return {**data, **changes}


def test_flips_at_the_default_operating_point() -> None:
    facts = certificate_facts(json.dumps(certificate()))
    assert facts is not None
    assert [f["flips_good"]["count"] for f in facts["forms"]] == [0, 1234]
    assert [f["breaches"] for f in facts["forms"]] == [[], ["bias: 0.2"]]
    lines = list(certificate_lines(facts))
    assert lines[0] == (
        "  certificate at a yield loss of 0.50%; 'knowngood certify' shows all of it"
    )
    assert lines[1].strip() == (
        "kgd verified: verdicts other than fp32's: 0 of 2,000 good, 3 of 6,000 defective dies; "
        "12 of 2,000 good dies scored again in fp32"
    )
    assert lines[2].endswith("1,234 of 2,000 good, 3 of 6,000 defective dies; breached: bias: 0.2")


def test_an_unsupported_default_point_is_marked() -> None:
    data = certificate()
    for form in data["forms"]:
        form["points"] = [{**point, "supported": False} for point in form["points"]]
    (line, *_) = certificate_lines(certificate_facts(json.dumps(data)))
    assert line.startswith(
        "  certificate at a yield loss of 0.50%, which too few dies support; 'knowngood"
    )


def test_fp32_alone_is_told_as_such() -> None:
    lines = list(certificate_lines(certificate_facts(json.dumps(certificate(forms=[])))))
    assert lines[1].strip().startswith("nothing but fp32, the reference")


def test_no_certificate() -> None:
    assert certificate_facts("") is None
    assert list(certificate_lines(None)) == ["  certificate none"]


def test_what_json_cannot_mean_is_no_certificate() -> None:
    sound = json.dumps(certificate())
    for text in ("[" * 100_000, sound.replace("1234", "1e999"), sound.replace("1234", "NaN")):
        facts = certificate_facts(text)
        assert facts is not None
        assert "unreadable" in facts


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"ok": True},
        certificate(knowngood_certificate=2),
        certificate(forms=[1]),
        certificate(default_fpr=0.3),
        certificate(default_fpr=[1]),
    ],
)
def test_what_is_no_certificate_is_said_to_be_none(data: Any) -> None:
    facts = certificate_facts(json.dumps(data))
    assert list(certificate_lines(facts)) == [
        "  certificate not a certificate that this version of knowngood knows"
    ]
