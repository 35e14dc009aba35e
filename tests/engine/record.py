"""Writes random models, dies and what the reference gives for them, for replay.c.

``python tests/engine/record.py N_ORDINARY N_SMALL N_WIDE FILE``; the program then needs no Python.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from bit_for_bit import for_each
from expected import Expected, encoded, expect_all, with_bands
from kinds_of_cases import corner_cases, ordinary_cases, small_cases, wide_cases
from numpy.typing import NDArray
from sealed_networks import Case

from engine import PRECISIONS

K = 7
"""Contributions of each die; REPLAYED_K in replay.c."""


def record(n_ordinary: int, n_small: int, n_wide: int, path: Path, seed: int = 0) -> None:
    """The corners, and so many networks of each other kind."""
    records = [_record(case) for case in corner_cases()]
    records += [_record(case) for case in ordinary_cases(n_ordinary, seed)]
    for strategy, n_cases in ((small_cases(), n_small), (wide_cases(), n_wide)):
        for_each(strategy, n_cases, lambda case: records.append(_record(case)), seed)
    path.write_bytes(b"".join(records))


def _record(case: Case) -> bytes:
    """One case as replay.c reads it; nothing for a model that no file can hold."""
    model = case.model if case.model.bands else with_bands(case)
    data = encoded(model)
    if data is None:
        return b""
    expected = expect_all(model, case)
    mask = sum(1 << PRECISIONS[p] for p in expected)
    n, n_tests = case.values.shape
    latent = next(iter(expected.values())).result.latent
    n_latent = 0 if latent is None else latent.shape[1]
    group = np.zeros(n, np.int32) if case.group is None else case.group
    head = np.array([len(data), n, n_tests, n_latent, case.group is not None, mask], np.uint32)
    arrays: list[NDArray[Any]] = [case.values.astype(np.float32), group.astype(np.int32)]
    for precision in PRECISIONS:
        arrays += _arrays(expected[precision]) if precision in expected else []
    return b"".join([head.tobytes(), data, *(a.tobytes() for a in arrays)])


def _arrays(expected: Expected) -> list[NDArray[Any]]:
    """Scores, verdicts, reasons, reconstruction, latent code; contributions, +0 behind the last."""
    result = expected.result
    n = len(result.scores)
    n_found, columns = np.zeros(n, np.int32), np.zeros((n, K), np.int32)
    z = np.zeros((n, K), np.float32)
    for die in range(n):
        found, z_of_found = expected.contributions(die, K)
        n_found[die] = len(found)
        columns[die, : len(found)], z[die, : len(found)] = found, z_of_found
    latent: list[NDArray[Any]] = [] if result.latent is None else [result.latent]
    judged: list[NDArray[Any]] = [result.scores, expected.verdicts, expected.reasons]
    return [*judged, result.reconstruction, *latent, n_found, columns, z]


if __name__ == "__main__":
    record(*map(int, sys.argv[1:4]), Path(sys.argv[4]))
