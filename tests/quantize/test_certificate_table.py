"""The certificate as text for the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certified_scores import certificate, int8, reference, scored, usual_certificate
from knowngood_quantize.certificate import Rate, certificate_table, certify_form
from knowngood_quantize.certificate import _words as words

CERTIFICATE = usual_certificate()
TABLE = certificate_table(CERTIFICATE)


def block(form: str) -> str:
    return next(b for b in TABLE.split("\n\n") if b.startswith(form))


def test_it_fits_a_terminal():
    assert max(map(len, TABLE.splitlines())) <= 100
    narrow = certificate_table(CERTIFICATE, width=60).splitlines()
    assert max(len(line) for line in narrow if line.startswith("  breach")) <= 60


def test_the_verdict_comes_first():
    assert TABLE.startswith("certificate  BREACHED, model abababababab, made 2026-11-22")
    assert certificate_table(CERTIFICATE.only("kgd verified")).startswith("certificate  passed")


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
    assert "rescored" in block("kgd verified")
    assert "     1 %\n" in block("kgd verified")  # 40 of 4,000
    assert "rescored" not in block("kgd int8")


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


def test_small_errors_are_powers_of_ten():
    assert words.share(2.5e-7) == "2.5e-07"
    assert words.signed_share(-0.0028) == "−0.28 %"
    assert words.flips(Rate.of(0, 0)) == "–"
