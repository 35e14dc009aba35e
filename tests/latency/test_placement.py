"""A core and real-time priority: given, refused in words, and always given back."""

from __future__ import annotations

import os
import sys

import pytest

from knowngood._errors import UsageError
from knowngood.latency._placement import FIFO_PRIORITY, placed

if sys.platform != "linux":
    pytest.skip("affinity and SCHED_FIFO are Linux's", allow_module_level=True)


def where() -> tuple[set[int], int, int]:
    """Affinity, policy and priority of this thread."""
    return os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def may_run_in_real_time() -> bool:
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except PermissionError:
        return False
    os.sched_setscheduler(0, *before)
    return True


def test_nothing_asked_for_changes_nothing() -> None:
    before = where()
    with placed(None, realtime=False):
        assert where() == before
    assert where() == before


def test_a_core_is_given_and_given_back() -> None:
    before = where()
    core = max(before[0])
    with placed(core, realtime=False):
        assert where() == ({core}, *before[1:])
    assert where() == before


@pytest.mark.skipif(not may_run_in_real_time(), reason="this user may not use SCHED_FIFO")
def test_real_time_is_given_and_given_back_after_an_error() -> None:
    before = where()
    core = min(before[0])
    seen = []

    def fail() -> None:
        seen.append(where())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), placed(core, realtime=True):
        fail()
    assert seen == [({core}, os.SCHED_FIFO, FIFO_PRIORITY)]
    assert where() == before


@pytest.mark.parametrize("core", [4095, 10**6, 2**40])
def test_a_core_that_is_not_there_is_refused(core: int) -> None:
    before = where()
    refusal = pytest.raises(UsageError, match=rf"--core {core}: .* cores \d")
    with refusal as error, placed(core, realtime=False):
        pytest.fail("there is no such core")
    assert all(str(cpu) in str(error.value) for cpu in before[0])
    assert where() == before


def test_a_refused_priority_says_what_to_do_and_gives_the_core_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = where()
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    refusal = pytest.raises(UsageError, match=r"--realtime: .*SCHED_FIFO.*limits\.conf.*SYS_NICE")
    with refusal, placed(min(before[0]), realtime=True):
        pytest.fail("it was refused")
    assert where() == before


@pytest.mark.parametrize(
    ("core", "realtime", "option"), [(0, False, "--core"), (None, True, "--realtime")]
)
@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_other_systems_refuse_by_name(
    monkeypatch: pytest.MonkeyPatch, core: int | None, realtime: bool, option: str, system: str
) -> None:
    before = where()
    monkeypatch.setattr(sys, "platform", system)
    refusal = pytest.raises(UsageError, match=rf"{option} works on Linux only: this is {system}")
    with refusal, placed(core, realtime=realtime):
        pytest.fail("it was refused")
    assert where() == before
