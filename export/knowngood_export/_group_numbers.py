"""Sites as callers give them, as the numbers that a scaler knows its groups by."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowngood._errors import UsageError
from knowngood._network import POOLED_GROUP

_INT32 = np.iinfo(np.int32)


def group_numbers(name: str, given: ArrayLike | None, n_dies: int) -> NDArray[np.int32]:
    """int32 ``(n_dies,)``; dies of which no site is known belong to the pooled group.

    Args:
        name: of the argument, for messages.
        given: integers ``(n_dies,)``, or None.
        n_dies: how many are expected.

    Raises:
        UsageError: not one integer per die, or one that int32 cannot hold.
    """
    if given is None:
        return np.full(n_dies, POOLED_GROUP, dtype=np.int32)
    numbers = np.asarray(given)
    if numbers.shape != (n_dies,) or numbers.dtype.kind not in "iu":
        raise UsageError(
            f"{name} must be integers ({n_dies},), one per die, "
            f"found {numbers.dtype} {numbers.shape}"
        )
    if n_dies and not _INT32.min <= int(numbers.min()) <= int(numbers.max()) <= _INT32.max:
        raise UsageError(
            f"{name} must fit int32, found {numbers.min()} to {numbers.max()}: number them anew"
        )
    return numbers.astype(np.int32)
