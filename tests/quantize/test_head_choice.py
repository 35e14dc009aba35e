"""The head that is chosen is the one that a planted situation demands, and the table says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from knowngood._errors import NotEnoughDataError
from knowngood._network import OPERATING_POINTS, Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_quantize import head_choice
from knowngood_quantize.head_choice import (
    CANDIDATES,
    ChosenHead,
    HeldOut,
    choose_head,
    comparable_fpr,
    fit_known_head,
)
from knowngood_quantize.heads import HeadCandidate, TrainingDies, unfitted_head
from knowngood_quantize.injection import InjectedSet

N_TESTS = 60
SMALL, LARGE = HeadCandidate("topk", 1), HeadCandidate("topk", 40)
MSE, NORMALIZED = HeadCandidate("mse"), HeadCandidate("normalized")


def plain(n_tests: int = N_TESTS) -> Network:
    """No layers: the residual is the value."""
    scaler = Scaler(np.array([-1], np.int32), np.zeros((1, n_tests)), np.ones((1, n_tests)))
    return Network(Screen(Schema.anonymous(n_tests), scaler, unfitted_head(n_tests)), ())


def independent(n_dies: int, seed: int, n_tests: int = N_TESTS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_dies, n_tests)).astype(np.float32)


def plant(monkeypatch: pytest.MonkeyPatch, *classes: tuple[str, int, float]) -> None:
    """Defects that move the first so many tests by so many sigma, in place of the standard ones."""

    def made(values: np.ndarray, **_: object) -> tuple[InjectedSet, ...]:
        sets = []
        for name, n_moved, by in classes:
            moved = values.copy()
            moved[:, :n_moved] += np.float32(by)
            sets.append(InjectedSet(name, moved, np.arange(len(values)), 0))
        return tuple(sets)

    monkeypatch.setattr(head_choice, "standard_defects", made)


def chosen(dies: np.ndarray, *candidates: HeadCandidate, **options) -> ChosenHead:
    return choose_head(plain(dies.shape[1]), HeldOut(dies), candidates=candidates, **options)


@pytest.mark.parametrize(("n_moved", "by", "demanded"), [(1, 5.0, SMALL), (N_TESTS, 0.7, LARGE)])
def test_one_test_far_out_demands_few_residuals_and_many_shifted_ones_many(
    monkeypatch, n_moved, by, demanded
):
    plant(monkeypatch, ("single_test", n_moved, by))
    for order in ((SMALL, LARGE), (LARGE, SMALL)):
        choice = chosen(independent(900, 0), *order, fpr=0.02).choice
        assert (choice.kind, choice.k) == (demanded.kind, demanded.k)
        assert len(choice.trials) == 2


def test_tests_that_nothing_explains_demand_normalised_residuals(monkeypatch):
    dies = independent(900, 0)
    dies[:, 30:] *= 20
    plant(monkeypatch, ("block_shift", 10, 3.0))
    found = chosen(dies, MSE, NORMALIZED, fpr=0.02)
    assert found.choice.kind == found.head.kind == "normalized"
    mse, normalized = (trial.detection["block_shift"] for trial in found.choice.trials)
    assert mse < 0.1 < 0.9 < normalized


def test_what_all_tests_share_demands_mahalanobis(monkeypatch):
    rng = np.random.default_rng(0)
    dies = (3 * rng.standard_normal((1500, 1)) + rng.standard_normal((1500, N_TESTS))).astype("f4")
    plant(monkeypatch, ("broken_correlation", 15, 2.0))
    found = chosen(dies, *CANDIDATES, fpr=0.02)
    assert found.choice.kind == "mahalanobis"
    assert found.choice.n_axes == 1
    assert found.head.low_rank is not None


def test_the_first_of_equals_wins_and_so_it_does_where_nothing_can_be_injected(monkeypatch):
    plant(monkeypatch, ("single_test", 1, 60.0))
    for order in ((MSE, NORMALIZED), (NORMALIZED, MSE)):
        assert chosen(independent(300, 0), *order).choice.kind == order[0].kind
    plant(monkeypatch)
    choice = chosen(independent(300, 0), NORMALIZED, MSE).choice
    assert choice.kind == "normalized"
    assert choice.n_defective == {}
    assert {trial.merit for trial in choice.trials} == {0.0}


def test_a_head_that_loses_to_a_classical_screen_where_correlation_breaks_is_passed_over(
    monkeypatch,
):
    """On average few residuals find more here; of the correlation class they find less."""
    plant(monkeypatch, ("single_test", 1, 4.5), ("broken_correlation", N_TESTS, 0.4))
    dies = independent(1500, 0)
    network = plain()
    screen = fit_known_head(network, HeldOut(dies), NORMALIZED).head
    classical = replace(network, screen=replace(network.screen, head=screen), detector="pca")
    alone = chosen(dies, SMALL, LARGE, fpr=0.02).choice
    beside = chosen(dies, SMALL, LARGE, fpr=0.02, classical=(classical,)).choice
    assert (alone.k, beside.k) == (SMALL.k, LARGE.k)
    assert [trial.kind for trial in beside.classical] == ["pca"]
    (pca,) = beside.classical
    share = pca.detection["broken_correlation"]
    floor = share + np.sqrt(share * (1 - share) / 1500)
    for trial in beside.trials:
        lost = max(0.0, floor - trial.detection["broken_correlation"])
        assert trial.merit == pytest.approx((sum(trial.detection.values()) - 10 * lost) / 2)
    few, many = beside.trials
    assert few.merit < many.merit


def test_a_head_that_rejects_good_dies_for_what_they_miss_is_passed_over(monkeypatch):
    """Whitening undone by a missing test leaves what the others share, which is much."""
    rng = np.random.default_rng(0)
    dies = (9 * rng.standard_normal((1200, 1)) + rng.standard_normal((1200, N_TESTS))).astype("f4")
    dies[::10, ::2] = np.nan  # so that dies with as many missing are scored
    plant(monkeypatch, ("broken_correlation", 15, 2.0))
    pattern = np.zeros((1, N_TESTS), dtype=np.bool_)
    pattern[0, ::2] = True
    candidates = (HeadCandidate("mahalanobis"), NORMALIZED)
    unaware = choose_head(plain(), HeldOut(dies), candidates=candidates, fpr=0.02).choice
    aware = choose_head(
        plain(), HeldOut(dies, patterns=pattern), candidates=candidates, fpr=0.02
    ).choice
    assert [t.missing_loss for t in unaware.trials] == [0, 0]
    assert unaware.kind == "mahalanobis"
    whitened, plain_square = aware.trials
    assert whitened.missing_loss > 0.1 > plain_square.missing_loss
    assert aware.kind == "normalized"


def test_few_dies_choose_nothing_and_the_table_is_shown_all_the_same(monkeypatch):
    plant(monkeypatch, ("single_test", N_TESTS, 0.9))
    for n_dies, kind in ((199, SMALL), (200, LARGE)):
        choice = chosen(independent(n_dies, 0), SMALL, LARGE, fpr=0.05).choice
        assert choice.k == kind.k
        assert choice.too_few == (kind is SMALL)
        assert choice.trials[0].merit < choice.trials[1].merit


def test_the_yield_loss_is_the_one_asked_for_where_the_dies_allow_it(monkeypatch):
    """One test moved by 2.5 sigma among independent Gaussian ones: a closed form."""
    plant(monkeypatch, ("single_test", 1, 2.5))
    dies = independent(4000, 0, n_tests=4)
    for fpr in (0.02, 0.005):
        choice = chosen(dies, SMALL, fpr=fpr).choice
        assert choice.fpr_asked == choice.fpr == fpr
        ordered = np.sort(np.abs(independent(400_000, 1, 4)).max(axis=1))
        threshold = ordered[int(len(ordered) * (1 - fpr))]
        moved = independent(400_000, 2, 4)
        moved[:, 0] += 2.5
        expected = (np.abs(moved).max(axis=1) > threshold).mean()
        assert choice.trials[0].detection["single_test"] == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(
    ("fpr", "n_good", "used"),
    [
        (0.005, 2000, 0.005), (0.005, 1999, 0.01), (0.005, 900, 0.02), (0.005, 100, 0.05),
        (0.02, 500, 0.02), (0.03, 10**6, 0.03), (0.08, 125, 0.08), (0.08, 30, 0.08),
        (0.0001, 10**6, 0.0001), (0.0001, 30_000, 0.0005),
    ],
)  # fmt: skip
def test_the_next_operating_point_that_the_dies_support(fpr, n_good, used):
    assert comparable_fpr(fpr, n_good) == used
    assert used == fpr or used in OPERATING_POINTS


def test_no_die_is_judged_by_a_head_that_was_fitted_on_it(monkeypatch):
    fitted: list[set[bytes]] = []
    scored: list[set[bytes]] = []
    fit_heads, score = head_choice.fit_heads, head_choice.score_residual

    def spied_fit(network, values, *args, **options):
        fitted.append({die.tobytes() for die in values})
        return fit_heads(network, values, *args, **options)

    def spied_score(head, residual, *args, **options):
        scored.append({die.tobytes() for die in residual})
        return score(head, residual, *args, **options)

    monkeypatch.setattr(head_choice, "fit_heads", spied_fit)
    monkeypatch.setattr(head_choice, "score_residual", spied_score)
    plant(monkeypatch)
    dies = independent(301, 0)
    chosen(dies, NORMALIZED)
    assert len(fitted) == len(scored) == 3
    assert all(f.isdisjoint(s) for f, s in zip(fitted, scored, strict=True))
    everything = {die.tobytes() for die in dies}
    assert set.union(*scored) == everything
    assert all(f | s == everything for f, s in zip(fitted, scored, strict=True))


def test_the_record_says_what_the_head_had():
    dies = independent(400, 0)
    training = TrainingDies(independent(1000, 1))
    known = fit_known_head(plain(), HeldOut(dies, training=training), HeadCandidate("topk", 7))
    assert known.head.k == known.choice.k == 7
    assert (known.choice.asked, known.choice.kind) == ("topk", "topk")
    assert (known.choice.n_held_out, known.choice.n_training) == (400, 1000)
    assert known.choice.trials == ()
    assert known.choice.fpr == 0
    auto = choose_head(plain(), HeldOut(dies))
    assert auto.choice.asked == "auto"
    assert len(auto.choice.trials) == len(CANDIDATES)


def test_missing_tests_and_sites_take_part():
    dies = independent(400, 0)
    dies[np.random.default_rng(1).random(dies.shape) < 0.05] = np.nan
    group = np.arange(400, dtype=np.int32) % 2
    found = choose_head(plain(), HeldOut(dies, group, np.isnan(dies)), fpr=0.05)
    single = {t.k: t.detection["single_test"] for t in found.choice.trials}
    assert single[3] > 0.8
    assert all(np.isfinite(trial.merit) for trial in found.choice.trials)


def test_few_dies_are_refused_or_judged_where_they_were_fitted():
    assert choose_head(plain(), HeldOut(independent(22, 0)), fpr=0.05).choice.n_held_out == 22
    with pytest.raises(NotEnoughDataError, match="at least 20"):
        choose_head(plain(), HeldOut(independent(19, 0)))


def test_narrow_schemas_leave_out_what_takes_more_tests_than_there_are():
    choice = choose_head(plain(6), HeldOut(independent(200, 0, n_tests=6))).choice
    assert {t.k for t in choice.trials} == {0, 3, 5}
