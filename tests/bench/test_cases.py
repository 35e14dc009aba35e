"""Cases as data: what the file says is what is run, and a mistake in it is an error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks._cases import CASES_FILE, ScoreErrors, read_cases


def test_every_case_says_how_close_each_form_must_be():
    cases = read_cases()
    assert [case.name for case in cases] == ["reference-512", "small-48"]
    for case in cases:
        assert set(case.expected) == {"fp32", "int8", "rival"}


def test_quick_is_a_smaller_variant_of_a_case():
    (full,) = read_cases(only="small-48")
    (quick,) = read_cases(quick=True)
    assert quick.name == full.name
    assert quick.expected == full.expected
    assert quick.n_fresh_good < full.n_fresh_good


def test_an_unknown_case_is_refused():
    with pytest.raises(ValueError, match=r"no case 'large'; there are reference-512, small-48"):
        read_cases(only="large")


@pytest.mark.parametrize(
    ("before", "after"), [("n_lots = 10", "n_lot = 10"), ("n_tests = 512", ""), ("int8 =", "int =")]
)
def test_a_mistake_in_the_file_is_no_case(tmp_path, before, after):
    path = tmp_path / "cases.toml"
    path.write_text(CASES_FILE.read_text(encoding="utf-8").replace(before, after, 1))
    with pytest.raises(ValueError, match="reference-512"):
        read_cases(path)


def test_the_training_key_changes_with_what_the_model_depends_on_and_nothing_else():
    case = read_cases()[0]
    key = case.training_key()
    assert replace(case, n_fresh_lots=9, n_fresh_good=7).training_key() == key
    for changed in ({"seed": 1}, {"n_tests": 9}, {"n_lots": 3}, {"dies_per_wafer": 5}):
        assert replace(case, **changed).training_key() != key


@pytest.mark.parametrize(
    ("found", "n_breaches"),
    [
        (ScoreErrors(1, 2, 3), 0),
        (ScoreErrors(1.1, 2, 3), 1),
        (ScoreErrors(0, 2.1, 3.1), 2),
        (ScoreErrors(float("nan"), 0, 0), 1),
    ],
)
def test_errors_beyond_the_limits_are_named(found, n_breaches):
    breaches = ScoreErrors(1, 2, 3).breaches(found)
    assert len(breaches) == n_breaches
    assert all("allowed" in breach for breach in breaches)
