"""Sealed models whose every number is said, for dies that are worked out by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from sealed_networks import FPR, Case, sealed
from side_by_side import compare

from knowngood._network import (
    POOLED_GROUP,
    Dense,
    Head,
    QuantizedDense,
    Scaler,
    Screen,
)
from knowngood._schema import Schema
from knowngood._sealed import Precision, SealedModel
from knowngood.engines._reference import Result, score_sealed


def f32(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def head_of(n: int, kind: str = "mse", **changes) -> Head:
    ones = np.ones(n + 1, dtype=np.float32)
    k = 1 if kind == "topk" else 0
    head = Head(kind, ones[:n], ones[:n], ones, 0 * ones, min_present=1, k=k)
    return replace(head, **changes)


def model_of(
    n: int,
    fp32: tuple[Dense, ...] | None = (),
    int8: tuple[QuantizedDense, ...] | None = None,
    *,
    head: Head | None = None,
    scaler: Scaler | None = None,
    threshold: float = 1.0,
) -> SealedModel:
    """A model of ``n`` tests whose values are standardised already, unless said otherwise."""
    scaler = scaler or Scaler(np.array([POOLED_GROUP], np.int32), np.zeros((1, n)), np.ones((1, n)))
    screen = Screen(Schema.anonymous(n), scaler, head or head_of(n), (), FPR)
    return sealed(screen, fp32, int8, threshold=threshold)


def scored(model: SealedModel, *values: float, precision: Precision = "fp32", group=None) -> Result:
    """What the reference engine gives one die, the naive implementation the same.

    A model with bands is not compared: ``compare`` sets bands of its own.
    """
    die = f32(*values)[np.newaxis]
    groups = None if group is None else np.array([group], dtype=np.int32)
    if not model.bands:
        compare(Case(model, die, groups, seed=0), Counter())
    return score_sealed(model, precision, die, model.screen.scaler.rows(groups, 1))


def score_of(model: SealedModel, *values: float, **options) -> float:
    return float(scored(model, *values, **options).scores[0])


def output_of(model: SealedModel, *values: float, **options) -> list[float]:
    return scored(model, *values, **options).reconstruction[0].tolist()


def same(found: list[float], expected: list[float]) -> None:
    """Equal as bits: −0 is not +0, NaN is NaN."""
    assert f32(*found).view(np.uint32).tolist() == f32(*expected).view(np.uint32).tolist()
