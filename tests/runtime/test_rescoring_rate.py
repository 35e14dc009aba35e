"""``Scorer.rescoring_rate``: how many dies "verified" scores again, as the specification counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from knowngood._errors import UsageError
from knowngood._golden import with_golden
from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._opening import open_scorer
from knowngood._sealed import Band
from knowngood.engines._reference import score_sealed
from random_networks import make_dies, make_network
from sealed_models import seal_up


@pytest.fixture(scope="module")
def model():
    network = make_network((20, 9, 3, 9, 20), n_groups=3)
    sealed = seal_up(network)
    values, group = make_dies(network, 500)
    scores = score_sealed(sealed, "int8", values, sealed.screen.scaler.rows(group, 500)).scores
    low, middle, high = np.nanquantile(scores, [0.3, 0.5, 0.9]).tolist()
    points = sealed.points["fp32"]
    thresholds = dict.fromkeys(
        ("fp32", "int8"), tuple(replace(p, threshold=np.float32(middle).item()) for p in points)
    )
    bands = [Band(np.float32(low).item(), np.float32(high).item()) for _ in points]
    bands[-1] = Band(-(2.0**100), 2.0**100)
    limits = np.full(len(network.layers), 1e30, np.float32)
    return (
        with_golden(replace(sealed, points=thresholds, bands=tuple(bands), scale_limits=limits)),
        values,
        group,
    )


def scorer_of(model, engine: str, precision: str = "verified"):
    file = parse_model(encode(model), "model.kgd")
    return open_scorer(file, engine=engine, precision=precision, extrapolate=True)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_it_counts_what_the_specification_rescores(model, engine: str) -> None:
    sealed, values, group = model
    scorer = scorer_of(sealed, engine)
    rows = sealed.screen.scaler.rows(group, len(values))
    expected = score_sealed(sealed, "verified", values, rows).rescored.mean()
    assert 0.4 < expected < 0.8
    assert scorer.rescoring_rate(values, group) == expected
    assert scorer.rescoring_rate(np.asfortranarray(values.astype(np.float64)), group) == expected
    in_parts = [
        scorer.rescoring_rate(values[i : i + 100], group[i : i + 100]) for i in range(0, 500, 100)
    ]
    assert np.mean(in_parts) == pytest.approx(expected)


def test_each_operating_point_has_its_rate(model) -> None:
    sealed, values, group = model
    scorer = scorer_of(sealed, "native")
    all_of_them = scorer.at(sealed.points["fp32"][-1].fpr, extrapolate=True)
    assert all_of_them.rescoring_rate(values, group) == 1


def test_dies_without_a_score_in_any_precision_are_not_rescored(model) -> None:
    sealed, values, _ = model
    empty = np.full_like(values[:4], np.nan)
    empty[1] = values[1]
    empty[1, 0] = np.inf
    all_of_them = scorer_of(sealed, "native").at(sealed.points["fp32"][-1].fpr, extrapolate=True)
    assert all_of_them.rescoring_rate(empty) == 0


def test_no_dies_have_no_rate(model) -> None:
    sealed, values, _ = model
    assert math.isnan(scorer_of(sealed, "native").rescoring_rate(values[:0]))


def test_other_precisions_have_none(model) -> None:
    sealed, values, _ = model
    with pytest.raises(UsageError, match="'int8'"):
        scorer_of(sealed, "native", "int8").rescoring_rate(values)
