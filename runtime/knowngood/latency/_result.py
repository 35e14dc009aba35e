"""The figures of a run, for programs; ``_words`` has them for people."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from ._activity import HostActivity, ThreadEvents
from ._gaps import Gaps
from ._host import Host
from ._percentiles import CallTimes
from ._plan import BenchPlan
from ._tail import HostShare
from ._timing import Clock

RECORD_VERSION = 1


@dataclass(frozen=True)
class TimedModel:
    """What was timed, and what it said of the dies of the largest batch.

    Attributes:
        name: path, precision and engine, as ``CallTimes.contestant`` has it.
        path: as the model was loaded.
        model_id, precision, engine, engine_version, cpu_path: of its scorer.
        n_tests: values of a die.
        n_pass, n_reject, n_unscored: verdicts.
    """

    name: str
    path: str
    model_id: str
    precision: str
    engine: str
    engine_version: str
    cpu_path: str | None
    n_tests: int
    n_pass: int
    n_reject: int
    n_unscored: int


@dataclass(frozen=True)
class TimedDies:
    """What became of the dies of a batch.

    Attributes:
        contestant, batch: of which calls.
        n_pass, n_reject, n_unscored: verdicts.
        n_rescored: those that "verified" scored in int8 and then in fp32; None in other precisions.
    """

    contestant: str
    batch: int
    n_pass: int
    n_reject: int
    n_unscored: int
    n_rescored: int | None


@dataclass(frozen=True)
class BenchResult:
    """What ``bench`` found.

    Attributes:
        plan: what was asked for.
        models: what was timed, in order.
        dies: a row for each batch and model.
        calls: a row for each batch, condition and model; "rescored" only of verified ones.
        events: what befell the thread during each row; None where the system does not count it.
        clock: what calls were timed with.
        gaps: what a loop that only reads the clock saw, in turn with the hot calls.
        shares: what gaps explain of each row of hot calls.
        host: the computer.
        activity: of its processors, from the first call to the last.
    """

    plan: BenchPlan
    models: tuple[TimedModel, ...]
    dies: tuple[TimedDies, ...]
    calls: tuple[CallTimes, ...]
    events: tuple[ThreadEvents | None, ...]
    clock: Clock
    gaps: Gaps
    shares: tuple[HostShare, ...]
    host: Host
    activity: HostActivity

    def to_json(self) -> dict[str, Any]:
        """All of it, for ``json.dumps``; what is not known or not supported is None."""
        from .. import __version__

        return {
            "knowngood_bench": RECORD_VERSION,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": {
                "knowngood": __version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "plan": asdict(self.plan),
            "models": [asdict(model) for model in self.models],
            "dies": [asdict(dies) for dies in self.dies],
            "latency_us": [
                {**asdict(row), "us_per_die": row.us_per_die, "events": met and asdict(met)}
                for row, met in zip(self.calls, self.events, strict=True)
            ],
            "clock": asdict(self.clock),
            "gaps": self.gaps.to_json(),
            "tails": [asdict(share) for share in self.shares],
            "host": asdict(self.host),
            "activity": asdict(self.activity),
        }

    def __str__(self) -> str:
        from ._words import describe

        return describe(self)
