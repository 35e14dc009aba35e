"""Which dies the precision ``verified`` scores again in fp32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference_models import F32, both_precisions, dies_of, verified

from knowngood._errors import OperatingPointError
from knowngood.engines._reference import score_sealed
from random_networks import make_network


class TestVerified:
    @pytest.fixture
    def scored(self):
        network = make_network((20, 9, 3, 9, 20))
        values, _, rows = dies_of(network, 50)
        values[3, 1:] = np.nan  # too few tests for a score
        model = both_precisions(network, values)
        int8, fp32 = (score_sealed(model, p, values, rows) for p in ("int8", "fp32"))
        return model, values, rows, int8, fp32

    def check(self, scored, model, expected, **which) -> None:
        """The result is fp32's for the ``expected`` dies, int8's for the others."""
        _, values, rows, int8, fp32 = scored
        found = score_sealed(model, "verified", values, rows, **which)
        np.testing.assert_array_equal(found.rescored, expected)
        for part in ("scores", "reconstruction", "latent"):
            a, b = getattr(int8, part), getattr(fp32, part)
            rescored = expected.reshape([-1] + [1] * (a.ndim - 1))
            np.testing.assert_array_equal(getattr(found, part), np.where(rescored, b, a))

    def test_scores_within_the_band_ends_included(self, scored):
        model, *_, int8, _ = scored
        lo, hi = np.sort(int8.scores)[[10, 20]].tolist()
        near = (int8.scores >= lo) & (int8.scores <= hi)
        assert near.sum() == 11
        self.check(scored, verified(model, 1e30, (lo, hi), (0, 0)), near)

    def test_each_operating_point_has_its_band(self, scored):
        model, *_, int8, _ = scored
        score = float(int8.scores[7])
        model = verified(model, 1e30, (0, 0), (score, score))
        self.check(scored, model, np.zeros(50, bool))
        self.check(scored, model, int8.scores == F32(score), fpr=0.02)
        with pytest.raises(OperatingPointError, match=r"0\.1"):
            score_sealed(model, "verified", scored[1], scored[2], fpr=0.001)

    def test_inputs_larger_than_the_bands_were_calibrated_for(self, scored):
        model, values, rows, *_ = scored
        u = np.nan_to_num(model.screen.scaler.standardise(values, rows))
        largest = np.abs(u).max(axis=1)
        limit = np.sort(largest)[40]
        model = verified(model, 1e30, (0, 0), (0, 0))
        model.scale_limits[0] = limit
        self.check(scored, model, largest > limit)
        assert (largest > limit).sum() == 9

    def test_dies_that_int8_gives_no_score(self, scored):
        model, values, rows, _, fp32 = scored
        *layers, last = model.int8
        layers.append(replace(last, weight_scale=np.full_like(last.weight_scale, 3e38)))
        broken = verified(replace(model, int8=tuple(layers)), 1e30, (0, 0), (0, 0))
        has_none = np.isnan(score_sealed(broken, "int8", values, rows).scores)
        assert has_none.sum() > 30
        has_none[3] = False  # it has too few tests for a score in any precision
        result = score_sealed(broken, "verified", values, rows)
        np.testing.assert_array_equal(result.rescored, has_none)
        np.testing.assert_array_equal(result.scores[has_none], fp32.scores[has_none])

    def test_infinite_inputs_exceed_every_limit(self, scored):
        model, values, rows, *_ = scored
        layers = tuple(replace(la, weight_scale=la.weight_scale * F32(1e38)) for la in model.int8)
        broken = verified(replace(model, int8=layers), np.finfo(F32).max, (0, 0), (0, 0))
        assert score_sealed(broken, "verified", values, rows).rescored[3]
