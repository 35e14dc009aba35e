"""The textbook sets, against their published description."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

from knowngood._errors import UsageError
from knowngood_export import synthetic


def test_good_dies_are_clipped_gaussians():
    dies = synthetic.textbook_dies(400, seed=1)
    assert dies.shape == (400, 512)
    assert dies.dtype == np.float32
    assert dies.min() >= 0
    assert dies.max() <= 1
    assert stats.kstest(dies.ravel()[::7], stats.norm(0.5, 0.1).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(dies.T)[np.triu_indices(512, 1)]).mean() < 0.05


def _mean_by_part(defect):
    dies = synthetic.textbook_defective(500, defect, seed=2)
    return dies[:, :100].mean(), dies[:, 100:200].mean(), dies[:, 200:300].mean(), dies


def test_voltage_droop_is_minus_three_tenths_on_the_first_hundred_tests():
    droop, between, delay, _ = _mean_by_part("voltage_droop")
    # clipping at 0, two sigma below 0.2, adds 0.1·(φ(2) − 2·Φ(−2)) = 0.00085
    assert droop == pytest.approx(0.20085, abs=2e-3)
    assert (between, delay) == pytest.approx((0.5, 0.5), abs=2e-3)


def test_timing_shift_is_four_tenths_on_tests_200_to_299():
    droop, between, delay, dies = _mean_by_part("timing_shift")
    # clipping at 1, one sigma above 0.9, takes 0.1·(φ(1) − Φ(−1)) = 0.00833
    assert delay == pytest.approx(0.9 - 0.00833, abs=2e-3)
    assert (droop, between) == pytest.approx((0.5, 0.5), abs=2e-3)
    assert dies[:, 300:].mean() == pytest.approx(0.5, abs=2e-3)


def test_noise_reaches_every_test():
    *_, dies = _mean_by_part("noise")
    sigma = np.hypot(0.1, 0.5)
    beyond = stats.norm(0.5, sigma).cdf(0.0)
    assert (dies == 0).mean() == pytest.approx(beyond, abs=0.01)
    assert dies.std(axis=0).min() > 0.3


def test_blobs():
    values, labels = synthetic.textbook_blobs(600, n_outliers=50, seed=3)
    assert values.shape == (650, 20)
    assert labels.tolist() == [0] * 600 + [1] * 50
    mixture = GaussianMixture(3, covariance_type="spherical", random_state=0, n_init=3)
    mixture.fit(values[:600])
    assert mixture.covariances_ == pytest.approx([1, 1, 1], rel=0.1)
    likelihood = mixture.score_samples(values)
    assert likelihood[600:].max() < likelihood[:600].min()


def test_seeds_reproduce():
    for make in (
        synthetic.textbook_dies,
        lambda n, seed: synthetic.textbook_defective(n, "noise", seed=seed),
        lambda n, seed: synthetic.textbook_blobs(n, seed=seed)[0],
    ):
        assert np.array_equal(make(5, seed=1), make(5, seed=1))
        assert not np.array_equal(make(5, seed=1), make(5, seed=2))


def test_refuses():
    with pytest.raises(UsageError, match="voltage_droop"):
        synthetic.textbook_defective(5, "sag")
    with pytest.raises(UsageError, match="0 or more"):
        synthetic.textbook_dies(-1)
    with pytest.raises(UsageError, match="0 or more"):
        synthetic.textbook_blobs(5, n_outliers=-1)
