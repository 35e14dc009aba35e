"""What every engine offers, and the graph's side of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import ModelFileError
from knowngood._manifest import Manifest


class GraphEngine(Protocol):
    """Runs one model; every method may be called from any thread.

    ``values`` is float32 ``(n_dies, n_tests)``, C-contiguous and native, in raw units with NaN
    where a test is missing. ``rows`` is int32 ``(n_dies,)``, each die's row of the scaler, and None
    for a model whose scaler has a single row.

    Attributes:
        name: as ``load(engine=…)`` knows it.
        version: of the package that runs the graph.
    """

    name: str
    version: str

    def score(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        """Scores, float32 ``(n_dies,)``; NaN for a die that cannot be scored."""
        ...

    def reconstruct(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        """The standardised reconstruction y, float32 ``(n_dies, n_tests)``."""
        ...

    def latent(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        """The latent code, float32 ``(n_dies, n_latent)``, of a model that has a latent layer.

        Raises:
            UsageError: there is none, or the file gives none.
        """
        ...


class Engine(GraphEngine, Protocol):
    """A model at an operating point, on which its scores may depend."""

    def at(self, fpr: float) -> Engine:
        """The engine for another operating point; itself where no score depends on it."""
        ...


@runtime_checkable
class JudgingEngine(Engine, Protocol):
    """An engine that gives verdicts, reasons and contributions itself, those of docs/arithmetic.md.

    Attributes:
        cpu_path: the kernels that run.
        pinned_path: the same if the caller asked for it, else None.
        judge_arrays: ``(values, group, scores, verdicts, reasons)`` in arrays of the caller; None,
            and nothing written, if it cannot take one of them as it is.
        judge_and_keep: the same, and a copy of ``values`` as bytes.
    """

    cpu_path: str
    pinned_path: str | None
    judge_arrays: Callable[[Any, Any, Any, Any, Any], int | None]
    judge_and_keep: Callable[[Any, Any, Any, Any, Any], bytes | None]

    def judge(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.int8]]:
        """Scores, verdicts and reasons, each ``(n_dies,)``."""
        ...

    def contributions(
        self, values: NDArray[np.float32], row: int, k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]:
        """Column, weighted residual and expected value of the ``k`` tests with the largest |z|.

        ``values`` is one die, ``(1, n_tests)``, ``row`` its row of the scaler. Fewer than ``k`` are
        present, or none is if the die is not evaluable.
        """
        ...


def input_contract(manifest: Manifest) -> dict[str, tuple[str, int | None]]:
    """Dtype and width (None for a vector) of each input that the graph must have, by name."""
    inputs: dict[str, tuple[str, int | None]] = {
        "values": ("float32", manifest.screen.schema.n_tests)
    }
    if len(manifest.screen.scaler.groups) > 1:
        inputs["group_row"] = ("int32", None)
    return inputs


def output_contract(manifest: Manifest) -> dict[str, tuple[str, int | None]]:
    """The same for the outputs."""
    outputs: dict[str, tuple[str, int | None]] = {
        "score": ("float32", None),
        "reconstruction": ("float32", manifest.screen.schema.n_tests),
    }
    if manifest.latent_layer is not None:
        outputs["latent"] = ("float32", manifest.widths[manifest.latent_layer + 1])
    return outputs


def check_contract(
    found: dict[str, tuple[str, int | None]],
    expected: dict[str, tuple[str, int | None]],
    what: str,
    path: object,
) -> None:
    """Compare a graph's inputs or outputs with the contract.

    Raises:
        ModelFileError: naming the first that differs.
    """
    if found != expected:
        raise ModelFileError(
            f"{path}: the graph's {what} are {_describe(found)}, its manifest promises "
            f"{_describe(expected)}. Export the model again."
        )


def _describe(tensors: dict[str, tuple[str, int | None]]) -> str:
    return ", ".join(
        f"{name} {dtype} (n{f', {width}' if width is not None else ','})"
        for name, (dtype, width) in tensors.items()
    )
