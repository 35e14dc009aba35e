"""Dies to certify on, and digests that say which they were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._record import DieSet

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class DieValues:
    """Dies as a scorer takes them.

    Attributes:
        values: float32 ``(n_dies, n_tests)``, raw units, NaN where a test is missing.
        group: int32 ``(n_dies,)``; None for models without groups.
    """

    values: Float32
    group: Int32 | None = None

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: NDArray[Any]) -> DieValues:
        """Some of the dies."""
        return DieValues(self.values[rows], None if self.group is None else self.group[rows])


@dataclass(frozen=True, eq=False)
class CertificationDies:
    """Dies to certify on: none that weights were rounded on or bands fitted to.

    Attributes:
        defective: by class of defect; may be empty.
        note: in words, where they come from and what they were used for before.
    """

    good: DieValues
    defective: Mapping[str, DieValues] = field(default_factory=dict)
    note: str = ""

    def sets(self) -> tuple[DieSet, ...]:
        """Each set with its digest."""
        good = DieSet("good", "good", len(self.good), digest_of(self.good))
        defective = (
            DieSet(name, "defective", len(dies), digest_of(dies))
            for name, dies in self.defective.items()
        )
        return (good, *defective)


def digest_of(dies: DieValues) -> str:
    """SHA-256 over dies, 64 hexadecimal digits.

    Over the text ``"float32 N TESTS\\n"``, the values row by row as little-endian float32 with
    every NaN as 0x7FC00000, and the groups as little-endian int32 where there are any.
    """
    values = dies.values
    digest = hashlib.sha256(f"float32 {values.shape[0]} {values.shape[1]}\n".encode())
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        canonical = np.where(np.isnan(block), np.float32(np.nan), block).astype("<f4")
        digest.update(canonical.tobytes())
    if dies.group is not None:
        digest.update(dies.group.astype("<i4").tobytes())
    return digest.hexdigest()
