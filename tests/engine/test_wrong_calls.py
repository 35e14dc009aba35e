"""A wrong call is a status: nothing is computed, and what an earlier call left passes no die."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

from engine import path_names, try_to_open
from knowngood._kgd import encode
from sealed_models import tiny_sealed

USE, POINT, UNSUPPORTED, PRECISION = 1, 8, 9, 10
PASS, UNSCORED = 1, 0
N_DIES = 3
MODEL = tiny_sealed()


class Call:
    """The arguments of a right ``kg_score``, to be spoilt, and buffers that were used before."""

    def __init__(self, lib: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        n_tests = lib.kg_n_tests(handle)
        self.lib = lib
        self.values = np.ones((N_DIES, n_tests), np.float32)
        self.scratch = np.empty(lib.kg_scratch_size(handle), np.uint8)
        self.scores = np.full(N_DIES, 0.5, np.float32)
        self.verdicts, self.reasons = np.full((2, N_DIES), PASS, np.int8)
        self.arguments = {
            "model": handle, "precision": -1, "point": 0, "scratch": self.scratch.ctypes.data,
            "values": self.values.ctypes.data, "group": None, "n_dies": N_DIES,
            "scores": self.scores.ctypes.data, "verdicts": self.verdicts.ctypes.data,
            "reasons": self.reasons.ctypes.data,
        }  # fmt: skip

    def score(self, **spoilt: object) -> int:
        return int(self.lib.kg_score(*(self.arguments | spoilt).values()))


@pytest.fixture
def handle(lib: ctypes.CDLL) -> Iterator[ctypes.c_void_p]:
    status, message, handle = try_to_open(lib, encode(MODEL), path_names(lib)[0], skip_golden=True)
    assert status == 0, message
    yield handle
    lib.kg_close(handle)


@pytest.mark.parametrize(
    ("spoilt", "status"),
    [
        ({"model": None}, USE),
        ({"precision": 7}, PRECISION),
        ({"point": -1}, POINT),
        ({"point": 99}, POINT),
        ({"scratch": None}, USE),
        ({"values": None}, USE),
        ({"scores": None}, USE),
        ({"reasons": None}, USE),
    ],
)
def test_no_die_passes_by_an_earlier_verdict(
    lib: ctypes.CDLL, handle: ctypes.c_void_p, spoilt: dict[str, object], status: int
):
    call = Call(lib, handle)
    assert call.score(**spoilt) == status
    assert call.verdicts.tolist() == [UNSCORED] * N_DIES
    assert call.scores.tolist() == [0.5] * N_DIES


def test_a_negative_number_of_dies_touches_nothing(lib: ctypes.CDLL, handle: ctypes.c_void_p):
    call = Call(lib, handle)
    assert call.score(n_dies=-1) == USE
    assert call.verdicts.tolist() == [PASS] * N_DIES


def test_the_right_call_is_right(lib: ctypes.CDLL, handle: ctypes.c_void_p):
    call = Call(lib, handle)
    assert call.score() == 0
    assert call.scores[0] != 0.5


@pytest.mark.parametrize(("k", "precision", "status"), [(-1, -1, USE), (3, 7, PRECISION)])
def test_no_contributions_are_left_from_before(
    lib: ctypes.CDLL, handle: ctypes.c_void_p, k: int, precision: int, status: int
):
    call, n_found = Call(lib, handle), ctypes.c_int32(5)
    columns, z, expected = np.empty(3, np.int32), np.empty(3, np.float32), np.empty(3)
    found = lib.kg_contributions(
        handle, precision, 0, call.scratch.ctypes.data, call.values.ctypes.data, 0, k,
        columns.ctypes.data, z.ctypes.data, expected.ctypes.data, ctypes.byref(n_found),
    )  # fmt: skip
    assert (found, n_found.value) == (status, 0)


@pytest.mark.parametrize("point", range(len(MODEL.points["fp32"])))
def test_a_yield_loss_may_come_as_a_float_or_rounded(
    lib: ctypes.CDLL, handle: ctypes.c_void_p, point: int
):
    fpr, found = MODEL.points["fp32"][point].fpr, ctypes.c_int32(-1)
    for given in (fpr, float(np.float32(fpr)), fpr * (1 + 9e-7)):
        assert lib.kg_find_point(handle, 0, given, 1, ctypes.byref(found)) == 0
        assert found.value == point
    found.value = -1
    assert lib.kg_find_point(handle, 0, fpr * (1 + 1e-5), 1, ctypes.byref(found)) == POINT
    assert found.value == -1


def test_a_point_that_too_few_dies_support_is_asked_for_twice(
    lib: ctypes.CDLL, handle: ctypes.c_void_p
):
    found = ctypes.c_int32(-1)
    for index, point in enumerate(MODEL.points["fp32"]):
        status = lib.kg_find_point(handle, 0, point.fpr, 0, ctypes.byref(found))
        assert status == (0 if point.supported else UNSUPPORTED), index
