"""What the reference engine makes of a die alone, in company, incomplete or out of all bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference_models import (
    F32,
    HEADS,
    NAN_BITS,
    bits,
    both_precisions,
    dies_of,
    sealed_from,
    verified,
)

from knowngood._network import QuantizedNetwork
from knowngood.engines._reference import score_sealed
from random_networks import make_network, quantize_roughly


@pytest.mark.parametrize("precision", ["fp32", "int8", "verified"])
@pytest.mark.parametrize("head", HEADS)
def test_a_die_has_the_same_bits_in_any_company(precision, head):
    network = make_network((20, 9, 3, 9, 20), activation="elu", head=head, n_groups=3)
    values, _, rows = dies_of(network, 37)
    values[5], values[6, 2], values[7, 3] = np.nan, np.inf, 3e38
    model = both_precisions(network, values)
    middle = float(np.nanmedian(score_sealed(model, "int8", values, rows).scores))
    model = verified(model, 1e30, (middle * 0.8, middle * 1.2), (0, 0))
    together = score_sealed(model, precision, values, rows)
    order = np.random.default_rng(0).permutation(37)
    shuffled = score_sealed(model, precision, values[order], rows[order])
    many = score_sealed(model, precision, np.tile(values, (60, 1)), np.tile(rows, 60))
    for part in ("scores", "reconstruction", "latent", "rescored"):
        expected = getattr(together, part)
        np.testing.assert_array_equal(getattr(shuffled, part), expected[order])
        np.testing.assert_array_equal(getattr(many, part)[-37:], expected)
        for die in range(37):
            alone = score_sealed(model, precision, values[die : die + 1], rows[die : die + 1])
            np.testing.assert_array_equal(getattr(alone, part)[0], expected[die])
    assert not together.rescored.all()
    assert together.rescored.any() == (precision == "verified")


@pytest.mark.parametrize("precision", ["fp32", "int8", "verified"])
def test_no_dies(precision):
    network = make_network()
    values, _, rows = dies_of(network)
    model = verified(both_precisions(network, values), 1e30, (0, 1), (0, 1))
    result = score_sealed(model, precision, values[:0], rows[:0])
    assert result.scores.shape == (0,)
    assert result.reconstruction.shape == (0, 12)
    assert result.latent.shape == (0, 4)


@pytest.mark.parametrize("precision", ["fp32", "int8", "verified"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, 3e38, -3e38])
def test_dies_that_are_not_evaluable_are_nan_throughout(precision, bad):
    network = make_network(centre_over_sigma=1.0)
    values, _, rows = dies_of(network, 4)
    model = verified(both_precisions(network, values), 1e-30, (0, 1), (0, 1))
    expected = score_sealed(model, precision, values[[0, 2, 3]], rows[[0, 2, 3]])
    scaler = network.screen.scaler
    values[1] = (scaler.centre[0] + 1 / scaler.inv_scale[0]).astype(F32)
    values[1, np.argmax(scaler.inv_scale[0])] = bad  # the smallest unit: far out of its range
    result = score_sealed(model, precision, values, rows)
    for part in ("scores", "reconstruction", "latent"):
        found = getattr(result, part)
        assert set(np.ravel(bits(found[1:2])).tolist()) == {NAN_BITS}
        np.testing.assert_array_equal(found[[0, 2, 3]], getattr(expected, part))
    assert result.rescored.tolist() == [precision == "verified" and die != 1 for die in range(4)]


@pytest.mark.parametrize("head", HEADS)
def test_scores_need_min_present_tests(head):
    network = make_network(head=head)  # 12 tests, 4 at least
    values, _, rows = dies_of(network, 13)
    values = np.nan_to_num(values, nan=0.0)
    for die in range(13):
        values[die, die:] = np.nan
    result = score_sealed(sealed_from(network), "fp32", values, rows)
    assert np.isfinite(result.scores).tolist() == [False] * 4 + [True] * 9
    assert np.isfinite(result.reconstruction).all()


def test_no_score_without_a_test_even_if_none_is_needed():
    network = make_network()
    network = replace(
        network, screen=replace(network.screen, head=replace(network.screen.head, min_present=0))
    )
    values = np.full((1, 12), np.nan, F32)
    assert bits(score_sealed(sealed_from(network), "fp32", values).scores) == [NAN_BITS]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("head", HEADS)
def test_what_overflows_has_no_score_and_raises_no_warning(precision, head):
    network = make_network(head=head)
    huge = [replace(la, weight=la.weight * F32(1e38)) for la in network.layers]
    network = replace(network, layers=tuple(huge))
    values, _, rows = dies_of(network)
    quantized = quantize_roughly(make_network(head=head), np.eye(12, dtype=F32))
    scales = [replace(la, weight_scale=la.weight_scale * F32(1e38)) for la in quantized.layers]
    model = sealed_from(network, QuantizedNetwork(network, tuple(scales)))
    with np.errstate(all="raise"):  # as a host may have set it
        result = score_sealed(model, precision, values, rows)
    assert set(bits(result.scores)) == {NAN_BITS}
    not_finite = ~np.isfinite(result.reconstruction)
    assert not_finite.any(axis=1).all()
    nans = np.isnan(result.reconstruction)
    assert set(np.ravel(bits(result.reconstruction[nans])).tolist()) <= {NAN_BITS}
