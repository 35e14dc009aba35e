"""What a worker is told and a rival tells: contestants, and the folder with what they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ._job import Bind, Job, Judge, after, around, in_blocks

PRECISIONS = ("int8", "fp32")
LARGEST_BLOCK = 128
SMALLEST_IN_BLOCKS = 200
"""A batch from which on it is worth trying some dies at a time."""


class UnsuitedError(Exception):
    """This contestant has no way of its own to take so many dies."""


@dataclass(frozen=True)
class Contestant:
    """One way to do the whole job.

    Attributes:
        engine: "litert"; precision: "int8"; configuration: how, in words.
        version: of the package that does the arithmetic.
        prepare: the job for some number of dies.
    """

    engine: str
    precision: str
    configuration: str
    version: str
    prepare: Callable[[int], Judge]

    def introduction(self) -> str:
        """A line for whoever asks, as `native/worker.c` prints it."""
        return "\t".join((self.engine, self.precision, self.configuration, self.version, "0", "0"))


@dataclass(frozen=True)
class Folder:
    """A case's files: ``lean.int8.onnx``, ``bare.fp32.tflite``, ``job.npz``, …."""

    path: Path

    @cached_property
    def job(self) -> Job:
        return Job.read(self.path / "job.npz")

    def file(self, name: str) -> Path:
        return self.path / name


def in_every_way(
    folder: Folder,
    engine: str,
    version: str,
    suffix: str,
    open_file: Callable[[Path], Bind],
    in_the_graph: Sequence[str] = PRECISIONS,
) -> list[Contestant]:
    """A graph engine in both precisions, the job inside the graph or around it, whole or in blocks.

    Args:
        folder: with ``lean`` and ``bare`` files of this suffix.
        engine, version: of the contestants.
        suffix: "onnx" or "tflite".
        open_file: makes a graph ready to be bound to numbers of dies.
        in_the_graph: precisions in which the engine gets the job right inside its graph.
    """
    contestants = []
    for precision in PRECISIONS:
        lean, bare = (
            open_file(folder.file(f"{form}.{precision}.{suffix}")) for form in ("lean", "bare")
        )
        ways: dict[str, Callable[[int], Judge]] = {"job in NumPy": _prepare_around(folder, bare)}
        if precision in in_the_graph:
            ways["job in the graph"] = _prepare_after(folder, lean, bare)
        ways |= {f"{how}, in blocks": prepared_in_blocks(make) for how, make in ways.items()}
        contestants += [
            Contestant(engine, precision, how, version, way) for how, way in ways.items()
        ]
    return contestants


def _prepare_after(folder: Folder, lean: Bind, bare: Bind) -> Callable[[int], Judge]:
    return lambda n_dies: after(folder.job, lean, bare, n_dies)


def _prepare_around(folder: Folder, bare: Bind) -> Callable[[int], Judge]:
    return lambda n_dies: around(folder.job, bare, n_dies)


def prepared_in_blocks(make: Callable[[int], Judge]) -> Callable[[int], Judge]:
    """The same job some dies at a time, for batches where that may pay."""

    def prepare(n_dies: int) -> Judge:
        if n_dies < SMALLEST_IN_BLOCKS:
            raise UnsuitedError
        n_block = max(n for n in range(1, LARGEST_BLOCK + 1) if n_dies % n == 0)
        return in_blocks(make, n_dies, n_block)

    return prepare
