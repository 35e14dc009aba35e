"""Cases of speed as data: which model, how many dies in a call, how warm, how right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomllib
from numpy.typing import NDArray

from knowngood._network import HeadKind

CASES_FILE = Path(__file__).with_name("cases.toml")
FEWEST_FOR_A_MEDIAN = 64


@dataclass(frozen=True)
class Allowed:
    """Largest relative errors of a score: the median die's, and the worst one's."""

    median: float
    worst: float

    def breach(self, errors: NDArray[np.float32]) -> str:
        """What is beyond this, in words, or nothing; few dies have no median to speak of."""
        worst, median = float(errors.max(initial=0.0)), float(np.median(errors))
        if not worst <= self.worst:
            return f"relative error {worst:.3g}, allowed {self.worst:.3g}"
        if len(errors) >= FEWEST_FOR_A_MEDIAN and not median <= self.median:
            return f"median relative error {median:.3g}, allowed {self.median:.3g}"
        return ""


@dataclass(frozen=True)
class SpeedCase:
    """One model and head, and the calls that are timed.

    Attributes:
        model: name of the case in ``benchmarks/cases.toml`` that trains it.
        head: "topk" or "normalized".
        hot, cold: dies per call.
        seconds: of timing per contestant and number of dies, hot.
        n_cold: calls per contestant, cold.
        with_avx2: whether contestants limited to AVX2 take part.
        is_held_to_figures: whether what the engine must reach is asked of this model.
        expected: errors allowed to "fp32" and "int8".
    """

    name: str
    model: str
    head: HeadKind
    hot: tuple[int, ...]
    cold: tuple[int, ...]
    seconds: float
    n_cold: int
    with_avx2: bool
    is_held_to_figures: bool
    expected: dict[str, Allowed]

    @property
    def n_dies(self) -> int:
        """Dies that the largest call takes."""
        return max((*self.hot, *self.cold))


def read_speed_cases(
    path: Path = CASES_FILE, *, quick: bool = False, only: str | None = None
) -> list[SpeedCase]:
    """The cases in a file; ``quick`` takes its small variant, ``only`` those of one model.

    Raises:
        ValueError: there is no case of such a model, or a field is missing or unknown.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    fields = {each["name"]: each for each in document["case"]}
    if quick:
        changed = document["quick"]
        fields = {changed["name"]: {**fields[changed["name"]], **changed}}
    cases = [_case(path, each) for each in fields.values()]
    chosen = [case for case in cases if only in (None, case.model)]
    if not chosen:
        models = dict.fromkeys(case.model for case in cases)
        raise ValueError(f"{path} has no case of the model {only!r}; it has {', '.join(models)}")
    return chosen


def _case(path: Path, fields: dict[str, Any]) -> SpeedCase:
    try:
        numbers = {name: tuple(fields[name]) for name in ("hot", "cold")}
        expected = {name: Allowed(**fields["expected"][name]) for name in ("fp32", "int8")}
        return SpeedCase(**{**fields, **numbers, "expected": expected})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: case {fields['name']!r}: {error}") from error
