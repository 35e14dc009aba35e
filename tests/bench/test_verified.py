"""The million-die count: what it counts, what it writes, which dies it makes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.verified._cases import read_verified_cases
from benchmarks.verified._dies import FreshSet, fresh_lots
from benchmarks.verified._models import HeadScorers, with_each_head
from benchmarks.verified._page import verified_section, write_verified_record
from benchmarks.verified._run import Count, VerifiedResult, count_flips
from knowngood._golden import golden_dies, with_golden
from knowngood._kgd import encode
from knowngood._manifest import Evaluation, Provenance
from knowngood._model_file import parse_model
from knowngood._network import OPERATING_POINTS
from knowngood._opening import open_scorer
from knowngood._sealed import Band
from knowngood_export._fit import Part
from knowngood_export._trained import CalibrationSet, Int8Dies, TrainedModel
from knowngood_quantize import TrainingDies, fit_head
from knowngood_quantize.bands import BandEvidence, PointEvidence
from random_networks import make_dies, make_network
from sealed_models import seal_up

N_DIES = 3000
EVIDENCE = BandEvidence(
    "by hand", 1.5, 500, 1.15, 0.0001, (PointEvidence(0.005, 2.0, 1.5, 2.5, 0.01, 0.012, ()),)
)


def scorers_with(band_of, values: np.ndarray) -> HeadScorers:
    """A small model, int8 2 % off, whose threshold is the median of its fp32 scores."""
    network = make_network((20, 9, 3, 9, 20), head="mse")
    model = seal_up(network)
    raw, group = golden_dies(model.screen, values)
    limits = np.full(len(network.layers), 1e30, np.float32)
    golden = replace(model.golden, values=raw, group=group)
    assert model.int8 is not None
    off = tuple(replace(la, weight_scale=la.weight_scale * np.float32(1.02)) for la in model.int8)
    model = replace(model, golden=golden, scale_limits=limits, int8=off)
    fp32 = _open(model, "fp32").score(values).scores
    middle = float(np.float32(np.nanmedian(fp32)))
    points = tuple(replace(p, threshold=middle) for p in model.points["fp32"])
    bands = tuple(band_of(middle) for _ in points)
    model = replace(model, points={"fp32": points, "int8": points}, bands=bands)
    verified = _open(model, "verified")
    return HeadScorers("mse", _open(model, "fp32"), _open(model, "int8"), (verified,), EVIDENCE)


def _open(model, precision: str):
    file = parse_model(encode(with_golden(model)), "model.kgd")
    return open_scorer(file, precision=precision, extrapolate=True)


@pytest.fixture
def dies() -> FreshSet:
    values, group = make_dies(make_network((20, 9, 3, 9, 20)), N_DIES)
    return FreshSet("good", values, group)


def test_flips_are_counted_where_the_band_is_too_narrow(dies: FreshSet) -> None:
    scorers = scorers_with(lambda t: Band(t, t), dies.values)
    (count,) = count_flips(scorers, dies)
    fp32 = scorers.fp32.score(dies.values).scores
    int8 = scorers.int8.score(dies.values).scores
    differ = (fp32 <= np.float32(scorers.fp32.threshold)) != (
        int8 <= np.float32(scorers.fp32.threshold)
    )
    assert count.n_flips == count.n_int8_flips == np.count_nonzero(differ & ~np.isnan(fp32)) > 5
    assert count.n_dies == N_DIES
    assert count.n_rejected == np.count_nonzero(fp32 > np.float32(scorers.fp32.threshold))


def test_a_band_over_everything_leaves_no_flip_and_rescores_all(dies: FreshSet) -> None:
    wide = float(np.float32(1e30))
    (count,) = count_flips(scorers_with(lambda t: Band(-wide, wide), dies.values), dies)
    assert count.n_flips == 0
    assert count.n_int8_flips > 5
    assert count.rescored > 0.9


def test_the_record_names_flips_and_tells_rescoring(tmp_path) -> None:
    case = read_verified_cases(quick=True)[0]
    count = Count("mse", 0.005, "good", 500_000, 5_000, 0, 7, 1_000)
    total = count + Count("mse", 0.005, "good", 500_000, 5_000, 3, 0, 1_000)
    good = VerifiedResult(case, 10, (count,), {"mse": EVIDENCE}, 12.0)
    assert good.failures == ()
    assert "Not one of 500,000 verdicts differs" in verified_section(good)
    bad = replace(good, counts=(total,))
    assert bad.failures == ("mse at 0.50%, good: 3 verdicts of 1,000,000 differ",)
    page = write_verified_record([bad], tmp_path, "now")
    assert "| mse | 3 (7) | 0.200% |" in page.read_text(encoding="utf-8")
    record = json.loads((tmp_path / "now.json").read_text(encoding="utf-8"))
    assert record["cases"][0]["counts"][0]["n_flips"] == 3


def test_fresh_lots_hold_every_kind_of_die() -> None:
    case = replace(read_verified_cases(quick=True)[0], n_lots=2, dies_per_lot=100, n_tests=24)
    case = replace(case, defective_per_lot=10, disturbed_per_lot=20)
    lots = list(fresh_lots(case))
    assert len(lots) == 2
    by_kind = {dies.kind: dies.values for dies in lots[0]}
    assert list(by_kind)[:2] == ["good", "defective"]
    assert len(by_kind) == 7
    good = by_kind["good"]
    assert not np.array_equal(good, lots[1][0].values)
    sigma = np.nanstd(good, axis=0)
    assert np.nanmedian(np.nanstd(by_kind["spread × 1.5"], axis=0) / sigma) == pytest.approx(
        1.5, abs=0.2
    )
    assert np.isnan(by_kind["5 % missing"]).mean() == pytest.approx(0.05, abs=0.03)
    largest = np.nanmax(
        np.abs(by_kind["a reading at 1,000 sigma"] - np.nanmedian(good, axis=0)) / sigma, axis=1
    )
    assert np.median(largest) > 300


def test_models_have_the_points_and_heads_of_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network((20, 9, 3, 9, 20), head="mse")
    good, train, held = (Part(*make_dies(network, 600, seed=seed)) for seed in (1, 2, 3))
    none = np.zeros(0, np.int32)
    trained = TrainedModel(
        network, (),
        CalibrationSet(good.values, good.group, good.values[:0], none, none, np.zeros(600, "i4")),
        Int8Dies(train, held), Provenance(), Evaluation(),
    )  # fmt: skip
    seen: list[TrainingDies] = []

    def recorded(*args, training, **kwargs):
        seen.append(training)
        return fit_head(*args, training=training, **kwargs)

    monkeypatch.setattr("benchmarks.verified._models.fit_head", recorded)
    case = replace(read_verified_cases(quick=True)[0], heads=("topk",), fprs=(0.005, 0.03))
    (scorers,) = with_each_head(trained, case)
    fprs = sorted({*OPERATING_POINTS, 0.03})
    assert [point.fpr for point in scorers.evidence.points] == fprs
    assert [scorer.fpr for scorer in scorers.verified] == [0.005, 0.03]
    np.testing.assert_array_equal(seen[0].values, train.values)


def test_a_case_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="no case 'x'"):
        read_verified_cases(only="x")
