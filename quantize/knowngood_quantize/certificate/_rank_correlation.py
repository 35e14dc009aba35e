"""Spearman's rank correlation, with ties."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Pearson correlation of the ranks, ties sharing their mean rank; inputs finite ``(n,)``.

    None for fewer than two dies, or where all scores are the same.
    """
    if len(a) < 2:
        return None
    x, y = (_ranks(scores) - (len(a) + 1) / 2 for scores in (a, b))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0 else None


def _ranks(scores: NDArray[Any]) -> NDArray[np.float64]:
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: NDArray[np.float64] = last - (counts - 1) / 2
    return mean_rank[place]
