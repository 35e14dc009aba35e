"""Some of many dies, where all would take too long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(n_dies: int, most: int) -> NDArray[np.intp]:
    """At most ``most`` of the rows 0 … ``n_dies`` − 1, ascending; of two and more, both ends.

    Dies lie in the order of their test, so each stretch of a lot is represented.
    """
    return np.linspace(0, n_dies - 1, min(n_dies, most)).astype(np.intp)
