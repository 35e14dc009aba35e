"""Binding the calling thread to a core, and running it in real time; undone whatever happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .._errors import UsageError

FIFO_PRIORITY = 40
"""Before every ordinary thread, behind a real-time kernel's interrupt threads (50)."""


@contextmanager
def placed(core: int | None, *, realtime: bool) -> Iterator[None]:
    """Bind the calling thread to ``core`` and run it under SCHED_FIFO, as far as asked for.

    Raises:
        UsageError: this system has no such option, this computer no such core, or this user no such
            right.
    """
    with ExitStack() as stack:
        if core is not None:
            stack.enter_context(_pinned(core))
        if realtime:
            stack.enter_context(_in_real_time())
        yield


@contextmanager
def _pinned(core: int) -> Iterator[None]:
    _require_linux("--core", "cannot bind a thread to a core")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--core {core}: this process may run on the cores "
            f"{', '.join(map(str, sorted(before)))}; choose one of these, or change its cpuset"
        ) from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _in_real_time() -> Iterator[None]:
    _require_linux("--realtime", "has no SCHED_FIFO")
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except PermissionError as error:
        raise UsageError(_explain_refusal()) from error
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


def _explain_refusal() -> str:
    return (
        f"--realtime: the system refuses SCHED_FIFO at priority {FIFO_PRIORITY} to this user. Let "
        f"root allow it, by 'USER - rtprio {FIFO_PRIORITY}' in /etc/security/limits.conf and a new "
        "login, or by --cap-add SYS_NICE where this runs in a container; or leave --realtime out"
    )


def _require_linux(option: str, lack: str) -> None:
    if sys.platform != "linux":
        raise UsageError(f"{option} works on Linux only: this is {sys.platform}, which {lack} here")
