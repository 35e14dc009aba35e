"""knowngood itself: the sealed file on the engine in C, and the exported files on other engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import knowngood

from ._job import Answer, Float32, Judge
from ._protocol import Contestant, Folder

ENGINE_OF_SUFFIX = {".onnx": "onnxruntime", ".tflite": "litert"}


def contestants(folder: Folder) -> list[Contestant]:
    return _native(folder, "knowngood", None)


def contestants_on_avx2(folder: Folder) -> list[Contestant]:
    return _native(folder, "knowngood (AVX2)", "avx2")


def _native(folder: Folder, engine: str, cpu_path: str | None) -> list[Contestant]:
    found = []
    for precision in ("int8", "fp32", "verified"):
        scorer = knowngood.load(
            folder.file("model.kgd"), engine="native", precision=precision,
            cpu_path=cpu_path, extrapolate=True,
        )  # fmt: skip
        ways: dict[str, Callable[[int], Judge]] = {
            "score_into": _into_buffers(scorer),
            "score": _into_a_result(scorer),
        }
        version = f"{scorer.engine_version} {scorer.cpu_path}"
        found += [Contestant(engine, precision, how, version, way) for how, way in ways.items()]
    return [*found, *_nothing()] if cpu_path is None else found


def _nothing() -> list[Contestant]:
    """A call that does nothing: what the clock and the loop around a call cost."""

    def prepare(n_dies: int) -> Judge:
        answer = np.full(n_dies, np.nan, np.float32), np.zeros(n_dies, np.int8)
        return lambda values: answer

    return [Contestant("nothing", "", "from Python", "", prepare)]


def contestants_exported(folder: Folder) -> list[Contestant]:
    """The files that export writes for other engines, through ``knowngood.load``."""
    found = []
    for path in sorted(folder.path.glob("model*")):
        engine = ENGINE_OF_SUFFIX.get(path.suffix)
        if engine is None:
            continue
        scorer = knowngood.load(path, engine=engine, extrapolate=True)
        how, version = f"{path.name} through knowngood", scorer.engine_version
        way = _into_buffers(scorer)
        found.append(Contestant(engine, scorer.precision, how, version, way))
    return found


def _into_buffers(scorer: Any) -> Callable[[int], Judge]:
    def prepare(n_dies: int) -> Judge:
        scores = np.empty(n_dies, np.float32)
        verdicts, reasons = np.empty((2, n_dies), np.int8)
        answer, score_into = (scores, verdicts), scorer.score_into

        def judge(values: Float32) -> Answer:
            score_into(values, scores, verdicts, reasons)
            return answer

        return judge

    return prepare


def _into_a_result(scorer: Any) -> Callable[[int], Judge]:
    def prepare(_: int) -> Judge:
        score = scorer.score

        def judge(values: Float32) -> Answer:
            result = score(values)
            return result.scores, result.verdicts

        return judge

    return prepare
