"""Injected defects: within limits, on present cells only, in blocks that are really there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knowngood._errors import UsageError
from knowngood._schema import Schema, Test
from knowngood_quantize.injection import (
    DEFECTS,
    correlated_blocks,
    inject,
    limits_of,
    robust_centre_and_sigma,
    standard_defects,
)

GROUPS_OF_TESTS = [range(8), range(8, 14), range(14, 18)]


def good_dies(n_dies=400, n_alone=6, seed=0):
    """Three groups of correlated tests, some of them inverted, and tests that stand alone."""
    rng = np.random.default_rng(seed)
    parts = []
    for tests in GROUPS_OF_TESTS:
        factor = rng.standard_normal((n_dies, 1))
        sign = np.where(np.arange(len(tests)) % 3 == 2, -1.0, 1.0)
        parts.append(sign * factor + 0.2 * rng.standard_normal((n_dies, len(tests))))
    parts.append(rng.standard_normal((n_dies, n_alone)))
    values = np.hstack(parts)
    return (5.0 + 0.01 * values).astype(np.float32)


def wide_limits(values, sigmas=10.0):
    centre, sigma = robust_centre_and_sigma(values)
    return np.column_stack([centre - sigmas * sigma, centre + sigmas * sigma])


def test_finds_the_groups_that_are_there():
    blocks = correlated_blocks(good_dies(), threshold=0.8)
    # a quarter of 24 tests is the largest block
    assert [set(b.columns) < set(range(8)) or set(b.columns) for b in blocks] == [
        True,
        set(range(8, 14)),
        set(range(14, 18)),
    ]


def test_blocks_are_as_large_as_asked_for():
    rng = np.random.default_rng(3)
    shared = rng.standard_normal((1500, 1))
    values = rng.standard_normal((1500, 300)) * 0.3
    values[:, :60] += shared
    values = values.astype(np.float32)
    assert max(len(b.columns) for b in correlated_blocks(values)) == 32
    (block,) = correlated_blocks(values, largest=64)
    np.testing.assert_array_equal(block.columns, np.arange(60))


def test_signs_say_which_way_a_test_goes():
    block = next(b for b in correlated_blocks(good_dies()) if 8 in b.columns)
    # the third test of every group is inverted, then every third
    expected = np.where((block.columns - 8) % 3 == 2, -1.0, 1.0)
    assert np.array_equal(block.signs * block.signs[0], expected)


def test_no_block_in_independent_tests():
    rng = np.random.default_rng(1)
    for n_dies in (12, 100, 1000):
        assert correlated_blocks(rng.standard_normal((n_dies, 300)).astype(np.float32)) == ()


def test_blocks_survive_missing_results_and_few_dies():
    values = good_dies(n_dies=100)
    values[np.random.default_rng(2).random(values.shape) < 0.2] = np.nan
    values[:, 0] = np.nan
    blocks = correlated_blocks(values)
    assert {frozenset(b.columns) for b in blocks} >= {frozenset(range(8, 14))}
    assert not any(0 in b.columns for b in blocks)


def test_weak_correlation_is_found_at_a_lower_step():
    rng = np.random.default_rng(3)
    weak = rng.standard_normal((2000, 1)) + rng.standard_normal((2000, 20))
    blocks = correlated_blocks(np.hstack([weak, rng.standard_normal((2000, 20))]).astype("f4"))
    assert blocks
    assert all(b.columns.max() < 20 for b in blocks)


def test_robust_sigma_is_that_of_the_standard():
    """AEC-Q001: robust sigma = IQR / 1.35; scipy has the same with 1.349."""
    values = np.random.default_rng(4).standard_normal((501, 7)).astype(np.float32)
    values[:50, 2] = np.nan
    centre, sigma = robust_centre_and_sigma(values)
    assert centre == pytest.approx(np.nanmedian(values, axis=0))
    expected = stats.iqr(values.astype(float), axis=0, scale="normal", nan_policy="omit")
    assert sigma == pytest.approx(expected)


def test_robust_sigma_of_codes_constants_and_nothing():
    values = np.zeros((100, 3), dtype=np.float32)
    values[:5, 0] = 1.0
    values[:, 2] = np.nan
    centre, sigma = robust_centre_and_sigma(values)
    assert centre[:2].tolist() == [0.0, 0.0]
    assert np.isnan(centre[2])
    assert sigma.tolist() == [1.0, 0.0, 0.0]


def test_single_test_moves_one_test_4_to_8_sigma_out():
    values = good_dies()
    centre, sigma = robust_centre_and_sigma(values)
    made = standard_defects(values, limits=wide_limits(values))[0]
    touched = made.values != values[made.source_rows]
    assert (touched.sum(axis=1) == 1).all()
    z = np.abs((made.values - centre) / sigma)[touched]
    assert 3.99 < z.min() < 4.3
    assert 7.7 < z.max() < 8.01
    assert len(np.unique(touched.argmax(axis=1))) == values.shape[1]


def test_block_shift_moves_part_of_a_block_along_itself():
    values = good_dies()
    _, sigma = robust_centre_and_sigma(values)
    made = standard_defects(values, limits=wide_limits(values))[1]
    change = (made.values.astype(float) - values[made.source_rows]) / sigma
    for row in change:
        moved = np.flatnonzero(row)
        group = next(g for g in GROUPS_OF_TESTS if moved[0] in g)
        assert set(moved) <= set(group)
        assert len(moved) < len(group)
        way = np.where((moved - group.start) % 3 == 2, -1.0, 1.0) * row[moved]
        assert np.ptp(way) < 1e-3
        assert 1.49 < abs(way[0]) < 3.01


def test_broken_correlation_breaks_it_with_real_values():
    values = good_dies()
    made = standard_defects(values, limits=wide_limits(values))[2]
    for column in range(values.shape[1]):
        assert np.isin(made.values[:, column], values[:, column]).all()
    good_r = np.corrcoef(values[:, 8:14].T)
    touched = (made.values != values[made.source_rows])[:, 8:14].any(axis=1)
    bad_r = np.corrcoef(made.values[touched, 8:14].T)
    pairs = np.triu_indices(6, 1)
    assert np.abs(good_r[pairs]).min() > 0.9
    assert np.abs(bad_r[pairs]).mean() < 0.6
    assert made.values.std(axis=0) == pytest.approx(values.std(axis=0), rel=0.15)


def test_blocks_are_exchanged_within_a_site():
    values = good_dies()
    site = (np.arange(400) % 2).astype(np.int32)
    values[site == 1] += np.float32(1.0)
    limits = np.tile([0.0, 10.0], (values.shape[1], 1))
    made = standard_defects(values, limits=limits, groups=site, reference=good_dies())[2]
    assert len(made) == 400
    assert ((made.values > 5.5) == (values[made.source_rows] > 5.5)).all()


def test_a_class_that_does_not_fit_within_limits_is_counted():
    values = good_dies()
    limits = wide_limits(values, 5.0)
    inside = ((values >= limits[:, 0]) & (values <= limits[:, 1])).all(axis=1)
    values = values[inside]
    tight = wide_limits(values, 3.5)
    inside = ((values >= tight[:, 0]) & (values <= tight[:, 1])).all(axis=1)
    single, shifted, broken = standard_defects(values[inside], limits=tight, reference=values)
    assert len(single) == 0
    assert single.n_impossible == inside.sum()
    for made in (shifted, broken):
        assert len(made) > 0.9 * inside.sum()
        assert ((made.values >= tight[:, 0]) & (made.values <= tight[:, 1])).all()


def test_says_so_where_nothing_is_correlated():
    values = np.random.default_rng(5).standard_normal((200, 30)).astype(np.float32)
    single, shifted, broken = standard_defects(values)
    assert (len(single), len(shifted), len(broken)) == (200, 0, 0)
    assert "no correlated block" in shifted.note
    assert broken.n_impossible == 200
    assert single.note == ""


def test_dies_are_spread_and_seeds_reproduce():
    values = good_dies()
    first = standard_defects(values, n_dies=50, seed=1)
    again = standard_defects(values, n_dies=50, seed=1)
    other = standard_defects(values, n_dies=50, seed=2)
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a.values, b.values)
        assert not np.array_equal(a.values, c.values)
        assert a.source_rows[0] == 0
        assert a.source_rows[-1] == 399
    assert [s.name for s in first] == list(DEFECTS)


def test_limits_of_a_schema():
    schema = Schema((Test(1, "a", low=-1.0, high=2.0), Test(2, "b", high=3.0), Test(3, "c")))
    expected = [[-1.0, 2.0], [-np.inf, 3.0], [-np.inf, np.inf]]
    assert limits_of(schema).tolist() == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defect": "gremlin"}, "single_test"),
        ({"values": np.zeros((3, 4))}, "float32"),
        ({"limits": np.zeros((2, 2))}, "limits"),
        ({"sigma": np.zeros(3)}, "sigma"),
        ({"groups": np.zeros(2, np.int32)}, "groups"),
    ],
)
def test_refuses(change, message):
    arguments = {
        "values": np.zeros((3, 4), np.float32),
        "defect": "single_test",
        "centre": np.zeros(4),
        "sigma": np.ones(4),
        "limits": np.tile([-9.0, 9.0], (4, 1)),
        "blocks": (),
        "rng": np.random.default_rng(0),
    } | change
    with pytest.raises(UsageError, match=message):
        inject(arguments.pop("values"), arguments.pop("defect"), **arguments)


@settings(max_examples=40, deadline=None)
@given(
    n_dies=st.integers(0, 60),
    n_tests=st.integers(4, 30),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
    dead=st.sets(st.integers(0, 3)),
    limit=st.sampled_from([0.5, 4.5, np.inf]),
    seed=st.integers(0, 1000),
)
def test_any_shape(n_dies, n_tests, missing, dead, limit, seed):
    """Whatever comes in: only present cells change, the source stays, and limits hold."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_dies, 1)) + 0.3 * rng.standard_normal((n_dies, n_tests))
    values = values.astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    for column in dead:
        values[:, column] = np.nan if column % 2 else 7.0
    before = values.copy()
    centre, sigma = robust_centre_and_sigma(values)
    reach = np.where(np.isnan(centre), np.inf, limit * np.maximum(sigma, 1e-3))
    limits = np.nan_to_num(centre)[:, None] + reach[:, None] * np.array([-1.0, 1.0])
    for made in standard_defects(values, limits=limits, seed=seed):
        source = values[made.source_rows]
        assert made.values.dtype == np.float32
        assert len(made) + made.n_impossible == n_dies
        assert np.array_equal(np.isnan(made.values), np.isnan(source))
        changed = (made.values != source) & ~np.isnan(source)
        assert changed.any(axis=1).all()
        assert not changed[:, sorted(dead)].any()
        inside = (made.values >= limits[:, 0]) & (made.values <= limits[:, 1])
        assert inside[changed].all()
    assert np.array_equal(values, before, equal_nan=True)
