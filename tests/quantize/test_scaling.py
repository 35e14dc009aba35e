"""Scaling: against SciPy's robust statistics, and on tests that break naive ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import POOLED_GROUP
from knowngood_quantize.scaling import fit_scaler, unusable_tests


def _dies(n: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 3)) * [1e-9, 1.0, 2e6] + [5e-9, -3.0, 1e9]).astype(np.float32)


def test_centre_and_sigma_are_median_and_iqr() -> None:
    values = _dies()
    values[::7, 1] = np.nan
    scaler = fit_scaler(values)
    wide = values.astype(np.float64)
    np.testing.assert_allclose(scaler.centre[0], np.nanmedian(wide, axis=0), rtol=1e-12)
    sigma = stats.iqr(wide, axis=0, nan_policy="omit", scale="normal")
    np.testing.assert_allclose(1 / scaler.inv_scale[0], sigma, rtol=1e-6)
    assert scaler.groups.tolist() == [POOLED_GROUP]


def test_one_wild_die_moves_the_scale_little() -> None:
    values = _dies()
    before = fit_scaler(values)
    values[0] = 1e20
    after = fit_scaler(values)
    assert np.abs(after.inv_scale / before.inv_scale - 1).max() < 0.03


def test_infinities_count_as_missing() -> None:
    values = _dies()
    clean = fit_scaler(values[10:])
    values[:5], values[5:10] = np.inf, -np.inf
    np.testing.assert_array_equal(fit_scaler(values).inv_scale, clean.inv_scale)


@pytest.mark.parametrize("share", [0.4, 0.2, 0.04, 0.004])
def test_coarse_codes_have_a_scale_of_at_least_one_step(share: float) -> None:
    """IQR is 0 when under a quarter of the dies leave the median's code."""
    values = np.full((1000, 1), 12.0, np.float32)
    values[: int(1000 * share)] = 12.5
    sigma = 1 / fit_scaler(values).inv_scale[0, 0]
    expected = 0.5 / 1.34898 if share > 0.25 else 0.5  # IQR of one step, else the floor
    assert sigma == pytest.approx(expected, rel=1e-4)


def test_groups_have_their_own_centre_and_share_the_sigma_within() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.array([257, 258, 259], np.int32), [300, 300, 20])
    offset = np.select([group == 257, group == 258], [0.0, 10.0], 4.0)
    values = (rng.standard_normal((620, 2)) * [1, 3] + offset[:, None]).astype(np.float32)
    scaler = fit_scaler(values, group)
    assert scaler.groups.tolist() == [POOLED_GROUP, 257, 258]  # 20 dies are too few
    np.testing.assert_allclose(scaler.centre[1], np.median(values[:300], axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaler.centre[2], np.median(values[300:600], axis=0), rtol=1e-6)
    np.testing.assert_allclose(1 / scaler.inv_scale[1], [1, 3], rtol=0.12)
    np.testing.assert_array_equal(scaler.inv_scale[1], scaler.inv_scale[2])
    assert (1 / scaler.inv_scale[0] > 3.5).all()  # pooled: the offset is part of the spread
    assert scaler.rows(np.array([258, 999, 257], np.int32), 3).tolist() == [2, 0, 1]


def test_a_test_that_is_constant_within_sites_keeps_the_pooled_sigma() -> None:
    group = np.repeat(np.array([0, 1], np.int32), 100)
    values = group[:, None].astype(np.float32)
    scaler = fit_scaler(values, group)
    assert np.isfinite(scaler.inv_scale).all()
    np.testing.assert_array_equal(scaler.inv_scale[1], scaler.inv_scale[0])


def test_a_test_missing_in_a_group_uses_the_pooled_centre() -> None:
    values = _dies(200)
    group = np.repeat(np.array([3, 4], np.int32), 100)
    values[:90, 0] = np.nan
    values[90:100, 0] += np.float32(1e-7)
    scaler = fit_scaler(values, group)
    assert scaler.centre[1, 0] == scaler.centre[0, 0] != scaler.centre[2, 0]


def test_unusable_tests_say_why() -> None:
    values = np.tile(_dies(100), (1, 2))
    values[:, 0] = np.nan
    values[:, 1] = 7.5
    values[:90, 2] = np.nan
    values[:, 4] *= np.float32(1e-35)
    assert unusable_tests(values) == {
        0: "missing on every die",
        1: "constant at 7.5",
        2: "present on 10 of 100 dies, 20 are needed",
        4: unusable_tests(values)[4],
    }
    assert "outside the range" in unusable_tests(values)[4]
    with pytest.raises(NotEnoughDataError, match=r"columns 0, 1\)"):
        fit_scaler(values)


def test_group_must_fit_the_dies() -> None:
    with pytest.raises(UsageError, match=r"\(400,\)"):
        fit_scaler(_dies(), np.zeros(3, np.int32))
    with pytest.raises(UsageError, match="all groups together"):
        fit_scaler(_dies(), np.full(400, POOLED_GROUP, np.int32))


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(20, 60), st.integers(1, 4)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_whatever_is_usable_can_be_standardised(values: np.ndarray) -> None:
    unusable = unusable_tests(values)
    usable = [c for c in range(values.shape[1]) if c not in unusable]
    if usable:
        scaler = fit_scaler(values[:, usable])
        assert np.isfinite(scaler.centre).all()
        assert np.isfinite(scaler.inv_scale.astype(np.float32)).all()
        assert (scaler.inv_scale > 0).all()
