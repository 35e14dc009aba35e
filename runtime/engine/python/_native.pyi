"""The C engine; see runtime/engine/python/_native.c and ``engines/_native.py``, which uses it."""

from typing import Any, TypeAlias, final

from numpy.typing import NDArray

Buffer: TypeAlias = NDArray[Any] | memoryview | bytearray

version: str

class Error(Exception):
    """``args`` are the status of knowngood.h and a sentence."""

@final
class Model:
    """An open model; immutable. ``point`` is the index of an operating point."""

    def score_into(
        self,
        precision: int,
        point: int,
        values: Buffer,
        group: Buffer | None,
        scores: Buffer,
        verdicts: Buffer,
        reasons: Buffer,
        /,
    ) -> int: ...
    def reconstruct(
        self,
        precision: int,
        point: int,
        values: Buffer,
        group: Buffer | None,
        reconstruction: Buffer | None,
        latent: Buffer | None,
        /,
    ) -> int: ...
    def contributions(
        self,
        precision: int,
        point: int,
        values: Buffer,
        group: Buffer,
        columns: Buffer,
        z: Buffer,
        expected: Buffer,
        /,
    ) -> int:
        """How many of ``columns``, ``z`` and ``expected`` were filled."""

def open_model(
    data: bytes, path: str | None = None, skip_golden: bool = False, /
) -> tuple[Model, str]: ...
def path(index: int, /) -> tuple[str | None, bool]: ...
def learn(probe: NDArray[Any], address: int, dtypes: tuple[Any, Any, Any, Any], /) -> bool: ...
