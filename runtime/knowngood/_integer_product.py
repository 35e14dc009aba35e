"""The one call of a scorer into NumPy's linear algebra, kept apart from forks.

OpenBLAS stops its threads when the process forks. A fork in the middle of a product of its own
leaves them waiting for each other, in the parent or in the child, for ever: so none begins there.
"""

from __future__ import annotations

import os
import threading

import numpy as np
from numpy.typing import NDArray


class _Forks:
    """``barrier`` is held by a product that runs, and by a thread while it forks.

    It is reentrant: a signal's handler may fork between two steps of the thread that holds it.
    """

    barrier = threading.RLock()

    @classmethod
    def begin(cls) -> None:
        cls.barrier.acquire()

    @classmethod
    def end_in_parent(cls) -> None:
        cls.barrier.release()

    @classmethod
    def end_in_child(cls) -> None:
        """The threads that waited for the old one do not exist here."""
        cls.barrier = threading.RLock()


def integer_product(q: NDArray[np.float64], weight: NDArray[np.int8]) -> NDArray[np.int64]:
    """``q @ weight.T``, exact: sums of integers are so in float64 up to 2⁵³, in any order.

    Args:
        q: float64 ``(n_dies, n_in)``, integers.
        weight: int8 ``(n_out, n_in)``.

    Returns:
        int64 ``(n_dies, n_out)``, which knows no −0.
    """
    columns = weight.T.astype(np.float64)
    with _Forks.barrier:
        product: NDArray[np.float64] = q @ columns
    return product.astype(np.int64)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_Forks.begin,
        after_in_parent=_Forks.end_in_parent,
        after_in_child=_Forks.end_in_child,
    )
