"""A case of speed from top to bottom: files, contestants, right answers, timing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowngood._verdicts import Verdict

from .._cases import Case
from .._prepare import load_or_train
from ._cases import Allowed, SpeedCase
from ._files import Dies, Float32, SpeedFiles, make_files
from ._rivals import LEFT_OUT, compile_programs, open_seats
from ._seats import Seat, WorkerError
from ._timing import Timing, time_in_rounds


@dataclass(frozen=True)
class SpeedResult:
    """What came out of one case.

    Attributes:
        widths: of the network's layers.
        n_macs: multiply-accumulates of the layers for one die.
        skipped: contestants that could not take part, and why.
        failures: answers that are further off than allowed.
    """

    case: SpeedCase
    widths: tuple[int, ...]
    n_macs: int
    timings: tuple[Timing, ...]
    skipped: tuple[str, ...]
    failures: tuple[str, ...]


def run_speed_case(
    case: SpeedCase, model: Case, folder: Path, say: Callable[[str], None], *, may_install: bool
) -> SpeedResult:
    """Run a case; ``model`` says how what it times is trained, ``say`` is told how far it is."""
    say(f"{case.name}: training, exporting")
    trained, own = load_or_train(model, folder)
    files = make_files(case, model, trained, own / f"speed-{case.head}")
    programs = compile_programs(folder)
    skipped = list(LEFT_OUT)
    with open_seats(
        files, programs, skipped, with_avx2=case.with_avx2, may_install=may_install
    ) as seats:
        say(f"{case.name}: {len(seats)} contestants")
        failures, timings = _run_seats(case, files, seats, say)
    return SpeedResult(
        case, files.widths, files.n_macs, tuple(timings), tuple(skipped), tuple(failures)
    )


def _run_seats(
    case: SpeedCase, files: SpeedFiles, seats: Sequence[Seat], say: Callable[[str], None]
) -> tuple[list[str], list[Timing]]:
    judges = [seat for seat in seats if seat.is_judge]
    failures = _ready(judges, files.incomplete, files.folder, case)[1]
    timings: list[Timing] = []
    for n_dies in sorted({*case.hot, *case.cold}):
        dies = files.complete.first(n_dies)
        ready, wrong = _ready(judges, dies, files.folder, case)
        failures += wrong
        ready += _idle(seats, files.folder / "dies", n_dies)
        if n_dies in case.hot:
            say(f"{case.name}: dies in a call: {n_dies}")
            timings += time_in_rounds(ready, n_dies, seconds=case.seconds)
        if n_dies in case.cold:
            say(f"{case.name}: dies in a call: {n_dies}, caches cold")
            timings += time_in_rounds(ready, n_dies, seconds=0, n_cold=case.n_cold)
    return failures, timings


def _ready(
    judges: Sequence[Seat], dies: Dies, folder: Path, case: SpeedCase
) -> tuple[list[Seat], list[str]]:
    """Those who take so many dies, prepared for them, and complaints about their answers."""
    n_dies, values = len(dies.values), folder / "dies"
    dies.values.tofile(values)
    ready, failures = [], []
    for seat in (each for each in judges if each.worker.is_running):
        try:
            if not seat.prepare(values, n_dies):
                continue
            scores, verdicts = seat.answer(folder / "answer", n_dies)
        except WorkerError as error:
            failures.append(f"{seat.name}, {n_dies} dies in a call: {error}")
            continue
        ready.append(seat)
        complaint = what_is_wrong(
            seat.engine, seat.precision, scores, verdicts, dies, case.expected
        )
        if complaint:
            failures.append(f"{seat.name}, {n_dies} dies in a call: {complaint}")
    return [seat for seat in ready if seat.worker.is_running], failures


def _idle(seats: Sequence[Seat], values: Path, n_dies: int) -> list[Seat]:
    """Limits and empty calls, which take any number of dies and judge none."""
    idle = [seat for seat in seats if not seat.is_judge]
    return [seat for seat in idle if seat.prepare(values, n_dies)]


def what_is_wrong(
    engine: str,
    precision: str,
    scores: Float32,
    verdicts: NDArray[np.int8],
    dies: Dies,
    expected: dict[str, Allowed],
) -> str:
    """A complaint about an answer, or nothing."""
    if not np.array_equal(np.isnan(scores), verdicts == Verdict.UNSCORED):
        return "a verdict without a score, or a score without one"
    passed, rejected = scores[verdicts == Verdict.PASS], scores[verdicts == Verdict.REJECT]
    if len(passed) and len(rejected) and passed.max() >= rejected.min():
        return f"passes {passed.max():.6g} and rejects {rejected.min():.6g}"
    if engine.startswith("knowngood"):
        n_wrong = int((scores.view(np.uint32) != dies.exact[precision].view(np.uint32)).sum())
        return f"{n_wrong} scores differ from the reference engine's" if n_wrong else ""
    if not np.array_equal(np.isnan(scores), np.isnan(dies.oracle)):
        return "scores dies that have no score, or the reverse"
    is_scored = ~np.isnan(dies.oracle)
    return expected[precision].breach(np.abs(scores / dies.oracle - 1)[is_scored])
