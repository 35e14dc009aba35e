"""Calls that a type checker must refuse, one on each line marked so; checked, never run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import knowngood
from knowngood import Lot, Schema, Scorer, Test


def loading() -> None:
    knowngood.load(3)  # refused
    knowngood.load("model.kgd", "reference")  # refused
    knowngood.load("model.kgd", precision=8)  # refused
    knowngood.load("model.kgd", fpr="0.5 %")  # refused
    knowngood.load("model.kgd", threshold=2.0)  # refused
    knowngood.loads("model.kgd")  # refused


def scoring(scorer: Scorer, values: NDArray[np.float32], codes: NDArray[np.int8]) -> None:
    scorer.score([[0.0, 1.0]])  # refused
    scorer.score(values, [1, 2])  # refused
    scorer.score(values, values)  # refused
    scorer.score_into(values, codes, codes, codes)  # refused
    scorer.score_into(values, values[0], codes)  # refused
    scorer.score(values).top_tests("first")  # refused
    _ = scorer.score(values).score  # refused
    scorer.at(0.01, True)  # refused
    scorer.threshold = 3.0  # refused
    scorer.threshold(0.01)  # refused
    missing: NDArray[np.int32] = scorer.encode(values)  # refused
    del missing


def lots(scorer: Scorer, lot: Lot, values: NDArray[np.float32]) -> None:
    scorer.score_lot(values)  # refused
    scorer.score_lot(lot, lenient=True)  # refused
    knowngood.merge_lots(lot)  # refused
    lot.values = values  # refused
    Schema([Test(1, "VDD")])  # refused
    Test("1020", "VDD")  # refused
    Lot(values, lot.schema)  # refused
