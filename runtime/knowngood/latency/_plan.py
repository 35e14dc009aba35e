"""What is to be timed: how many dies in a call, under which conditions, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._errors import UsageError

BATCHES = (1, 4, 16, 64, 1000)
MAX_BATCH = 100_000
MAX_SECONDS = 3600.0
MAX_IDLE_MS = 60_000.0


@dataclass(frozen=True)
class BenchPlan:
    """What ``bench`` does; each combination of model, batch and condition takes ``seconds``.

    Attributes:
        batches: dies per call, each once, up to 100,000.
        seconds: for each model, batch size and condition, up to 3,600.
        cold: also time calls that find the caches full of something else.
        idle_ms: also time calls after sleeping so long, as between touchdowns, up to 60,000; None
            does not.
        core: the processor that everything is bound to; None leaves that to the system.
        realtime: run under SCHED_FIFO, before every ordinary thread.

    Raises:
        UsageError: an attribute is out of range; the message names it and its option.
    """

    batches: tuple[int, ...] = BATCHES
    seconds: float = 1.0
    cold: bool = False
    idle_ms: float | None = None
    core: int | None = None
    realtime: bool = False

    def __post_init__(self) -> None:
        if not self.batches or not all(1 <= batch <= MAX_BATCH for batch in self.batches):
            found = ", ".join(map(str, self.batches)) or "none"
            raise UsageError(
                f"batches (--batches) are numbers from 1 to {MAX_BATCH:,}, found {found}"
            )
        refuse_repeated("batches (--batches)", self.batches)
        _check_time("seconds (--seconds)", self.seconds, MAX_SECONDS)
        if self.idle_ms is not None:
            _check_time("idle_ms (--idle-ms)", self.idle_ms, MAX_IDLE_MS)
        if self.core is not None and self.core < 0:
            raise UsageError(f"core (--core) is a processor's number ≥ 0, found {self.core}")


def refuse_repeated(name: str, values: Sequence[object]) -> None:
    """Make sure that each row of the result will be of something else.

    Raises:
        UsageError: one of ``values`` is there twice.
    """
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise UsageError(f"{name} has {twice} twice: give each once")


def _check_time(name: str, time: float, most: float) -> None:
    if not 0 < time <= most:
        raise UsageError(f"{name} is above 0 and at most {most:,.0f}, found {time:g}")
