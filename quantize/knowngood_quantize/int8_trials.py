"""Int8 recipes tried and compared by how many verdicts they would change.

What a method gains depends on the network: this is how to find out before choosing one. Two thirds
of the dies round, the last third judges: good as it is, and with the standard defects. Flips at one
threshold are few and jump about, so they are averaged over thresholds around the one in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import Forward, forward, score_residual
from knowngood._network import MIN_EXCEEDANCES, Head, Network, QuantizedNetwork

from .injection import limits_of, standard_defects
from .int8 import Int8Recipe, quantize, simulate

Float32 = NDArray[np.float32]
CANDIDATES = (
    Int8Recipe(),
    Int8Recipe(smoothing=0.25),
    Int8Recipe(smoothing=0.5),
    Int8Recipe(fill_spare_neurons=False),
    Int8Recipe(rounding="nearest"),
)
WINDOW = np.linspace(0.8, 1.2, 41)
"""Thresholds that flips are averaged over, relative to that at the default operating point."""
SEED = 20


@dataclass(frozen=True)
class Trial:
    """What a recipe did on dies that it was not made with.

    Attributes:
        recipe: what was tried.
        flips_good, flips_defective: verdicts per 10,000 that differ from float64's at an unchanged
            threshold, averaged over thresholds within a fifth of it.
        bias: median relative change of good dies' scores.
    """

    recipe: Int8Recipe
    flips_good: float
    flips_defective: float
    bias: float

    def cost(self, reference: Trial) -> float:
        """Flips relative to those of another trial: 2 if they are the same."""
        good = (1 + self.flips_good) / (1 + reference.flips_good)
        return good + (1 + self.flips_defective) / (1 + reference.flips_defective)


@dataclass(frozen=True, eq=False)
class _Judges:
    """Dies that judge, scored in float64."""

    head: Head
    good: Forward
    defective: Forward
    threshold: float

    @classmethod
    def of(cls, network: Network, values: Float32, group: NDArray[np.int32]) -> _Judges:
        limits = limits_of(network.screen.schema)
        sets = standard_defects(values, limits=limits, groups=group, seed=SEED)
        rows = np.concatenate([s.source_rows for s in sets])
        defective = np.concatenate([s.values for s in sets])
        good = forward(network, values, group)
        fpr = max(network.screen.default_fpr, MIN_EXCEEDANCES / len(values))
        threshold = float(np.nanquantile(good.scores, 1 - fpr))
        return cls(network.screen.head, good, forward(network, defective, group[rows]), threshold)

    def judge(self, recipe: Int8Recipe, int8: QuantizedNetwork) -> Trial:
        exact, found = self._scores(int8, self.good)
        bias = np.median(found / np.maximum(exact, np.finfo(np.float32).tiny) - 1)
        flips_defective = self._flips(*self._scores(int8, self.defective))
        return Trial(recipe, self._flips(exact, found), flips_defective, float(bias))

    def _scores(self, int8: QuantizedNetwork, exact: Forward) -> tuple[Float32, Float32]:
        """Of the network and of its int8 form, dies that both score."""
        with np.errstate(invalid="ignore", over="ignore"):
            residual = exact.standardised - simulate(int8, exact.standardised)
            found = score_residual(self.head, residual, exact.present)
        both = np.isfinite(exact.scores) & np.isfinite(found)
        return exact.scores[both], found[both]

    def _flips(self, exact: Float32, found: Float32) -> float:
        """Per 10,000."""
        thresholds = self.threshold * WINDOW[:, None]
        return 1e4 * float(np.mean((exact > thresholds) != (found > thresholds)))


def quantize_measured(
    network: Network,
    values: Float32,
    group: NDArray[np.int32] | None = None,
    recipes: Sequence[Int8Recipe] = CANDIDATES,
) -> tuple[QuantizedNetwork, tuple[Trial, ...]]:
    """The int8 form by the recipe that changes fewest verdicts, made with all dies.

    Flips of good and defective dies count alike, each relative to the first recipe's. An earlier
    recipe wins a tie.

    Args:
        network: in float32, with a fitted head.
        values: float32 ``(n_dies, n_tests)`` of good dies in the order of their lots, raw units,
            NaN where missing.
        group: int32 ``(n_dies,)``.
        recipes: to choose from; one or more.

    Raises:
        NotEnoughDataError: fewer than ``3 · MIN_EXCEEDANCES`` dies, or as `quantize`.
        UsageError: no recipe, or as `quantize`.
    """
    if not recipes:
        raise UsageError("quantize_measured chooses among recipes, found none")
    group = np.full(len(values), -1, np.int32) if group is None else group
    n_rounding = 2 * len(values) // 3
    if len(values) - n_rounding < MIN_EXCEEDANCES:
        raise NotEnoughDataError(
            f"recipes are compared on at least {3 * MIN_EXCEEDANCES} good dies, found {len(values)}"
        )
    judges = _Judges.of(network, values[n_rounding:], group[n_rounding:])
    trials = tuple(
        judges.judge(r, quantize(network, values[:n_rounding], group[:n_rounding], r))
        for r in recipes
    )
    return quantize(network, values, group, fewest_flips(trials).recipe), trials


def fewest_flips(trials: Sequence[Trial]) -> Trial:
    """The trial that `quantize_measured` takes; an earlier one wins a tie."""
    return min(trials, key=lambda trial: trial.cost(trials[0]))
