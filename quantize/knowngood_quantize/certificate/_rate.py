"""A count of dies as a share, with what so many dies can say about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from knowngood.report._rates import binomial_interval

from ._fields_json import Compact


@dataclass(frozen=True)
class Rate(Compact):
    """``count`` of ``n`` dies, with the exact 95 % interval of the underlying share.

    Source: Clopper and Pearson, Biometrika 26 (1934). It holds for independent dies; dies of one
    lot are not quite.

    Attributes:
        low, high: bounds of the share; 0 and 1 without dies.
    """

    count: int
    n: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.n:
            raise ValueError(f"expected 0 to {self.n} dies, found {self.count}")
        is_inside = not self.n or self.low <= rounded(self.share) <= self.high
        if not (0 <= self.low <= self.high <= 1 and is_inside):
            raise ValueError(
                f"expected bounds about {self.count} of {self.n} dies, found {self.low} to "
                f"{self.high}"
            )

    @classmethod
    def of(cls, count: int, n: int) -> Rate:
        """The rate of ``count`` dies among ``n``."""
        return cls(int(count), int(n), *_interval(int(count), int(n)))

    @property
    def share(self) -> float:
        """``count / n``; 0 without dies."""
        return self.count / self.n if self.n else 0.0

    @property
    def per_10_000(self) -> float:
        """The share in the unit of verdict flips."""
        return 1e4 * self.share


@lru_cache(maxsize=8192)
def _interval(count: int, n: int) -> tuple[float, float]:
    low, high = binomial_interval(count, n)
    return rounded(low), rounded(high)


def rounded(value: float) -> float:
    """Six significant digits: all that a measured figure means, and short in a file."""
    return float(f"{value:.6g}")
