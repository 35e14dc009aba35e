"""The area under the ROC curve, with ties and without a library."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def roc_auc(negative: NDArray[Any], positive: NDArray[Any]) -> float:
    """Chance that a positive scores above a negative, ties counting half (Mann–Whitney).

    NaN on either side is left out: report the share scored beside it. NaN if a side is empty.
    """
    negative = np.sort(negative[~np.isnan(negative)])
    positive = positive[~np.isnan(positive)]
    if len(negative) == 0 or len(positive) == 0:
        return float("nan")
    below = np.searchsorted(negative, positive, side="left")
    not_above = np.searchsorted(negative, positive, side="right")
    return float((below + not_above).mean() / 2 / len(negative))
