"""What a tester does to measured dies: fails, stop on fail, missing results, bins.

Three kinds of fail: one test beyond its limit (parametric), a run of tests of one block beyond
theirs (a dead circuit), and the same from a bad contact, which a retest may cure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._catalogue import FAMILIES
from ._model import Float64, ProcessModel

PARAMETRIC_SHARE = 0.4
CONTACT_SHARE = 0.3
LONGEST_RUN = 20
ABNORMAL_SHARE = 0.05
"""Of the fails, those that PART_FLG says ended abnormally."""
PASS_BIN = 1
FIRST_HARD_FAIL_BIN = 2
FIRST_SOFT_FAIL_BIN = 100


@dataclass(frozen=True, eq=False)
class Tested:
    """Outcome of one pass over some dies.

    Attributes:
        values: float32 ``(n_dies, n_tests)``, NaN where missing.
        passed, is_abnormal: bool ``(n_dies,)``.
        hard_bin, soft_bin: int32 ``(n_dies,)``: by family and by block of the first failing test.
    """

    values: NDArray[np.float32]
    passed: NDArray[np.bool_]
    is_abnormal: NDArray[np.bool_]
    hard_bin: NDArray[np.int32]
    soft_bin: NDArray[np.int32]


def draw_fails(
    position: Float64, fail_rate: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which dies are broken, more of them towards the edge, and which of those by contact alone.

    Args:
        position: float64 ``(n_dies, 2)`` in wafer radii.
        fail_rate: expected share of broken dies.
        rng: the wafer's stream.

    Returns:
        is_broken and is_contact, bool ``(n_dies,)``.
    """
    weight = 1 + 3 * (position**2).sum(axis=1) ** 3
    is_broken = rng.random(len(position)) < fail_rate * weight / weight.mean()
    return is_broken, is_broken & (rng.random(len(position)) < CONTACT_SHARE)


def break_dies(
    process: ProcessModel,
    values: Float64,
    rows: NDArray[np.int64],
    is_contact: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Push tests of the dies ``rows`` of ``values`` (n_dies, n_tests) beyond their limits.

    ``is_contact`` has one entry per row; a bad contact is never parametric.
    """
    low, high = process.limits.T
    for row, contact in zip(rows, is_contact, strict=True):
        block = process.blocks[rng.integers(len(process.blocks))]
        first = int(rng.integers(block.start, block.stop))
        is_run = contact or rng.random() > PARAMETRIC_SHARE
        n = int(rng.integers(2, LONGEST_RUN + 1)) if is_run else 1
        columns = np.arange(first, min(first + n, block.stop))
        excess = rng.uniform(1.05, 2.0)
        upwards = (rng.random() < 0.5) | np.isneginf(low[columns])
        limit = np.where(upwards, high[columns], low[columns])
        values[row, columns] = process.centre[columns] + excess * (limit - process.centre[columns])


def run_test(
    process: ProcessModel,
    values: Float64,
    *,
    missing: float,
    stop_on_fail: bool,
    rng: np.random.Generator,
) -> Tested:
    """Judge ``values`` (n_dies, n_tests) by the limits and log them as a tester does.

    A failing result is never missing, for a tester reports what it failed.
    """
    stored = values.astype(np.float32)
    stored[:, process.is_coded] = np.round(stored[:, process.is_coded])
    limits = process.limits
    failing = (stored < limits[:, 0]) | (stored > limits[:, 1])
    passed = np.logical_not(np.any(failing, axis=1))
    first_fail = failing.argmax(axis=1)
    stored[(rng.random(stored.shape) < missing) & ~failing] = np.nan
    is_abnormal = ~passed & (rng.random(len(stored)) < ABNORMAL_SHARE)
    stops = ~passed & (stop_on_fail | is_abnormal)
    after = np.arange(process.n_tests) > first_fail[:, None]
    stored[stops[:, None] & after] = np.nan
    hard, soft = _bins(process)
    return Tested(
        values=stored,
        passed=passed,
        is_abnormal=is_abnormal,
        hard_bin=np.where(passed, PASS_BIN, hard[first_fail]).astype(np.int32),
        soft_bin=np.where(passed, PASS_BIN, soft[first_fail]).astype(np.int32),
    )


def _bins(process: ProcessModel) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Hard and soft fail bin of each test ``(n_tests,)``."""
    families = list(FAMILIES)
    widths = [b.stop - b.start for b in process.blocks]
    hard = [FIRST_HARD_FAIL_BIN + families.index(b.family) for b in process.blocks]
    soft = [FIRST_SOFT_FAIL_BIN + i for i in range(len(process.blocks))]
    return (
        np.repeat(np.array(hard, dtype=np.int32), widths),
        np.repeat(np.array(soft, dtype=np.int32), widths),
    )
