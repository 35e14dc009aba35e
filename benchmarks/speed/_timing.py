"""Calls of every contestant in turn, round by round, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._seats import Seat

ROUNDS = 15
FEWEST_CALLS = 3
MOST_CALLS = 4000
"""In one round: more would say nothing new of a call of a microsecond."""


@dataclass(frozen=True)
class Timing:
    """Calls of one contestant with ``n_dies`` dies each, µs.

    Attributes:
        amount, n_instructions: of a limit: what a call does, and with how many instructions.
        rounds_us: the median of each round, in which everybody had a turn.
    """

    engine: str
    precision: str
    configuration: str
    version: str
    amount: int
    n_instructions: int
    n_dies: int
    is_cold: bool
    n_calls: int
    p10_us: float
    median_us: float
    p99_us: float
    p999_us: float
    worst_us: float
    rounds_us: tuple[float, ...]

    @property
    def name(self) -> str:
        """Engine, precision and configuration."""
        return f"{f'{self.engine} {self.precision}'.strip()}, {self.configuration}"


def ratio(slower: Timing, faster: Timing) -> float:
    """How many times longer one takes than the other: the median over rounds."""
    rounds = np.array(slower.rounds_us) / np.array(faster.rounds_us)
    return float(np.median(rounds))


def time_in_rounds(
    seats: Sequence[Seat], n_dies: int, *, seconds: float, n_cold: int = 0
) -> list[Timing]:
    """Time seats that are prepared for ``n_dies`` dies, ``seconds`` each, or ``n_cold`` cold calls.

    The order of turns is turned round from one round to the next, so that nobody always follows
    the same neighbour.
    """
    is_cold = n_cold > 0
    counts = [-(-n_cold // ROUNDS) if is_cold else _n_calls(seat, seconds) for seat in seats]
    found: list[list[NDArray[np.int64]]] = [[] for _ in seats]
    for number in range(ROUNDS):
        places = range(len(seats))
        for place in places if number % 2 == 0 else reversed(places):
            found[place].append(seats[place].time(counts[place], is_cold=is_cold))
    return [
        _summary(seat, n_dies, is_cold, rounds) for seat, rounds in zip(seats, found, strict=True)
    ]


def _n_calls(seat: Seat, seconds: float) -> int:
    once_s = float(np.median(seat.time(5, is_cold=False))) * 1e-9
    wanted = int(seconds / ROUNDS / max(once_s, 1e-7))
    return min(max(FEWEST_CALLS, wanted), MOST_CALLS)


def _summary(seat: Seat, n_dies: int, is_cold: bool, rounds: Sequence[NDArray[np.int64]]) -> Timing:
    us = np.concatenate(rounds) / 1e3
    p10, median, p99, p999 = (float(p) for p in np.percentile(us, (10, 50, 99, 99.9)))
    return Timing(
        seat.engine, seat.precision, seat.configuration, seat.version,
        seat.amount, seat.n_instructions, n_dies, is_cold, len(us),
        p10, median, p99, p999, float(us.max()),
        tuple(float(np.median(r)) / 1e3 for r in rounds),
    )  # fmt: skip
