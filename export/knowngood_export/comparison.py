"""Every exported form and every baseline on the same fresh dies: the table of demo and benchmarks.

Fresh means lots that neither training nor thresholds have seen. The reference of each form's drift
is the trained network in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from knowngood._lot import Lot
from knowngood._manifest import Drift, Evaluation
from knowngood._network import Network
from knowngood_quantize.drift import measure_drift
from knowngood_quantize.injection import InjectedSet
from knowngood_quantize.yardstick import Score, evaluate_scores

from . import synthetic
from ._fit import Part, score_dies
from ._group_numbers import group_numbers
from ._trained import TrainedModel

if TYPE_CHECKING:
    from knowngood import Scorer

REFERENCE = "autoencoder float64"

Float32 = NDArray[np.float32]
Group = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class FreshDies:
    """Dies to compare on.

    Attributes:
        good: passing dies of lots of their own.
        defective: some of these dies with a defect, one set per class.
    """

    good: Lot
    defective: tuple[InjectedSet, ...]


def fresh_dies(
    process: synthetic.ProcessModel, n_good: int, n_defective: int, *, seed: int, n_lots: int = 5
) -> FreshDies:
    """About ``n_good`` passing dies of ``n_lots`` lots, and ``n_defective`` with each defect."""
    parts = [
        synthetic.make_lot(
            process, n_wafers=1, dies_per_wafer=-(-n_good // n_lots), lot=f"FRESH{i:02d}",
            seed=seed, fail_rate=0.0,
        )
        for i in range(n_lots)
    ]  # fmt: skip
    lot = join_lots(parts)
    lot = lot.select(lot.dies.tester_pass == 1)
    sets = [synthetic.inject_defects(process, lot, c, seed=seed) for c in synthetic.DefectClass]
    rng = np.random.default_rng(seed)
    return FreshDies(lot, tuple(_some(s, n_defective, rng) for s in sets))


def join_lots(parts: list[Lot]) -> Lot:
    """Lots of one schema as one."""
    dies = type(parts[0].dies).concatenate([p.dies for p in parts])
    return Lot(np.concatenate([p.values for p in parts]), parts[0].schema, dies, parts[0].facts)


def _some(dies: InjectedSet, n: int, rng: np.random.Generator) -> InjectedSet:
    rows = np.sort(rng.permutation(len(dies.values))[:n])
    return InjectedSet(
        dies.name, dies.values[rows], dies.source_rows[rows], dies.n_impossible, dies.note
    )


@dataclass(frozen=True)
class Comparison:
    """What the forms do on fresh dies.

    Attributes:
        drift: by form, against the reference, each at its own threshold of the default yield loss.
        evaluation: detection of reference, forms and baselines at equal yield loss.
        yield_loss: realised on the fresh good dies, by detector, at the default operating point.
    """

    drift: dict[str, Drift]
    evaluation: Evaluation
    yield_loss: dict[str, float]


def compare(trained: TrainedModel, scorers: Mapping[str, Scorer], fresh: FreshDies) -> Comparison:
    """Score the fresh dies with the trained network, its exported forms and the baselines.

    Args:
        trained: the model that the forms were exported from.
        scorers: by form, each at the operating point that verdicts are compared at.
        fresh: dies that no threshold was fitted on.
    """
    detectors: dict[str, Score] = {REFERENCE: _network_score(trained.network, np.float64)}
    detectors |= {name: _scorer_score(scorer) for name, scorer in scorers.items()}
    detectors |= {b.detector: _network_score(b, np.float32) for b in trained.baselines}
    good = {n: score(fresh.good.values, fresh.good.group) for n, score in detectors.items()}
    defective = {n: _score_sets(score, fresh) for n, score in detectors.items()}
    thresholds = _thresholds(trained, scorers)
    drift = {
        name: measure_drift(
            name, good[REFERENCE], _all(defective[REFERENCE]), good[name], _all(defective[name]),
            thresholds[REFERENCE], thresholds[name],
        )
        for name in scorers
    }  # fmt: skip
    how = f"{len(fresh.good.values):,} good dies of lots that were not trained on"
    loss = {n: float((good[n] > t).mean()) for n, t in thresholds.items()}
    return Comparison(drift, evaluate_scores(good, defective, how), loss)


def _thresholds(trained: TrainedModel, scorers: Mapping[str, Scorer]) -> dict[str, float]:
    fpr = next((s.fpr for s in scorers.values()), trained.network.screen.default_fpr)
    networks = {REFERENCE: trained.network, **{b.detector: b for b in trained.baselines}}
    thresholds = {
        name: network.screen.operating_point(fpr, extrapolate=True).threshold
        for name, network in networks.items()
    }
    return thresholds | {name: scorer.threshold for name, scorer in scorers.items()}


def _network_score(network: Network, dtype: type[np.floating[Any]]) -> Score:
    def score(values: Float32, group: Group | None) -> Float32:
        dies = Part(values, group_numbers("group", group, len(values)))
        return score_dies(network, dies, dtype=dtype)

    return score


def _scorer_score(scorer: Scorer) -> Score:
    return lambda values, group: scorer.score(values, group).scores


def _score_sets(score: Score, fresh: FreshDies) -> dict[str, Float32]:
    group = fresh.good.group
    return {s.name: score(s.values, group[s.source_rows]) for s in fresh.defective}


def _all(scores: Mapping[str, Float32]) -> Float32:
    return np.concatenate(list(scores.values()))
