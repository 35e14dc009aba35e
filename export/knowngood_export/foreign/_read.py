"""A file of any supported format as a `ForeignNetwork`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knowngood._errors import ModelFileError, UsageError
from knowngood._network import Dense

from ._chain import MOST_BYTES, Chain, RefusedError


@dataclass(frozen=True, eq=False)
class ForeignNetwork:
    """A dense autoencoder out of a foreign file.

    Attributes:
        path: of the file.
        data: its bytes.
        format: "onnx", "tflite" or "keras".
        layers: in float32; quantised weights are dequantised, batch normalisation is folded.
        input_shape: of one die in the file, ``(640,)`` or ``(28, 28)``.
        is_quantized: the file computes in integers somewhere, so that its own results differ from
            those of the layers by its rounding.
        files_beside: names and SHA-256 of further files that weights were read from.
    """

    path: Path
    data: bytes
    format: str
    layers: tuple[Dense, ...]
    input_shape: tuple[int, ...]
    is_quantized: bool
    files_beside: tuple[tuple[str, str], ...] = ()

    @property
    def n_tests(self) -> int:
        """Width of input and output."""
        return int(self.layers[0].weight.shape[1])

    @property
    def sha256(self) -> str:
        """Digest of the file; those of files beside it are in ``files_beside``."""
        return hashlib.sha256(self.data).hexdigest()

    def digests(self) -> str:
        """The digests of all files read, in words."""
        beside = (f"; {name} sha256 {digest}" for name, digest in self.files_beside)
        return f"sha256 {self.sha256}{''.join(beside)}"

    def describe(self) -> str:
        """Format, widths and activations in words, for notes and the terminal."""
        widths = [self.n_tests, *(len(layer.bias) for layer in self.layers)]
        kinds = dict.fromkeys(layer.activation.kind for layer in self.layers)
        quantised = ", quantised" if self.is_quantized else ""
        return f"{self.format}{quantised}, {'-'.join(map(str, widths))}, {', '.join(kinds)}"


def read_network(path: str | Path) -> ForeignNetwork:
    """Read a dense autoencoder that was made elsewhere.

    Args:
        path: ``.onnx`` (also with its weights in files of the same folder), ``.tflite`` (float,
            weights in int8 or float16, or int8 throughout), or a Keras model in HDF5, ``.h5``,
            ``.hdf5`` or ``.keras`` as Keras 2 wrote it.

    Raises:
        ModelFileError: the file is missing or damaged, has an operator that is not supported, has
            branches or several inputs or outputs, or is no autoencoder; the message names which.
        MissingExtraError: the package that reads the format is not installed.
        UsageError: the name says another format.
    """
    path = Path(path)
    format_name, read = _reader(path)
    data = _bytes_of(path)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused by name
            chain = read(path, data)
            layers = chain.layers()
    except RefusedError as refusal:
        raise ModelFileError(f"{path} cannot be imported: {refusal}") from refusal
    beside = tuple(sorted(chain.files_beside.items()))
    return ForeignNetwork(
        path, data, format_name, layers, chain.input_shape, chain.is_quantized, beside
    )


_Reader = Callable[[Path, bytes], Chain]


def _reader(path: Path) -> tuple[str, _Reader]:
    """The format by the file's name, and what reads it; packages are imported when needed."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from ._onnx import read_onnx

        return "onnx", read_onnx
    if suffix == ".tflite":
        from ._tflite import read_tflite

        return "tflite", read_tflite
    if suffix in (".h5", ".hdf5", ".keras"):
        from ._keras import read_keras

        return "keras", read_keras
    raise UsageError(
        f"cannot tell what {path} is: expected a name ending in .onnx, .tflite, .h5 or .hdf5"
    )


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelFileError(f"{path} is larger than 2 GiB, which no supported model is")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
