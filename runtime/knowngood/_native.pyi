"""The C engine; see runtime/engine/python/_native.c and ``engines/_native.py``, which uses it."""

from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ._errors import KnowngoodError

Floats: TypeAlias = NDArray[np.float32]
Codes: TypeAlias = NDArray[np.int8]
Rows: TypeAlias = NDArray[np.int32]

version: str

class Error(KnowngoodError):
    """``args`` are the status of knowngood.h and a sentence."""

@final
class Model:
    """A file in one precision at one operating point; immutable.

    Arrays are taken where they lie or not at all: NumPy's own, C-contiguous, aligned, of their
    native dtype and shape, results writable and apart from one another and from ``values``. For
    others the methods write nothing and return None.
    """

    def judge(
        self,
        values: Floats,
        group: Rows | None,
        scores: Floats,
        verdicts: Codes,
        reasons: Codes,
        /,
    ) -> int | None: ...
    def judge_and_keep(
        self,
        values: Floats,
        group: Rows | None,
        scores: Floats,
        verdicts: Codes,
        reasons: Codes,
        /,
    ) -> bytes | None:
        """As ``judge``; the bytes of ``values``."""

    def reconstruct(
        self,
        values: Floats,
        group: Rows | None,
        reconstruction: Floats | None,
        latent: Floats | None,
        /,
    ) -> int | None: ...
    def contributions(
        self,
        values: Floats,
        group: Rows,
        columns: Rows,
        z: Floats,
        expected: NDArray[np.float64],
        /,
    ) -> int | None:
        """How many of ``columns``, ``z`` and ``expected`` were filled, of one die."""

    def at(self, precision: int, fpr: float, n_short: int, /) -> Model:
        """At another operating point of the file; 0.0 for its default.

        Up to ``n_short`` dies are scored with the GIL kept.
        """

def open_model(data: bytes, path: str | None, skip_golden: bool, /) -> tuple[Model, str]:
    """The model and its path; ``at`` says the precision and the operating point."""

def path(index: int, /) -> tuple[str | None, bool]:
    """A path's name, None beyond the last, and whether this processor has it."""

def learn(probe: NDArray[Any], address: int, dtypes: tuple[Any, Any, Any, Any], /) -> bool:
    """Say what NumPy's arrays are; whether they can be read without their buffer protocol."""
