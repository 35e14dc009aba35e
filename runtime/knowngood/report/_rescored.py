"""Lots scored again with their model: the values and contributions that a verdict table lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._network import Screen
from .._schema import Test, TestKey


class Contribution(Protocol):
    """What a test added to a die's score; the runtime's contributions are of this kind."""

    @property
    def test(self) -> Test: ...
    @property
    def value(self) -> float: ...
    @property
    def expected(self) -> float: ...
    @property
    def z(self) -> float: ...
    @property
    def share(self) -> float: ...


@dataclass(frozen=True)
class Rescored:
    """The lots of a verdict table with the model that judged them, rows as in the table.

    Attributes:
        values: float32 ``(n_rows, n_tests)``, aligned to the model's schema.
        scaler_rows: int32 ``(n_rows,)``, the row of the scaler that applies.
        dispositions: str (object dtype) ``(n_rows,)``, as found on this machine.
        top_tests: contributions of a row, largest first.
    """

    screen: Screen
    values: NDArray[np.float32]
    scaler_rows: NDArray[np.int32]
    dispositions: NDArray[np.object_]
    top_tests: Callable[[int], Sequence[Contribution]]

    @cached_property
    def column_of(self) -> dict[TestKey, int]:
        """The column of each test by its key."""
        return {test.key: column for column, test in enumerate(self.screen.schema.tests)}

    def sigma(self, test: Test, row: int) -> float:
        """Robust sigma of a test in its units, for the group of a row."""
        inverse = self.screen.scaler.inv_scale[self.scaler_rows[row], self.column_of[test.key]]
        return 1.0 / float(inverse)

    def standardised(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Robust z of every test, float32 ``(len(rows), n_tests)``, NaN where missing."""
        return self.screen.scaler.standardise(self.values[rows], self.scaler_rows[rows])
