"""The benchmark from top to bottom: prepare, check answers, time, write down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knowngood._bench import Latency, time_in_turn
from knowngood._forward import forward

from ._accuracy import Accuracy, measure_accuracy
from ._cases import Case, ScoreErrors
from ._contestants import Contestant, Float32, LoadedModel, NumPyForward
from ._other_python import CannotInstallError
from ._prepare import Prepared, prepare
from ._rival_int8 import QuantizeStatic
from ._tflite_runtime import TfliteRuntime
from ._torch_eager import TorchEager

ENGINE_OF_SUFFIX = {".onnx": "onnxruntime", ".tflite": "litert"}


@dataclass(frozen=True)
class CaseResult:
    """What came out of one case.

    Attributes:
        widths: of the network's layers.
        n_good, n_defective: fresh dies that accuracy was measured on.
        versions: of each contestant's package, by contestant.
        file_bytes: size of each exported file.
        skipped: contestants that could not take part, and why.
        failures: answers that are further off than allowed.
    """

    case: Case
    widths: tuple[int, ...]
    n_good: int
    n_defective: int
    versions: dict[str, str]
    file_bytes: dict[str, int]
    latencies: tuple[Latency, ...]
    accuracy: tuple[Accuracy, ...]
    skipped: tuple[str, ...]
    failures: tuple[str, ...]

    @property
    def tail_batch(self) -> int:
        """The batch whose tails are shown: 64, a touchdown of a wide prober, or the nearest."""
        return min(self.case.batches, key=lambda batch: abs(batch - 64))


def run_case(case: Case, folder: Path, say: Callable[[str], None]) -> CaseResult:
    """Run a case, keeping the trained model in ``folder``; ``say`` is told how far it is."""
    say(f"{case.name}: training, exporting")
    prepared = prepare(case, folder)
    skipped: list[str] = []
    with _open_contestants(prepared, skipped) as contestants:
        say(f"{case.name}: {len(contestants)} contestants score fresh dies")
        network, fresh = prepared.trained.network, prepared.fresh
        accuracy = measure_accuracy(network, prepared.trained.baselines, contestants, fresh)
        failures = wrong_answers(accuracy, case.expected)
        latencies: list[Latency] = []
        for batch in case.batches:
            dies = np.ascontiguousarray(fresh.good.values[:batch])
            reference = forward(network, dies).scores
            failures += wrong_at_batch(contestants, dies, reference, case.expected)
            say(f"{case.name}: timing calls of {batch} dies")
            timers = {c.name: c.timer(dies) for c in contestants}
            latencies += time_in_turn(timers, batch, seconds=case.seconds)
    return CaseResult(
        case=case,
        widths=network.widths,
        n_good=len(fresh.good.values),
        n_defective=sum(len(s.values) for s in fresh.defective),
        versions={c.name: c.version for c in contestants},
        file_bytes={f.path.name: f.n_bytes for f in prepared.exported.forms},
        latencies=tuple(latencies),
        accuracy=tuple(accuracy),
        skipped=tuple(skipped),
        failures=tuple(failures),
    )


@contextmanager
def _open_contestants(prepared: Prepared, skipped: list[str]) -> Iterator[list[Contestant]]:
    network = prepared.trained.network
    paths = [form.path for form in prepared.exported.forms]
    contestants: list[Contestant] = [TorchEager(network), NumPyForward(network)]
    contestants += [LoadedModel(path, ENGINE_OF_SUFFIX[path.suffix]) for path in paths]
    fp32_onnx = next(path for path in paths if path.name == "model.onnx")
    contestants.append(QuantizeStatic(fp32_onnx, prepared.trained))
    with ExitStack() as stack:
        for path in (p for p in paths if p.suffix == ".tflite"):
            try:
                worker = TfliteRuntime(path)
            except CannotInstallError as error:
                skipped.append(f"tflite-runtime on {path.name}: {error}")
                continue
            stack.callback(worker.close)
            contestants.append(worker)
        yield contestants


def wrong_answers(accuracy: Sequence[Accuracy], expected: dict[str, ScoreErrors]) -> list[str]:
    """Contestants whose scores of the fresh dies are further off than their form allows."""
    return [
        f"{a.detector}: {breach}"
        for a in accuracy
        if a.errors is not None
        for breach in expected[a.form].breaches(a.errors)
    ]


def wrong_at_batch(
    contestants: Sequence[Contestant],
    dies: Float32,
    reference: Float32,
    expected: dict[str, ScoreErrors],
) -> list[str]:
    """Contestants whose answer to exactly the call that is timed is further off than allowed."""
    failures = []
    for contestant in contestants:
        worst = float(np.abs(contestant.score(dies) / reference - 1).max())
        allowed = expected[contestant.form].good_worst
        if not worst <= allowed:
            failures.append(
                f"{contestant.name} with {len(dies)} dies in a call: relative error {worst:.3g}, "
                f"allowed {allowed:.3g}"
            )
    return failures
