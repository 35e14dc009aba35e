"""Writes random models, dies and the reference's scores for replay.c.

``python tests/engine/record.py N_MODELS FILE``; the program then needs no Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from bit_for_bit import encoded, for_each_case, with_bands
from sealed_networks import Case

from engine import PRECISIONS
from knowngood.engines._reference import score_sealed


def record(n_models: int, path: Path) -> None:
    records: list[bytes] = []
    for_each_case(n_models, lambda case: records.append(_record(case)))
    path.write_bytes(b"".join(records))


def _record(case: Case) -> bytes:
    """One case as replay.c reads it; nothing for a model that no file can hold."""
    model = with_bands(case)
    data = encoded(model)
    if data is None:
        return b""
    rows = model.screen.scaler.rows(case.group, len(case.values))
    scores = [
        score_sealed(model, p, case.values, rows).scores
        for p in PRECISIONS
        if p in model.precisions
    ]
    mask = sum(1 << code for p, code in PRECISIONS.items() if p in model.precisions)
    n, n_tests = case.values.shape
    group = np.zeros(n, np.int32) if case.group is None else case.group
    head = np.array([len(data), n, n_tests, case.group is not None, mask], np.uint32)
    arrays = [case.values.astype(np.float32), group.astype(np.int32), *scores]
    return b"".join([head.tobytes(), data, *(a.tobytes() for a in arrays)])


if __name__ == "__main__":
    record(int(sys.argv[1]), Path(sys.argv[2]))
