"""Real tables as rows to train on and rows to judge on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import knowngood
from knowngood_export._fit import Part, inject_defects
from knowngood_quantize.scaling import unusable_tests

from ._sets import TableSet

Float32 = NDArray[np.float32]
Rows = tuple[Float32, Float32, Float32]
"""To train on, inliers to judge on, anomalies."""
FAULT_STARTS = 160
"""Rows before this one of a Tennessee Eastman test run are normal."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows float32 ``(n, n_columns)``, NaN where a value is missing.

    Attributes:
        train: inliers.
        good: other inliers, to judge on.
        defective: anomalies.
    """

    train: Float32
    good: Float32
    defective: Float32


def read_table(case: TableSet, data: Path) -> Table:
    """A set's rows; ``data`` is the folder of real data."""
    train, good, defective = _READERS[case.kind](data / case.file)
    return Table(
        _spread(train, case.max_train),
        _spread(good, case.max_judged),
        _spread(defective, case.max_judged),
    )


def _read_npz(path: Path) -> Rows:
    with np.load(path) as arrays:
        values, label = arrays["X"].astype(np.float32), arrays["y"]
    return _alternating(values[label == 0], values[label == 1])


def _read_tep(path: Path) -> Rows:
    with np.load(path) as arrays:
        runs: Mapping[str, Any] = {name: arrays[name].astype(np.float32) for name in arrays.files}
    tests = [run for name, run in sorted(runs.items()) if name.endswith("_te") and name != "d00_te"]
    return (
        np.concatenate([runs["d00"], runs["d00_te"]]),
        np.concatenate([run[:FAULT_STARTS] for run in tests]),
        np.concatenate([run[FAULT_STARTS:] for run in tests]),
    )


def _read_stdf(path: Path) -> Rows:
    """Passing dies, and the standard defects in those that judge.

    Where the tester stops at a fail, too few tests of a failing die are left for a score.
    """
    lot = knowngood.read_lot(path)
    values = lot.values[lot.dies.tester_pass == 1]
    usable = np.setdiff1d(np.arange(values.shape[1]), list(unusable_tests(values[::2])))
    train, good = (
        Part(rows[:, usable], np.zeros(len(rows), np.int32)) for rows in (values[::2], values[1::2])
    )
    injected = inject_defects(good, lot.schema.select(usable), reference=train)
    return train.values, good.values, np.concatenate([dies.values for _, dies in injected])


_READERS: Mapping[str, Callable[[Path], Rows]] = {
    "npz": _read_npz,
    "tep": _read_tep,
    "stdf": _read_stdf,
}


def _alternating(inliers: Float32, anomalies: Float32) -> Rows:
    """Every second inlier trains: tables are sorted by class, and halves would differ."""
    return inliers[::2], inliers[1::2], anomalies


def _spread(rows: Float32, at_most: int) -> Float32:
    if len(rows) <= at_most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, at_most).astype(np.intp)]
