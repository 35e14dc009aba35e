"""The certificate as text for the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certified_scores import certificate, int8, reference, scored, usual_certificate
from knowngood_quantize.certificate import Certificate, Rate, certificate_table, certify_form
from knowngood_quantize.certificate import _words as words

EVIDENCE = {"points": [{"fpr": 0.02, "expected_rescoring": 0.009}, "odd", {"fpr": 0.005}]}
CERTIFICATE = replace(usual_certificate(), band_evidence=EVIDENCE)
TABLE = certificate_table(CERTIFICATE)


def block(form: str) -> str:
    return next(b for b in TABLE.split("\n\n") if b.startswith(form))


def test_it_fits_a_terminal():
    assert max(map(len, TABLE.splitlines())) <= 100
    narrow = certificate_table(CERTIFICATE, width=60).splitlines()
    assert max(len(line) for line in narrow if line.startswith("  breach")) <= 60


def test_a_number_keeps_its_unit_on_its_line():
    for width in range(60, 101):
        lines = certificate_table(CERTIFICATE, width=width).splitlines()
        assert not [line for line in lines if line.split()[:1] == ["%"]]


def test_the_verdict_comes_first():
    assert TABLE.startswith("certificate  BREACHED, model abababababab, dated 2026-11-22")
    assert certificate_table(CERTIFICATE.only("kgd verified")).startswith("certificate  passed")


def test_steps_of_the_weights_are_told():
    assert "  weights  119, 124.5 steps of int8 at least" in TABLE


def test_each_form_has_its_block():
    assert block("kgd verified").startswith("kgd verified (native 0.1.0 scalar): passed\n")
    assert block("tflite int8").startswith("tflite int8 (litert 2.3): BREACHED\n")
    assert block("kgd fp32").startswith("kgd fp32, the reference (native 0.1.0 scalar)\n")


def test_figures_of_a_point():
    point = CERTIFICATE.forms[2].point(0.02)
    (line,) = (li for li in block("tflite int8").splitlines() if li.startswith("  2 % "))
    flips = point.flips_good
    assert f"{flips.per_10_000:.0f} ({1e4 * flips.low:.0f}…{1e4 * flips.high:.0f})" in line
    assert f"+{100 * point.near.bias:.1f} % ± {100 * point.near.spread:.1f} %" in line


def test_unsupported_points_are_marked():
    assert "  0.1 % *" in block("kgd int8")
    assert "  0.5 % *" not in TABLE


def test_only_verified_tells_what_it_rescored():
    text = block("kgd verified")
    (line,) = (li for li in text.splitlines() if li.startswith("  2 % "))
    assert line.endswith("  1 %     0.9 %  1.75…2.25")  # 40 of 4,000
    (line,) = (li for li in text.splitlines() if li.startswith("  0.5 % "))
    assert line.split()[-2:] == ["–", "2.25…2.75"]  # nothing was expected there
    assert "scores are int8, and fp32 where rescored at 0.5 %; bias" in text
    assert "error near" not in text
    assert "scores are" not in block("kgd int8")
    assert "rescored" not in block("kgd int8")


def test_flips_of_a_host_that_keeps_the_number():
    point = CERTIFICATE.forms[1].point(0.02)
    good, defective = point.flips_good_unchanged, point.flips_defective_unchanged
    told = " ".join(block("kgd int8").split("kept")[1].split())
    assert f"{good.per_10_000:.1f} / {defective.per_10_000:.0f} at 2 %" in told
    assert "kept" not in block("kgd verified")  # its thresholds are the reference's


def test_the_file_of_a_form_is_named_where_it_is_another():
    other = replace(CERTIFICATE.forms[1], model_id="ef" * 32)
    found = certificate_table(replace(CERTIFICATE, forms=(other,)))
    assert "kgd int8 (native 0.1.0 scalar; file efefefefefef): passed" in found


def test_classes_keep_their_order_when_read_back():
    dies = (CERTIFICATE.dies[0], CERTIFICATE.dies[2], CERTIFICATE.dies[1])
    assert [d.name for d in dies] == ["good", "spike", "shift"]
    made = replace(CERTIFICATE, dies=dies)
    for found in (made, Certificate.from_json(made.to_json())):
        assert "  yield loss  rejected   spike   shift\n" in certificate_table(found)


def test_breaches_are_told_with_their_figures():
    told = " ".join(block("tflite int8").split())
    for breach in CERTIFICATE.forms[2].breaches:
        assert breach in told


def test_what_is_not_gated_is_told_as_such():
    bad = replace(CERTIFICATE.forms[2], is_gated=False)
    assert "reported, not gated" in certificate_table(replace(CERTIFICATE, forms=(bad,)))


def test_without_defective_dies():
    dies = scored()
    bare = replace(dies, defective={})
    found = certificate(certify_form(reference(bare), int8(bare)))
    assert "–" in certificate_table(found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (1.0, "1"), (0.9998243, "0.99982"), (0.85, "0.85"), (-0.2, "-0.20")],
)
def test_correlations_show_how_far_below_one_they_are(value, text):
    assert words.correlation(value) == text


def test_errors_of_any_size_are_per_cent():
    assert words.share(2.5e-7) == "0.000025 %"
    assert words.signed_share(-5.4e-6) == "−0.00054 %"
    assert words.share(1e-5) == "0.001 %"
    assert words.signed_share(-0.0028) == "−0.28 %"
    assert words.flips(Rate.of(0, 0)) == "–"
