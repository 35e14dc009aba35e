"""What the reference gives for the dies of a case: everything that the engine hands out of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sealed_networks import LARGEST, Case, operating_point, with_points

from knowngood import _arithmetic as arithmetic
from knowngood._errors import UsageError
from knowngood._kgd import encode
from knowngood._reasons import why_unscored
from knowngood._sealed import Golden, Precision, SealedModel
from knowngood._verdicts import Verdict
from knowngood.engines._reference import Result, score_sealed


@dataclass(frozen=True, eq=False)
class Expected:
    """The dies of a case in one precision.

    Attributes:
        verdicts, reasons: int8 ``(n_dies,)``, at the first operating point.
        present: bool ``(n_dies, n_tests)``, False throughout dies that are not evaluable.
        z: float32 ``(n_dies, n_tests)``, residuals as they are scored.
        in_units: float64 ``(n_dies, n_tests)``, the reconstruction in the tests' units.
    """

    result: Result
    verdicts: NDArray[np.int8]
    reasons: NDArray[np.int8]
    present: NDArray[np.bool_]
    z: NDArray[np.float32]
    in_units: NDArray[np.float64]

    def contributions(self, die: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Columns and z of the ``k`` largest, ties in the order of columns.

        None of a die with a z that is not finite.
        """
        z = self.z[die]
        columns = np.flatnonzero(self.present[die] & np.isfinite(z).all())
        largest = columns[np.argsort(-np.abs(z[columns]), kind="stable")][:k]
        return largest.astype(np.int32), z[largest]

    @cached_property
    def n_with_ties(self) -> int:
        """Dies with two tests present of the same |z|, other than 0."""
        sizes = np.where(self.present, np.abs(self.z), 0)
        return sum(len(np.unique(s[s > 0])) < int(np.count_nonzero(s > 0)) for s in sizes)


def expect(model: SealedModel, precision: Precision, case: Case) -> Expected:
    """Score the dies of ``case`` with ``model``, its own or one with bands."""
    screen, values = model.screen, case.values
    rows = screen.scaler.rows(case.group, len(values))
    result = score_sealed(model, precision, values, rows)
    threshold = np.float32(model.manifest(precision).screen.operating_points[0].threshold)
    is_scored = ~np.isnan(result.scores)
    judged = np.where(result.scores <= threshold, Verdict.PASS, Verdict.REJECT)
    dies = arithmetic.standardise(screen.scaler, values, rows)
    y = result.reconstruction
    with np.errstate(all="ignore"):
        why = why_unscored(screen, values, rows, is_exact=True)
        scaler = screen.scaler
        in_units = scaler.centre[rows] + y.astype(np.float64) / scaler.inv_scale[rows]
    return Expected(
        result,
        np.where(is_scored, judged, Verdict.UNSCORED).astype(np.int8),
        np.where(is_scored, 0, why).astype(np.int8),
        dies.present,
        arithmetic.weighted_residual(screen.head, dies.u, y, dies.present),
        in_units,
    )


def expect_all(model: SealedModel, case: Case) -> dict[Precision, Expected]:
    """In every precision that ``model`` offers."""
    return {p: expect(model, p, case) for p in model.precisions}


def with_bands(case: Case) -> SealedModel:
    """With thresholds, a band and limits that lie on scores and magnitudes of the dies themselves.

    A model of one precision gets a threshold only.
    """
    model, rng = case.model, np.random.default_rng(case.seed)
    rows = model.screen.scaler.rows(case.group, len(case.values))
    scores = {p: score_sealed(model, p, case.values, rows).scores for p in model.layer_precisions}
    finite = {p: s[np.isfinite(s)] for p, s in scores.items()}
    pools = {p: f if len(f) else np.ones(1, np.float32) for p, f in finite.items()}
    thresholds = {p: float(rng.choice(pool)) for p, pool in pools.items()}
    if len(pools) < 2:
        points = {p: (operating_point(t),) for p, t in thresholds.items()}
        return replace(model, points=points)
    nearby = [*rng.choice(pools["int8"], 2).tolist(), thresholds["fp32"]]
    band = (min(nearby), max(nearby)) if rng.random() < 0.7 else (nearby[2], nearby[2])
    limits = [_limit(rng, m) for m in magnitudes(model, case.values, rows)]
    return with_points(model, thresholds, band, np.array(limits, np.float32))


def with_narrow_bands(case: Case) -> SealedModel:
    """With thresholds in the middle; about one die in twenty is near them or beyond limits."""
    model = case.model
    rows = model.screen.scaler.rows(case.group, len(case.values))
    scores = {p: score_sealed(model, p, case.values, rows).scores for p in model.layer_precisions}
    middle = {p: float(np.nanquantile(s, 0.5, method="nearest")) for p, s in scores.items()}
    lo, hi = np.nanquantile(scores["int8"], [0.49, 0.51], method="nearest").tolist()
    band = (min(lo, middle["fp32"]), max(hi, middle["fp32"]))
    limits = [np.nanquantile(m, 0.99) for m in magnitudes(model, case.values, rows)]
    return with_points(model, middle, band, np.array(limits, np.float32))


def magnitudes(
    model: SealedModel, values: NDArray[np.float32], rows: NDArray[np.int32]
) -> list[NDArray[np.float32]]:
    """The largest magnitude of each int8 layer's input, ``(n_dies,)`` of each layer."""
    found, is_positive = [], False
    with np.errstate(all="ignore"):
        x = arithmetic.standardise(model.screen.scaler, values, rows).u
        for layer in model.int8 or ():
            quantized = arithmetic.quantize_input(x, is_positive=is_positive)
            x, is_positive = arithmetic.dense_int8(layer, quantized), layer.activation.is_positive
            found.append(quantized.magnitude)
    return found


def _limit(rng: np.random.Generator, of_dies: NDArray[np.float32]) -> np.float32:
    """Beyond every die, the magnitude of one, just below it, or a subnormal number."""
    usable = of_dies[np.isfinite(of_dies) & (of_dies > 0)]
    if not len(usable) or rng.random() < 0.5:
        return np.float32(LARGEST if rng.random() < 0.9 else 1e-40)
    limit = np.float32(rng.choice(usable))
    below = np.nextafter(limit, np.float32(0))
    return below if below > 0 and rng.random() < 0.5 else limit


def encoded(model: SealedModel) -> bytes | None:
    """The file, with golden dies that nobody scores; nothing for a model that no file can hold."""
    score = np.ones(1, np.float32).view(np.uint32)
    golden = Golden(
        np.zeros((1, model.screen.schema.n_tests), np.float32),
        np.full(1, -1, np.int32),
        dict.fromkeys(model.layer_precisions, score),
        dict.fromkeys(model.layer_precisions, bytes(32)),
    )
    try:
        return encode(replace(model, golden=golden))
    except UsageError:
        return None
