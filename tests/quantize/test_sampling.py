"""Rows spread over all dies."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from knowngood_quantize.sampling import evenly_spaced


@given(n_dies=st.integers(0, 100_000), most=st.integers(2, 9000))
def test_rows_are_as_many_as_asked_for_as_far_apart_and_reach_both_ends(n_dies, most):
    rows = evenly_spaced(n_dies, most)
    assert len(rows) == min(n_dies, most)
    if n_dies > 1:
        assert (rows[0], rows[-1]) == (0, n_dies - 1)
        apart = np.diff(rows)
        assert apart.min() >= 1
        assert apart.max() - apart.min() <= 1


def test_all_rows_where_there_are_few():
    assert evenly_spaced(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(9, 1).tolist() == [0]
