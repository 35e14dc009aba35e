"""Why a die is unscored, told from its values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._network import MAX_STANDARDISED, Screen
from ._verdicts import Reason

_GRAPH_RANGE_LIMIT = MAX_STANDARDISED * (1 - 2.0**-20)
"""Slightly below a graph's limit, since a graph subtracts in float32 and this is in double."""


def why_unscored(
    screen: Screen, values: NDArray[np.float32], rows: NDArray[np.int32], *, is_exact: bool = False
) -> NDArray[np.int8]:
    """The reason of each die whose score is not finite; the first that applies, in this order.

    ``is_exact``: the scores are those of docs/arithmetic.md, not of an ONNX or TFLite graph.
    """
    limit = MAX_STANDARDISED if is_exact else _GRAPH_RANGE_LIMIT
    n_present = np.count_nonzero(~np.isnan(values), axis=1)
    u = screen.scaler.standardise(values, rows)
    with np.errstate(invalid="ignore"):
        out_of_range = (np.abs(u) > limit).any(axis=1)
    conditions = [
        n_present == 0,
        n_present < screen.head.min_present,
        np.isinf(values).any(axis=1),
        out_of_range,
    ]
    reasons = [Reason.NO_DATA, Reason.TOO_MANY_MISSING, Reason.NOT_FINITE, Reason.RANGE]
    return np.select(conditions, reasons, default=Reason.NOT_FINITE).astype(np.int8)
