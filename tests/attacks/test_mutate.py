"""Mutants of small sealed files: none is silently accepted, none raises what is not ours."""

from __future__ import annotations

import pytest
from mutate import Court, Tally, bases, run
from mutations import DIGESTS, Mutator

from knowngood._kgd import _codec, _layout
from traced_memory import MEBIBYTE

N_MUTANTS = 20_000
LEGAL = {"refused", "refused by golden dies", "refused at load", "annotated", "another model"}


@pytest.fixture(scope="module")
def tally() -> Tally:
    return run(N_MUTANTS)


@pytest.mark.slow
def test_no_mutant_is_silently_accepted(tally):
    assert tally.n_mutants == N_MUTANTS
    assert tally.faults == []
    assert tally.outcomes.keys() <= LEGAL
    assert tally.outcomes["refused"] > 0.9 * N_MUTANTS


@pytest.mark.slow
def test_no_mutant_takes_more_memory_than_the_format_promises(tally):
    assert -MEBIBYTE < tally.largest_excess < MEBIBYTE


@pytest.mark.slow
def test_every_kind_of_change_is_tried_with_every_digest(tally):
    kinds = Mutator(bases()["both"], 0).kinds
    expected = {f"{kind}, digests {digests}" for kind in kinds for digests in DIGESTS}
    assert tally.kinds.keys() == expected
    assert min(tally.kinds.values()) > 0.5 * N_MUTANTS / len(expected)


@pytest.mark.slow
def test_mutants_reach_every_rule(tally):
    assert {str(rule) for rule in range(1, 27)} - {"11", "26"} <= tally.rules.keys()


def test_the_same_seed_gives_the_same_mutants():
    base = bases()["fp32"]
    first, second, other = (Mutator(base, seed) for seed in (5, 5, 6))
    mutants = [first.mutant() for _ in range(50)]
    assert mutants == [second.mutant() for _ in range(50)]
    assert mutants != [other.mutant() for _ in range(50)]
    assert all(mutant.data != base for mutant in mutants)


@pytest.mark.parametrize(
    ("module", "check"),
    [
        (_layout, "_check_padding"),
        (_codec, "decode_manifest"),
    ],
)
def test_a_reader_that_checks_less_is_found_out(monkeypatch, module, check):
    """The judge itself: without one of the checks, some mutants are silently accepted."""
    court = Court(bases()["both"], 1)
    history = _codec.decode_manifest(memoryview(court.mutator.sections["manifest"]))
    monkeypatch.setattr(module, check, lambda *_: history)
    outcomes = [court.judge(court.mutator.mutant()).outcome for _ in range(1500)]
    assert "silent" in outcomes


def test_a_reader_without_digests_is_found_out(monkeypatch):
    court = Court(bases()["fp32"], 2)
    monkeypatch.setattr(_layout, "_file_digest", lambda view: bytes(view[32:64]))
    outcomes = [court.judge(court.mutator.mutant()).outcome for _ in range(1500)]
    assert "silent" in outcomes
