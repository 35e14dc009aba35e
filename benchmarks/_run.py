"""Drift from top to bottom: prepare, let everybody score fresh dies, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ._accuracy import Accuracy, measure_accuracy
from ._cases import Case, ScoreErrors
from ._contestants import Contestant, LoadedModel, NumPyForward
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
    accuracy: tuple[Accuracy, ...]
    skipped: tuple[str, ...]
    failures: tuple[str, ...]


def run_case(
    case: Case, folder: Path, say: Callable[[str], None], *, may_install: bool = True
) -> CaseResult:
    """Run a case, keeping the trained model in ``folder``; ``say`` is told how far it is."""
    say(f"{case.name}: training, exporting")
    prepared = prepare(case, folder)
    skipped: list[str] = []
    with _open_contestants(prepared, skipped, may_install) as contestants:
        say(f"{case.name}: {len(contestants)} contestants score fresh dies")
        network, fresh = prepared.trained.network, prepared.fresh
        accuracy = measure_accuracy(network, prepared.trained.baselines, contestants, fresh)
        failures = wrong_answers(accuracy, case.expected)
    return CaseResult(
        case=case,
        widths=network.widths,
        n_good=len(fresh.good.values),
        n_defective=sum(len(s.values) for s in fresh.defective),
        versions={c.name: c.version for c in contestants},
        file_bytes={f.path.name: f.n_bytes for f in prepared.exported.forms},
        accuracy=tuple(accuracy),
        skipped=tuple(skipped),
        failures=tuple(failures),
    )


@contextmanager
def _open_contestants(
    prepared: Prepared, skipped: list[str], may_install: bool
) -> Iterator[list[Contestant]]:
    network = prepared.trained.network
    paths = [form.path for form in prepared.exported.forms]
    contestants: list[Contestant] = [TorchEager(network), NumPyForward(network)]
    contestants += [LoadedModel(path, ENGINE_OF_SUFFIX[path.suffix]) for path in paths]
    fp32_onnx = next(path for path in paths if path.name == "model.onnx")
    contestants.append(QuantizeStatic(fp32_onnx, prepared.trained))
    with ExitStack() as stack:
        for path in (p for p in paths if p.suffix == ".tflite"):
            try:
                worker = TfliteRuntime(path, may_install=may_install)
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
