"""The detector: what it learns, what it says of dies, what it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._schema import Schema, Test
from knowngood_export import AutoencoderDetector, FewDiesWarning

N_TESTS = 24
CENTRE = np.logspace(-6, 6, N_TESTS)


def good_dies(n_dies: int, seed: int, *, missing: float = 0.0) -> NDArray[np.float32]:
    """Three factors move 24 tests of sizes from 1e-6 to 1e6 by 1 %."""
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(7).standard_normal((3, N_TESTS))
    z = rng.standard_normal((n_dies, 3)) @ loadings + 0.1 * rng.standard_normal((n_dies, N_TESTS))
    values = (CENTRE * (1 + 0.01 * z)).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return values


def exchanged(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every die with the second half of its tests from the next die: each value is a good one."""
    mixed = values.copy()
    mixed[:, N_TESTS // 2 :] = np.roll(values, 1, axis=0)[:, N_TESTS // 2 :]
    return mixed


@pytest.fixture(scope="module")
def detector() -> AutoencoderDetector:
    lots = np.repeat(["A", "B", "C", "D"], 1000)
    return AutoencoderDetector(fpr=0.02, epochs=15, random_state=0, n_threads=1).fit(
        good_dies(4000, 0, missing=0.02), groups=lots
    )


def test_broken_correlation_is_found_and_good_dies_are_lost_as_asked(
    detector: AutoencoderDetector,
) -> None:
    good = good_dies(3000, 1, missing=0.02)
    assert (detector.predict(exchanged(good)) == -1).mean() > 0.9
    lost = (detector.predict(good) == -1).mean()
    assert 0.01 < lost < 0.035  # 2 % asked for; thresholds rest on some 500 dies


def test_scores_offset_and_decision_are_one_thing(detector: AutoencoderDetector) -> None:
    dies = np.concatenate([good_dies(50, 2), exchanged(good_dies(50, 3))])
    samples = detector.score_samples(dies)
    np.testing.assert_array_equal(detector.decision_function(dies), samples - detector.offset_)
    np.testing.assert_array_equal(detector.predict(dies) == 1, samples >= detector.offset_)
    assert detector.offset_ == -detector.operating_point_.threshold
    assert detector.operating_point_.fpr == 0.02


def test_a_die_that_cannot_be_scored_never_passes(detector: AutoencoderDetector) -> None:
    dies = good_dies(3, 4)
    dies[0] = np.nan
    dies[1, :22] = np.nan
    samples = detector.score_samples(dies)
    assert np.isnan(samples[:2]).all()
    assert np.isfinite(samples[2])
    assert detector.predict(dies).tolist()[:2] == [-1, -1]


def test_whole_lots_are_held_out(detector: AutoencoderDetector) -> None:
    assert "2 of 4 whole lots" in detector.hold_out_


def test_the_same_random_state_gives_the_same_bits() -> None:
    dies = good_dies(600, 0)
    make = AutoencoderDetector(epochs=4, fpr=0.05, random_state=3, n_threads=1)
    with pytest.warns(FewDiesWarning, match=r"rests on \d+ held-out dies"):
        first, again = make.fit(dies), clone(make).fit(dies)
    assert first.learning_curve_ == again.learning_curve_
    np.testing.assert_array_equal(first.score_samples(dies), again.score_samples(dies))


def test_a_fitted_detector_survives_pickling(detector: AutoencoderDetector) -> None:
    dies = good_dies(20, 5)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.score_samples(dies), detector.score_samples(dies))


def test_constant_and_empty_tests_are_dropped_and_play_no_part() -> None:
    dies = good_dies(600, 0)
    dies[:, 3], dies[:, 8] = 1.25, np.nan
    with pytest.warns(FewDiesWarning):
        detector = AutoencoderDetector(epochs=4, random_state=0, n_threads=1).fit(dies)
    assert detector.dropped_tests_ == {3: "constant at 1.25", 8: "missing on every die"}
    assert detector.n_features_in_ == N_TESTS
    assert detector.network_.screen.schema.n_tests == N_TESTS - 2
    changed = dies.copy()
    changed[:, 3], changed[:, 8] = -7, 1e9
    np.testing.assert_array_equal(detector.score_samples(changed), detector.score_samples(dies))


def test_sites_with_offsets_of_their_own_get_scalers_of_their_own() -> None:
    dies, sites = good_dies(1500, 0), np.arange(1500) % 3
    # against the correlation, so that one scaler for all sites leaves it in the residual
    dies[:, ::2] += (0.03 * CENTRE[::2] * (sites[:, None] - 1)).astype(np.float32)
    bad = exchanged(dies[:300])
    fit = AutoencoderDetector(fpr=0.05, epochs=15, random_state=0, n_threads=1).fit
    own = fit(dies, sites=sites)
    assert own.network_.screen.scaler.groups.tolist() == [-1, 0, 1, 2]
    found = (own.predict(bad, sites[:300]) == -1).mean()
    assert found > 0.85
    wrong_site = (own.predict(dies[:300], (sites[:300] + 1) % 3) == -1).mean()
    assert wrong_site > 0.5
    unknown = own.score_samples(dies[:300], np.full(300, 77))
    np.testing.assert_array_equal(own.score_samples(dies[:300]), unknown)
    with pytest.raises(UsageError, match="sites must fit int32"):
        own.predict(dies[:2], np.array([0, 2**32]))


def test_a_test_that_only_held_out_lots_vary_is_dropped() -> None:
    lots = np.repeat(["A", "B", "C", "D", "E"], 300)
    reasons = []
    for lot in "ABCDE":
        dies = good_dies(1500, 0)
        dies[lots != lot, 3] = 1.25
        detector = AutoencoderDetector(fpr=0.05, epochs=1, random_state=0, n_threads=1)
        reasons.append(detector.fit(dies, groups=lots).dropped_tests_)
    assert reasons.count({3: "constant at 1.25"}) == 2  # two of five lots are held out
    assert reasons.count({}) == 3


@pytest.mark.parametrize("head", ["mse", "normalized", "topk", "mahalanobis"])
def test_the_head_asked_for_is_the_head_fitted(head: str) -> None:
    detector = AutoencoderDetector(head=head, k=3, fpr=0.05, epochs=3, n_threads=1, random_state=0)
    detector.fit(good_dies(1500, 0))
    assert detector.network_.screen.head.kind == head
    assert detector.network_.screen.head.k == (3 if head == "topk" else 0)


def test_auto_takes_the_head_that_detects_most() -> None:
    """Three tests that nothing else explains drown the others in a plain mean square."""
    dies, fresh = good_dies(2500, 0), good_dies(1000, 1)
    for values, seed in ((dies, 2), (fresh, 3)):
        loud = np.random.default_rng(seed).standard_normal((len(values), 3))
        values[:, [2, 9, 17]] = CENTRE[[2, 9, 17]] * (1 + 0.01 * loud)
    odd = fresh.copy()
    odd[:, 5] += 0.01 * CENTRE[5].astype(np.float32)  # a sigma, and ten of its own noise
    found = {}
    for head in ("auto", "mse"):
        detector = AutoencoderDetector(
            latent=3, head=head, fpr=0.05, epochs=10, n_threads=1, random_state=0
        )
        found[head] = (detector.fit(dies).predict(odd) == -1).mean()
    assert found["auto"] > found["mse"] + 0.1


def test_auto_compares_heads_on_validation_dies_beside_classical_screens() -> None:
    detector = AutoencoderDetector(head="auto", fpr=0.05, epochs=1, n_threads=1, random_state=0)
    choice = detector.fit(good_dies(1500, 0)).head_choice_
    head = detector.network_.screen.head
    assert (choice.asked, choice.kind, choice.k) == ("auto", head.kind, head.k)
    n_held_out = 1500 - choice.n_training - detector.operating_point_.n_dies
    assert choice.n_held_out == n_held_out >= 100  # and none of those that set the threshold
    assert (choice.fpr_asked, choice.fpr) == (0.05, 0.05)
    assert [trial.kind for trial in choice.classical] == ["pat", "t2", "pca"]
    assert detector.to_trained_model().evaluation.head_choice == choice


def test_a_schema_names_the_tests_of_the_model() -> None:
    schema = Schema(tuple(Test(i, f"VDD_{i}", units="V") for i in range(N_TESTS)))
    dies = good_dies(1200, 0)
    dies[:, 0] = 1
    detector = AutoencoderDetector(fpr=0.05, epochs=3, n_threads=1).fit(dies, schema=schema)
    assert detector.network_.screen.schema == schema.select(range(1, N_TESTS))


def test_the_trained_model_carries_defects_for_its_drift(detector: AutoencoderDetector) -> None:
    model = detector.to_trained_model()
    assert model.calibration.good.shape[1] == N_TESTS
    assert len(model.calibration.defective) == len(model.calibration.defective_group) > 100
    assert model.provenance.learning_curve == detector.learning_curve_
    assert model.provenance.versions.keys() == {"knowngood", "numpy", "python", "torch"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"groups": ["A"] * 10}, "groups"),
        ({"sites": np.zeros(400)}, "sites"),
        ({"patterns": np.ones((3, N_TESTS), np.uint8)}, "patterns must be bool"),
        ({"patterns": np.ones((3, 7), np.bool_)}, "patterns must be bool"),
        ({"schema": Schema.anonymous(3)}, "schema"),
    ],
)
def test_what_does_not_fit_the_dies_is_refused(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        AutoencoderDetector(epochs=1).fit(good_dies(400, 0), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"head": "median"}, "head"),
        ({"noise": "pink"}, "noise"),
        ({"activation": "swish"}, "activation"),
        ({"fpr": 0.0}, "yield loss"),
        ({"hold_out": 1.5}, "share"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(
    parameters: dict[str, object], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        AutoencoderDetector(**parameters).fit(good_dies(200, 0))  # type: ignore[arg-type]


def test_too_few_dies_and_dead_tests_are_refused_in_words() -> None:
    with pytest.raises(NotEnoughDataError, match="n_samples=12 dies are too few"):
        AutoencoderDetector().fit(good_dies(12, 0))
    with pytest.raises(NotEnoughDataError, match=r"none of the 24 tests .* constant at 1"):
        AutoencoderDetector().fit(np.ones((400, N_TESTS)))
