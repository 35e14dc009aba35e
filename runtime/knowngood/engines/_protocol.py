"""What every engine offers, and the graph's side of the contract."""

from __future__ import annotations

from typing import Protocol

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
