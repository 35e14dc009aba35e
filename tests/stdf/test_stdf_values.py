"""The growing matrix against plain NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from knowngood.stdf._values import GrowingValues


@settings(deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_grows_and_arranges_like_a_plain_matrix(data: st.DataObject, seed: int) -> None:
    """Rows and columns come in steps, cells come twice, rows are dropped and reordered."""
    rng = np.random.default_rng(seed)
    steps = data.draw(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 90)), max_size=5))
    n_rows, width = 0, 0
    growing, plain = GrowingValues(), np.full((200, 450), np.nan, dtype=np.float32)
    for more_rows, more_columns in steps:
        n_rows, width = n_rows + more_rows, width + more_columns
        rows, columns = rng.integers(0, n_rows, 60), rng.integers(0, width, 60)
        values = rng.normal(size=60).astype(np.float32)
        growing.put(n_rows, width, rows, columns, values)
        for row, column, value in zip(rows, columns, values, strict=True):
            plain[row, column] = value
    assert growing.n_filled() == np.count_nonzero(~np.isnan(plain))
    order = rng.permutation(n_rows)[: rng.integers(0, n_rows + 1)]
    kept = np.sort(rng.permutation(width)[: rng.integers(0, width + 1)])
    finished = growing.finish(order, kept)
    assert np.array_equal(finished, plain[np.ix_(order, kept)], equal_nan=True)


def test_many_rows_in_nearly_the_order_of_their_end() -> None:
    """Touchdowns of eight whose dies end in another order: moved block by block."""
    n_rows = 8 * 700
    order = np.concatenate([start + np.arange(8)[::-1] for start in range(0, n_rows, 8)])
    order = np.delete(order, [3, 2000, 2001, 5000])
    growing = GrowingValues()
    rows = np.arange(n_rows)
    for column in range(3):
        values = (rows * 10 + column).astype(np.float32)
        growing.put(n_rows, 3, rows, np.full(n_rows, column), values)
    expected = (order[:, None] * 10 + np.arange(3)).astype(np.float32)
    assert np.array_equal(growing.finish(order, np.arange(3)), expected)


def test_missing_values_are_the_plain_nan() -> None:
    growing = GrowingValues()
    odd_nan = np.array([0x7FC12345], dtype=np.uint32).view(np.float32)
    growing.put(1, 2, np.array([0]), np.array([1]), odd_nan)
    assert growing.n_filled() == 1
    finished = growing.finish(np.array([0]), np.arange(2))
    assert finished.view(np.uint32).tolist() == [[0x7FC00000, 0x7FC00000]]
