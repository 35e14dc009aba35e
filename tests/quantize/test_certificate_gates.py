"""What the gates allow, at their very limits."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from certified_scores import disturbed, int8, reference, scored, verified
from knowngood import InputError
from knowngood_quantize.certificate import (
    CertificateGates,
    FormLimits,
    Rate,
    ScoreError,
    certify_form,
)

DOCS = Path(__file__).parents[2] / "docs"
GATES = CertificateGates()
INT8 = GATES.limits[0]
DIES = scored()
SAME = certify_form(reference(DIES), int8(DIES))
VERIFIED = certify_form(reference(DIES), verified(DIES))


def with_point(form, fpr, **changes):
    points = tuple(replace(p, **changes) if p.fpr == fpr else p for p in form.points)
    return replace(form, points=points)


def test_the_same_scores_pass():
    assert GATES.breaches(SAME) == ()
    assert GATES.breaches(VERIFIED) == ()


def test_a_bias_beyond_the_limit_is_told_with_both_figures():
    at, beyond = (replace(SAME, error=ScoreError(10, bias=b)) for b in (INT8.bias, -0.0312))
    assert GATES.breaches(at) == ()
    (breach,) = GATES.breaches(beyond)
    assert breach == (
        f"median relative score error of good dies: 0.0312, at most {INT8.bias:.3g} is allowed"
    )


def test_order_and_auc():
    breaches = GATES.breaches(replace(SAME, spearman=0.9, auc_change=-0.02))
    assert breaches == (
        f"change of the AUC: 0.02, at most {INT8.auc_change:.3g} is allowed",
        f"rank correlation with the reference: 0.9, at least {INT8.spearman:.5g} is asked for",
    )
    assert GATES.breaches(replace(SAME, spearman=None, auc_change=None)) == ()


def test_flips_breach_once_chance_cannot_explain_them():
    """The share of flips may reach a quarter of the yield loss: of 4,000 dies at 2 %, 20 flips."""
    allowed = INT8.flips_good * 0.02
    assert allowed * 4000 == 20

    def breaches(count):
        return GATES.breaches(with_point(SAME, 0.02, flips_good=Rate.of(count, 4000)))

    fewest = next(k for k in range(100) if breaches(k))
    assert stats.binomtest(fewest, 4000).proportion_ci(0.95).low > allowed
    assert stats.binomtest(fewest - 1, 4000).proportion_ci(0.95).low <= allowed
    assert f"({fewest} of 4,000; at least " in breaches(fewest)[0]
    assert "at a yield loss of 2 %: " in breaches(fewest)[0]
    assert breaches(fewest)[0].endswith("at most 50 is allowed")


def test_defective_dies_have_a_limit_of_their_own():
    many = with_point(SAME, 0.005, flips_defective=Rate.of(60, 1000))
    (breach,) = GATES.breaches(many)
    assert breach.startswith("defective dies flipped at a yield loss of 0.5 %: 600 per 10,000 (60")


@pytest.mark.parametrize("fpr", [0.0005, 0.05])
def test_points_outside_the_range_are_not_gated(fpr):
    points = tuple(replace(p, fpr=fpr, flips_good=Rate.of(4000, 4000)) for p in SAME.points[1:2])
    assert GATES.breaches(replace(SAME, points=points)) == ()
    assert replace(GATES, fpr_low=fpr, fpr_high=fpr).breaches(replace(SAME, points=points))


def test_unsupported_points_are_not_gated():
    flips = Rate.of(4000, 4000)
    assert GATES.breaches(with_point(SAME, 0.001, flips_good=flips)) == ()
    assert GATES.breaches(with_point(SAME, 0.001, flips_good=flips, supported=True))


def test_too_few_dies_judge_no_bias_but_noise_is_refused_all_the_same():
    few = replace(SAME, points=tuple(replace(p, supported=False) for p in SAME.points))
    biased = replace(few, error=ScoreError(50, bias=0.07), spearman=0.8, auc_change=0.01)
    assert GATES.breaches(biased) == ()
    noise = replace(biased, error=ScoreError(50, bias=1.25))
    (breach,) = GATES.breaches(noise)
    assert breach == "median relative score error of good dies: 1.25, at most 1 is allowed"
    assert GATES.of_noise(replace(noise, precision="verified")) == ()


@pytest.mark.parametrize("kind", ["good", "defective"])
def test_one_flip_of_verified_is_a_breach(kind):
    flipped = with_point(VERIFIED, 0.005, **{f"flips_{kind}": Rate.of(1, 10**6)})
    (breach,) = GATES.breaches(flipped)
    told = f"{kind} dies flipped at a yield loss of 0.5 %: 1 of 1,000,000, at most 0 is allowed"
    assert breach == told


def test_verified_may_be_asked_to_rescore_few():
    gates = CertificateGates(rescoring=0.25)
    assert gates.breaches(with_point(VERIFIED, 0.02, rescored_good=Rate.of(1010, 4000))) == ()
    (breach,) = gates.breaches(with_point(VERIFIED, 0.02, rescored_good=Rate.of(1200, 4000)))
    assert breach.endswith("30.0 % of 4,000, at most 25.0 % is allowed")


def test_slow_verified_verdicts_are_right_and_allowed():
    slow = with_point(VERIFIED, 0.02, rescored_good=Rate.of(4000, 4000))
    assert GATES.breaches(slow) == ()


def test_bias_of_verified_is_not_gated():
    """Its scores away from the thresholds are those of int8; its verdicts are what counts."""
    assert GATES.breaches(replace(VERIFIED, spearman=0.5, error=ScoreError(9, bias=0.5))) == ()


def test_fp32_may_err_as_much_as_float32_arithmetic_explains():
    form = replace(SAME, precision="fp32", error=ScoreError(10, worst=2e-5))
    assert GATES.breaches(form, 5e-6) == ()
    (breach,) = GATES.breaches(form, 1e-6)
    assert breach == "worst relative score error: 2e-05, at most 5e-06 is allowed"
    assert GATES.breaches(form) == (breach,)


def test_fp32_flips_no_more_than_a_handful():
    form = replace(SAME, precision="fp32")
    assert GATES.breaches(with_point(form, 0.02, flips_good=Rate.of(5, 4000))) == ()
    assert len(GATES.breaches(with_point(form, 0.02, flips_good=Rate.of(6, 4000)))) == 1


def test_dies_scored_by_one_alone_breach_any_form():
    for form in (SAME, VERIFIED, replace(SAME, precision="fp32")):
        (breach,) = GATES.breaches(replace(form, unscored_differ_defective=2))
        assert "but not by both: 2, none allowed" in breach


@pytest.mark.parametrize("precision", ["verified", "int8", "int16x8", "int8-full"])
def test_coarse_weights_breach_any_form_with_int8_layers(precision):
    form = replace(SAME, precision=precision)
    assert GATES.breaches(form, None, (127.0, 64.0)) == ()
    (breach,) = GATES.breaches(form, None, (127.0, 63.0, 64.0))
    assert breach == (
        "weights of layer 1: the largest of an output spans 63 steps of int8, at least 64 are "
        "asked for: quantise with a scale per output channel"
    )
    assert CertificateGates(weight_steps=0).breaches(form, None, (1.0,)) == ()


def test_fp32_has_no_coarse_weights():
    assert GATES.breaches(replace(SAME, precision="fp32"), None, (1.0,)) == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fpr_low": 0.0}, "fpr_low: expected between 0 and 1, found 0.0"),
        ({"fpr_low": 1.5, "fpr_high": 1.6}, "fpr_low: expected between"),
        ({"fpr_low": 0.03}, "fpr_high: expected from fpr_low, 0.03, to less than 1, found 0.02"),
        ({"fpr_high": 1.0}, "fpr_high: expected"),
        ({"fpr_high": math.nan}, "fpr_high: expected"),
        ({"verified_flips": -1}, "verified_flips: expected a finite 0 or more, found -1"),
        ({"rescoring": math.nan}, "rescoring: expected"),
        ({"fp32_flips": -1}, "fp32_flips: expected"),
        ({"fp32_error": -1e-9}, "fp32_error: expected"),
        ({"float32_allowance": math.inf}, "float32_allowance: expected"),
        ({"weight_steps": -1.0}, "weight_steps: expected"),
    ],
)
def test_limits_without_sense_are_refused(changes, told):
    with pytest.raises(InputError, match=f"^{told}"):
        CertificateGates(**changes)
    data = json.loads(GATES.to_json()) | changes
    with pytest.raises(InputError, match=r"^gates"):
        CertificateGates.from_json(json.dumps(data))


@pytest.mark.parametrize("name", ["flips_good", "flips_defective", "bias", "auc_change"])
def test_limits_of_a_form_are_0_or_more(name):
    with pytest.raises(InputError, match=f"limits of int8: {name}: expected a finite 0 or more"):
        replace(INT8, **{name: -0.1})
    with pytest.raises(InputError, match=r"limits of int8: spearman: expected -1 to 1, found 1\.1"):
        replace(INT8, spearman=1.1)


def test_a_precision_without_limits_is_refused():
    with pytest.raises(InputError, match=r"limits for int8, int16x8, int8-full, none for .*'fp16'"):
        GATES.breaches(replace(SAME, precision="fp16"))


def test_gates_are_read_back_equal():
    gates = CertificateGates(rescoring=0.5, limits=(FormLimits("int8", 1, 1, 1, 0, 1),))
    assert CertificateGates.from_json(gates.to_json()) == gates
    with pytest.raises(InputError, match="gates: expected JSON"):
        CertificateGates.from_json("{")
    with pytest.raises(InputError, match="gates: expected JSON"):
        CertificateGates.from_json("[" * 100_000)
    with pytest.raises(InputError, match="gates: expected dict, found list"):
        CertificateGates.from_json("[]")


def test_looser_gates_let_through_what_the_usual_ones_refuse():
    form = certify_form(reference(DIES), int8(disturbed(DIES, 0.3, 0.2)))
    loose = CertificateGates(limits=(FormLimits("int8", 20, 1, 1, 0, 1),))
    assert GATES.breaches(form)
    assert loose.breaches(form) == ()


def test_gates_in_part_take_the_defaults_for_the_rest():
    found = CertificateGates.from_json('{"verified_flips": 2}')
    assert found == replace(GATES, verified_flips=2)
    with pytest.raises(InputError, match=r"; unknown: verified_flip$"):
        CertificateGates.from_json('{"verified_flip": 2}')


def test_the_default_in_the_documentation_is_the_default():
    text = (DOCS / "certificate.md").read_text("utf-8")
    written = text.split("```json\n")[1].split("```")[0]
    assert written.strip() == GATES.to_json()
