"""What the bands of a model rest on, as it is kept in its certificate."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from knowngood._errors import UsageError


@dataclass(frozen=True)
class FaultError:
    """The error of int8, its score less that of fp32, on dies at a threshold with one fault.

    Attributes:
        fault: its name; "none" for the good dies nearest to the threshold, as they are.
        n_dies: within the scale limits; only these are counted in what follows.
        n_beyond: beyond the limits, rescored whatever their score.
        centre: median error, in units of the score; 0 where there is no die.
        lowest, highest: the worst errors.
    """

    fault: str
    n_dies: int
    n_beyond: int
    centre: float
    lowest: float
    highest: float

    @property
    def farthest(self) -> float:
        """The largest distance of an error from the centre."""
        return max(self.highest - self.centre, self.centre - self.lowest)


@dataclass(frozen=True)
class PointEvidence:
    """What the band of one operating point rests on.

    Attributes:
        fpr, threshold: of the fp32 operating point.
        lo, hi: the band.
        expected_rescoring: share of good dies that will be scored again: by the band, read off the
            thresholds, and by the scale limits.
        rescored: the same, counted among the good dies given.
        faults: errors at the threshold, by kind of fault.
    """

    fpr: float
    threshold: float
    lo: float
    hi: float
    expected_rescoring: float
    rescored: float
    faults: tuple[FaultError, ...]

    @property
    def n_dies(self) -> int:
        """Dies at the threshold on which the band rests."""
        return sum(fault.n_dies for fault in self.faults)


@dataclass(frozen=True)
class BandEvidence:
    """What the bands of a model rest on, for its certificate.

    Attributes:
        method: in words.
        margin: how many times as far as the worst error a band reaches.
        n_good: good dies given that int8 and fp32 score.
        limit_factor: scale limits, in units of the largest input of these dies in each layer.
        share_beyond: share of good dies expected beyond the limits.
        points: by ascending yield loss.
    """

    method: str
    margin: float
    n_good: int
    limit_factor: float
    share_beyond: float
    points: tuple[PointEvidence, ...]

    def to_json(self) -> str:
        """JSON text that ``from_json`` reads back equal."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> BandEvidence:
        """The evidence written by ``to_json``.

        Raises:
            UsageError: it is none, or has a field that this version does not know.
        """
        try:
            fields = json.loads(text)
            points = tuple(_point_of(point) for point in fields.pop("points"))
            return cls(**fields, points=points)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"not the evidence of bands: {error!r}") from error


def _point_of(fields: dict[str, Any]) -> PointEvidence:
    faults = tuple(FaultError(**fault) for fault in fields.pop("faults"))
    return PointEvidence(**fields, faults=faults)
