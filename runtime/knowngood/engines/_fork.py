"""Forked processes: an engine opened anew in each, and children that can exit.

A child has only the thread that forked it. A lock that another thread held stays held in the child
for ever, so no session, interpreter or lock of the parent is used there.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ._protocol import GraphEngine


class _Forks:
    """How many forks lie between the first process and this one."""

    count = 0

    @classmethod
    def add(cls) -> None:
        cls.count += 1


class PerProcessEngine:
    """An engine of which every process has its own, opened at the first call in it.

    Args:
        open_engine: opens it.
    """

    def __init__(self, open_engine: Callable[[], GraphEngine]) -> None:
        engine = open_engine()
        self.name = engine.name
        self.version = engine.version
        self._open = open_engine
        self._current = (_Forks.count, engine)

    def score(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self._engine().score(values, rows)

    def reconstruct(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self._engine().reconstruct(values, rows)

    def latent(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self._engine().latent(values, rows)

    def at(self, fpr: float) -> PerProcessEngine:
        return self  # a graph scores in one precision, whatever the threshold

    def _engine(self) -> GraphEngine:
        count, engine = self._current
        if count != _Forks.count:  # two threads may both open one; each uses a whole engine
            engine = self._open()
            self._current = (_Forks.count, engine)
        return engine


@cache
def let_forked_children_exit() -> None:
    """Make children of this process leave without the exit code of C++ libraries.

    onnxruntime 1.32 starts a thread when it is imported, and its exit code joins that thread: in a
    child, which does not have it, for ever. Python's own exit (``atexit``, flushed files) runs
    before. ``multiprocessing`` ends its children like this anyhow.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "on_exit"):
        os.register_at_fork(after_in_child=_skip_exit_handlers)


def _skip_exit_handlers() -> None:
    """The C library calls these first, the last one registered before the others."""
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)
    libc.__cxa_atexit(libc.fflush, None, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Forks.add)
