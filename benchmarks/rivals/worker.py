"""Runs a rival in the Python that has its packages, and times it on request.

usage: python -m benchmarks.rivals.worker RIVAL FOLDER LIBCHILL

Requests and answers are lines of text; `native/worker.c` says which, and speaks the same.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TextIO

import numpy as np

from ._job import Float32, Judge
from ._protocol import Contestant, Folder, UnsuitedError

RIVALS = {
    "knowngood": ("_knowngood", "contestants"),
    "knowngood-avx2": ("_knowngood", "contestants_on_avx2"),
    "exported": ("_knowngood", "contestants_exported"),
    "onnxruntime": ("_onnxruntime", "contestants"),
    "litert": ("_litert", "contestants"),
    "tflite-runtime": ("_litert", "contestants_of_tflite"),
    "openvino": ("_openvino", "contestants"),
    "tract": ("_tract", "contestants"),
    "numpy": ("_arrays", "contestants_of_numpy"),
    "torch": ("_arrays", "contestants_of_torch"),
}
WARM_UP = 3
SHARE_OF_WARM_UP = 10


class Worker:
    """Contestants of one rival, each ready for the dies it was last given."""

    def __init__(self, contestants: list[Contestant], chill: Callable[[], object]) -> None:
        self._contestants = contestants
        self._chill = chill
        self._prepared: dict[int, tuple[Judge, Float32]] = {}

    def answer(self, request: str) -> str:
        """What to say to a request."""
        verb, number, *rest = request.split(" ", 3)
        place = int(number)
        if verb == "prepare":
            return self._prepare(place, int(rest[0]), rest[1])
        if verb == "answer":
            return self._write_answer(place, " ".join(rest))
        return self._time(place, int(rest[0]), is_cold=rest[1] == "cold")

    def _prepare(self, place: int, n_dies: int, path: str) -> str:
        self._prepared.pop(place, None)
        values = np.fromfile(path, np.float32).reshape(n_dies, -1)
        try:
            self._prepared[place] = self._contestants[place].prepare(n_dies), values
        except UnsuitedError:
            return "unsuited"
        gc.collect()
        return "ok"

    def _write_answer(self, place: int, path: str) -> str:
        judge, values = self._prepared[place]
        scores, verdicts = judge(values)
        with Path(path).open("wb") as file:
            file.write(scores.tobytes() + verdicts.tobytes())
        return "ok"

    def _time(self, place: int, n_calls: int, *, is_cold: bool) -> str:
        judge, values = self._prepared[place]
        clock, chill = time.perf_counter_ns, self._chill
        ns = [0] * n_calls
        for _ in range(WARM_UP + n_calls // SHARE_OF_WARM_UP):
            judge(values)
        for i in range(n_calls):
            if is_cold:
                chill()
            start = clock()
            judge(values)
            ns[i] = clock() - start
        return f"ns {' '.join(map(str, ns))}"


def main() -> None:
    """Introduce the contestants, then answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print is no answer
    rival, folder, library = sys.argv[1:]
    module, function = RIVALS[rival]
    make = getattr(import_module(f".{module}", __package__), function)
    contestants: list[Contestant] = make(Folder(Path(folder)))
    lines = [f"contestants {len(contestants)}", *(c.introduction() for c in contestants)]
    print("\n".join(lines), file=answers, flush=True)
    gc.disable()
    np.seterr(all="ignore")  # a die without a score is no reason to warn
    _serve(Worker(contestants, ctypes.CDLL(library).chill), sys.stdin, answers)


def _serve(worker: Worker, requests: TextIO, answers: TextIO) -> None:
    for line in requests:
        print(worker.answer(line.rstrip("\n")), file=answers, flush=True)


if __name__ == "__main__":
    main()
