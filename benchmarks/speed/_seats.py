"""The driver's end of a worker process: contestants have a seat each, and are asked in turn.

Every worker has one thread and, where the system allows it, the same core: only one of them runs at
a time. Each times its own calls.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)


class WorkerError(Exception):
    """A worker ended, or does not answer as it should; the message has its last words."""


class WorkerProcess:
    """A worker and its lines; see ``native/worker.c`` for what they mean."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, variables: Mapping[str, str]
    ) -> None:
        self._name, self._folder = name, folder
        self._errors = (folder / f"{name}.log".replace(" ", "-")).open("w+")
        with _on_one_core():
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                text=True, env={**os.environ, **ONE_THREAD, **variables},
            )  # fmt: skip

    @property
    def is_running(self) -> bool:
        """False once the worker has ended."""
        return self._process.poll() is None

    def introductions(self) -> list[list[str]]:
        """The fields of each contestant; called once, first."""
        n_contestants = int(self._expect("contestants "))
        return [self._line().split("\t") for _ in range(n_contestants)]

    def ask(self, request: str, begin: str) -> str:
        """Send a request; the rest of an answer that begins as it must."""
        self._send(request)
        return self._expect(begin)

    def is_suited(self, request: str) -> bool:
        """Send a request that a contestant may decline."""
        self._send(request)
        answer = self._line()
        if answer not in ("ok", "unsuited"):
            raise self._failure(answer)
        return answer == "ok"

    def _send(self, request: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failure(request) from error

    def close(self) -> None:
        """End the worker."""
        self._process.communicate()
        self._errors.close()

    def _expect(self, begin: str) -> str:
        line = self._line()
        if not line.startswith(begin):
            raise self._failure(line)
        return line.removeprefix(begin)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failure("")
        return line.rstrip("\n")

    def _failure(self, line: str) -> WorkerError:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        words = [line, *self._errors.read().strip().splitlines()[-1:]]
        return WorkerError(f"the worker of {self._name} failed: {' '.join(words).strip()}")


@dataclass(frozen=True)
class Seat:
    """One contestant, as it introduced itself; see `benchmarks.rivals._protocol.Contestant`.

    Attributes:
        amount, n_instructions: of a limit: what a call does, and with how many instructions.
    """

    worker: WorkerProcess
    number: int
    engine: str
    precision: str
    configuration: str
    version: str
    amount: int
    n_instructions: int

    @property
    def name(self) -> str:
        """Engine, precision and configuration."""
        return f"{f'{self.engine} {self.precision}'.strip()}, {self.configuration}"

    @property
    def is_judge(self) -> bool:
        """Whether it scores dies; limits and empty calls do not."""
        return not self.engine.startswith(("limit", "nothing"))

    def prepare(self, values_file: Path, n_dies: int) -> bool:
        """Be ready for these dies; False if it has no way of its own to take so many."""
        return self.worker.is_suited(f"prepare {self.number} {n_dies} {values_file}")

    def answer(self, file: Path, n_dies: int) -> tuple[Float32, NDArray[np.int8]]:
        """Scores and verdicts of the dies it is prepared for."""
        self.worker.ask(f"answer {self.number} {file}", "ok")
        data = file.read_bytes()
        return np.frombuffer(data, np.float32, n_dies), np.frombuffer(data, np.int8, -1, 4 * n_dies)

    def time(self, n_calls: int, *, is_cold: bool) -> NDArray[np.int64]:
        """Nanoseconds of so many calls, int64 ``(n_calls,)``."""
        temperature = "cold" if is_cold else "hot"
        answer = self.worker.ask(f"time {self.number} {n_calls} {temperature}", "ns ")
        return np.array(answer.split(), np.int64)


def seats_of(worker: WorkerProcess, label: str = "") -> list[Seat]:
    """A seat for each contestant of a worker; ``label`` is added to its engine."""
    seats = []
    for number, (engine, *names, amount, n_instructions) in enumerate(worker.introductions()):
        precision, configuration, version = names
        seats.append(
            Seat(
                worker, number, f"{engine}{label}", precision, configuration, version,
                int(amount), int(n_instructions),
            )
        )  # fmt: skip
    return seats


@contextmanager
def _on_one_core() -> Iterator[None]:
    """What is started here, and its threads, stay on the last core that this process may use."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
