"""The trained network in each precision, made when the first form asks for it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from knowngood._network import Network, QuantizedNetwork
from knowngood_quantize.int8 import Int8Recipe, quantize, weight_steps
from knowngood_quantize.int8_trials import Trial, fewest_flips, quantize_measured
from knowngood_quantize.static_ranges import with_static_ranges

from ._forms import STATIC_PRECISIONS
from ._trained import TrainedModel


@dataclass(frozen=True, eq=False)
class Converted:
    """The network in one precision, which every form of it shares, and the seconds it took."""

    network: Network | QuantizedNetwork
    seconds: float


Recipe = Int8Recipe | Literal["auto"]
"""How int8 is made; "auto" tries several and takes the one that changes fewest verdicts."""


class _Int8(NamedTuple):
    network: QuantizedNetwork
    recipe: Int8Recipe
    trials: tuple[Trial, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Conversions:
    """All precisions but fp32 share their int8 weights, rounded on ``trained.int8_dies``.

    Attributes:
        asked: how int8 is to be made.
    """

    trained: TrainedModel
    asked: Recipe

    @property
    def facts(self) -> dict[str, Any]:
        """The recipe that was followed, and what was tried, for the certificate; JSON-ready."""
        if "_int8" not in vars(self):
            return {}
        trials = [asdict(trial) for trial in self._int8.trials]
        return asdict(self._int8.recipe) | ({"trials": trials} if trials else {})

    @property
    def weight_steps(self) -> tuple[float, ...]:
        """Of each int8 layer, see `knowngood_quantize.int8.weight_steps`; empty without int8."""
        return weight_steps(self._int8.network) if "_int8" in vars(self) else ()

    def to(self, precision: str) -> Converted:
        """The network in "fp32", "int8", "int16x8" or "int8-full".

        Raises:
            UsageError: the recipe cannot be followed for this network.
            NotEnoughDataError: dies are needed for it, and none is in range.
        """
        if precision == "fp32":
            return Converted(self.trained.network, 0.0)
        if precision in STATIC_PRECISIONS:
            return self._ranged
        return Converted(self._int8.network, self._int8.seconds)

    @cached_property
    def _int8(self) -> _Int8:
        started, dies = time.perf_counter(), self.trained.int8_dies.rounding
        arguments = self.trained.network, dies.values, dies.group
        if self.asked == "auto":
            int8, trials = quantize_measured(*arguments)
            recipe = fewest_flips(trials).recipe
        else:
            recipe, trials = self.asked, ()
            int8 = quantize(*arguments, recipe)
        return _Int8(int8, recipe, trials, time.perf_counter() - started)

    @cached_property
    def _ranged(self) -> Converted:
        int8, started = self._int8, time.perf_counter()
        dies = self.trained.int8_dies.rounding
        ranged = with_static_ranges(int8.network, dies.values, dies.group)
        return Converted(ranged, int8.seconds + time.perf_counter() - started)
