"""Scores of the same dies by reference and form, which is all that measuring needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from knowngood._network import OperatingPoint
from knowngood._sealed import Band

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ScoredDies:
    """Scores of good dies and, by class of defect, of defective ones.

    Attributes:
        good: float32 ``(n_good,)``; NaN where a die cannot be scored.
        defective: float32 ``(n,)`` by class.
    """

    good: Float32
    defective: Mapping[str, Float32]

    @property
    def all_defective(self) -> Float32:
        """The classes one after the other."""
        return np.concatenate([np.empty(0, np.float32), *self.defective.values()])

    @property
    def all(self) -> Float32:
        """Good dies first."""
        return np.concatenate([self.good, self.all_defective])


@dataclass(frozen=True)
class Scored:
    """Which form scored, and what it ran in; attributes as in `FormCertificate`."""

    form: str
    precision: str
    engine: str
    engine_version: str = ""
    cpu_path: str | None = None
    model_id: str = ""


@dataclass(frozen=True, eq=False)
class Rescored:
    """What "verified" did at one operating point.

    Attributes:
        scores: those it reported.
        good, defective: how many dies it scored again in fp32.
    """

    scores: ScoredDies
    band: Band
    good: int
    defective: int


@dataclass(frozen=True, eq=False)
class ReferenceScores:
    """What forms are measured against.

    Attributes:
        scores: of all dies.
        points: operating points; the form's have the same yield losses.
        float64: rows of the good dies that were scored in float64 too, and these scores.
    """

    by: Scored
    scores: ScoredDies
    points: tuple[OperatingPoint, ...]
    float64: tuple[NDArray[np.intp], Float32] | None = None


@dataclass(frozen=True, eq=False)
class FormScores:
    """A form's scores of the same dies.

    Attributes:
        scores: those at the default operating point.
        thresholds: its own by yield loss; a point of the reference that is not here is left out.
        rescored: of "verified" by yield loss, empty for others.
        top5_overlap, n_overlap: as in `FormCertificate`.
    """

    by: Scored
    scores: ScoredDies
    thresholds: Mapping[float, float]
    rescored: Mapping[float, Rescored] = field(default_factory=dict)
    top5_overlap: float | None = None
    n_overlap: int = 0
