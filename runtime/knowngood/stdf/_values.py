"""The matrix of values while a file is being read: it grows and is never copied whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ABSENT = np.uint32(0x7FC0ABCD)
"""The bits of a cell that no result has reached: a NaN that no tester writes."""
_GROWTH_CELLS = 1 << 22
_BLOCK_ROWS = 1024


class GrowingValues:
    """Rows of float32 values in the order dies were opened.

    The cells live in one flat array that the allocator can grow in place, so that the peak is
    about the finished matrix.
    """

    def __init__(self) -> None:
        self._cells = np.empty(0, dtype=np.uint32)
        self._stride = 64
        self._n_rows = 0

    def put(
        self,
        n_rows: int,
        width: int,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        values: NDArray[np.float32],
    ) -> None:
        """Make room for ``(n_rows, width)``, then set ``values`` ``(n,)`` at (row, column).

        Where a cell comes twice the later value stays.
        """
        self._reserve(n_rows, width)
        self._cells[rows * self._stride + columns] = values.view(np.uint32)

    def n_filled(self) -> int:
        """How many cells a result has reached."""
        used = self._cells[: self._n_rows * self._stride]
        step = _BLOCK_ROWS * self._stride
        return sum(
            int(np.count_nonzero(used[i : i + step] != _ABSENT)) for i in range(0, len(used), step)
        )

    def finish(self, order: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """The finished matrix ``(len(order), len(columns))`` of these rows and columns, in order.

        Rows and columns are distinct, and columns ascend. The cells are moved in place: this object
        is empty afterwards.
        """
        width = len(columns)
        self._reserve(int(order.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1)
        cells, stride = self._cells, self._stride
        self._cells, self._n_rows = np.empty(0, dtype=np.uint32), 0
        matrix = cells[: len(cells) // stride * stride].reshape(-1, stride)
        for start, stop in _movable_blocks(order):
            block = matrix[np.ix_(order[start:stop], columns)].view(np.float32)
            block[np.isnan(block)] = np.nan
            cells[start * width : stop * width] = block.view(np.uint32).ravel()
        del matrix
        cells.resize(len(order) * width, refcheck=False)
        return cells.view(np.float32).reshape(len(order), width)

    def _reserve(self, n_rows: int, width: int) -> None:
        if width > self._stride:
            self._widen(width + width // 4)
        needed = n_rows * self._stride
        if needed > len(self._cells):
            grown = needed + max(_GROWTH_CELLS, needed // 8)
            self._cells.resize(grown, refcheck=False)
        if n_rows > self._n_rows:
            self._cells[self._n_rows * self._stride : needed] = _ABSENT
            self._n_rows = n_rows

    def _widen(self, stride: int) -> None:
        """Give every row ``stride`` cells, from the last row to the first, in place."""
        old = self._stride
        self._cells.resize(max(self._n_rows * stride, len(self._cells)), refcheck=False)
        for row in range(self._n_rows - 1, -1, -1):
            moved = self._cells[row * old : (row + 1) * old].copy()
            self._cells[row * stride : row * stride + old] = moved
            self._cells[row * stride + old : (row + 1) * stride] = _ABSENT
        self._stride = stride


def _movable_blocks(order: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Stretches of about ``_BLOCK_ROWS`` rows, each movable before the next without overwriting it.

    A stretch may end at ``b`` if every later row of the result lies at ``b`` or beyond.
    """
    n = len(order)
    if n == 0:
        return []
    lowest_later = np.minimum.accumulate(order[::-1])[::-1]
    ends = np.flatnonzero(lowest_later[1:] >= np.arange(1, n)) + 1
    blocks, start = [], 0
    for end in [*ends.tolist(), n]:
        if end - start >= _BLOCK_ROWS or end == n:
            blocks.append((start, end))
            start = end
    return blocks
