"""A case scored by the reference engine and by the naive implementation, and every bit compared."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import naive
import numpy as np
from binary32 import bits, from_double
from numpy.typing import NDArray
from sealed_networks import FPR, LARGEST, Case, with_points

from knowngood._contributions import Residuals
from knowngood._model_file import ModelFile
from knowngood._network import Dense, Head, QuantizedDense
from knowngood._scorer import Scorer
from knowngood._sealed import Precision, SealedModel
from knowngood._verdicts import Reason, Verdict
from knowngood.engines._reference import ReferenceEngine, score_sealed

TO_BE_SEEN = (
    *(f"verdict {v.name}" for v in Verdict),
    *(f"reason {r.name}" for r in Reason if r <= Reason.RANGE),
    "rescored", "not rescored", "reconstruction not finite", "contributions", "ties in |z|",
)  # fmt: skip
"""What a run of some hundred dies meets; see ``compare``."""


def compare(case: Case, seen: Counter[str]) -> None:
    """Score ``case`` in every precision both ways.

    ``seen`` counts dies by what befell them, so that a run can show that it was not vacuous.

    Raises:
        AssertionError: a bit differs.
    """
    plain = plain_model(case.model)
    model, scored = case.model, dict[Precision, list[naive.Scored]]()
    for layer_precision in model.layer_precisions:
        scored[layer_precision] = _score_naively(plain, layer_precision, case)
    if len(scored) == 2:
        model, point = _with_bands(case, scored)
        plain = plain_model(model)
        scored["verified"] = _score_naively(plain, "verified", case, point)
    for precision, expected in scored.items():
        _compare_precision(model, plain, precision, case, expected, seen)
    seen["dies"] += len(case.values)


def plain_model(model: SealedModel) -> naive.Model:
    """The model as the naive implementation takes it: lists of Python's numbers."""
    scaler = model.screen.scaler
    return naive.Model(
        scaler.groups.tolist(),
        scaler.centre.tolist(),
        scaler.inv_scale.tolist(),
        _plain_head(model.screen.head),
        None if model.fp32 is None else [_plain_layer(layer) for layer in model.fp32],
        None if model.int8 is None else [_plain_layer(layer) for layer in model.int8],
        model.latent_layer,
        model.scale_limits.tolist(),
    )


def _plain_layer(layer: Dense | QuantizedDense) -> naive.Layer:
    return naive.Layer(
        layer.weight.tolist(),
        layer.bias.tolist(),
        layer.activation.kind,
        from_double(layer.activation.alpha),
        layer.weight_scale.tolist() if isinstance(layer, QuantizedDense) else None,
    )


def _plain_head(head: Head) -> naive.Head:
    low_rank = head.low_rank
    return naive.Head(
        head.kind,
        head.residual_weight.tolist(),
        head.expected_square.tolist(),
        head.present_gain.tolist(),
        head.present_offset.tolist(),
        head.min_present,
        head.k,
        () if low_rank is None else low_rank.project.tolist(),
        () if low_rank is None else low_rank.subtract.tolist(),
    )


def _score_naively(
    plain: naive.Model, precision: Precision, case: Case, point: naive.Point | None = None
) -> list[naive.Scored]:
    groups = [None] * len(case.values) if case.group is None else case.group.tolist()
    return [
        naive.score_die(plain, precision, values, group, point)
        for values, group in zip(case.values.tolist(), groups, strict=True)
    ]


def _with_bands(
    case: Case, scored: dict[Precision, list[naive.Scored]]
) -> tuple[SealedModel, naive.Point]:
    """Thresholds, a band and limits that lie on scores and magnitudes of the dies themselves."""
    rng = np.random.default_rng(case.seed)
    finite = {p: [d.score for d in dies if math.isfinite(d.score)] for p, dies in scored.items()}
    thresholds = {p: float(rng.choice(finite[p] or [1.0])) for p in case.model.layer_precisions}
    picked = rng.choice(finite["int8"] or [1.0], 2).tolist()
    threshold = thresholds["fp32"]
    lo, hi = min(*picked, threshold), max(*picked, threshold)
    if rng.random() < 0.5:
        lo = hi = threshold
    magnitudes = [d.magnitudes for d in scored["int8"] if d.magnitudes]
    limits = [_limit(rng, [m[i] for m in magnitudes]) for i in range(len(case.model.int8 or ()))]
    model = with_points(case.model, thresholds, (lo, hi), np.array(limits, dtype=np.float32))
    return model, naive.Point(threshold, lo, hi)


def _limit(rng: np.random.Generator, magnitudes: list[float]) -> np.float32:
    """Beyond every die, the magnitude of one, or just below it."""
    finite = [m for m in magnitudes if 0 < m < math.inf]
    if not finite or rng.random() < 0.4:
        return LARGEST
    limit = np.float32(rng.choice(finite))
    below = np.nextafter(limit, np.float32(0))
    return below if below > 0 and rng.random() < 0.5 else limit


def _compare_precision(
    model: SealedModel,
    plain: naive.Model,
    precision: Precision,
    case: Case,
    expected: list[naive.Scored],
    seen: Counter[str],
) -> None:
    scorer = scorer_of(model, precision)
    rows = model.screen.scaler.rows(case.group, len(case.values))
    result = score_sealed(model, precision, case.values, rows)
    judged = scorer.score(case.values, case.group)
    explained = Residuals.of(model.screen, case.values, rows, result.reconstruction)
    groups = [None] * len(rows) if case.group is None else case.group.tolist()
    latent = np.empty((len(rows), 0), np.float32) if result.latent is None else result.latent
    for i, (values, die) in enumerate(zip(case.values.tolist(), expected, strict=True)):
        verdict = naive.judge(plain, values, groups[i], die.score, scorer.threshold)
        where = f"die {i} in {precision}"
        assert int(result.scores.view(np.uint32)[i]) == bits(die.score), where
        assert int(judged.scores.view(np.uint32)[i]) == bits(die.score), where
        assert _bits(result.reconstruction[i]) == [bits(y) for y in die.reconstruction], where
        assert _bits(latent[i]) == [bits(a) for a in die.latent], where
        assert bool(result.rescored[i]) == die.rescored, where
        assert (judged.verdicts[i], judged.reasons[i]) == verdict, where
        _compare_contributions(explained, i, values, die, seen)
        _count(seen, die, verdict)


def _compare_contributions(
    explained: Residuals, i: int, values: list[float], die: naive.Scored, seen: Counter[str]
) -> None:
    if not all(math.isfinite(z) for z in die.residuals):
        return
    order = naive.order_of_contributions(values, die.residuals)
    assert explained.largest(i, len(values)).tolist() == order, f"contributions of die {i}"
    z = explained.z[i]
    assert z.dtype == np.float32
    assert _bits(z) == [bits(v) for v in die.residuals], f"residuals of die {i}"
    seen["contributions"] += 1
    seen["ties in |z|"] += len({abs(die.residuals[j]) for j in order}) < len(order)


def scorer_of(model: SealedModel, precision: Precision) -> Scorer:
    """A scorer of the reference engine for a model that is in no file."""
    manifest = model.manifest(precision)
    file = ModelFile(Path("made.kgd"), b"", "kgd", "kgd 1.0", "0" * 64, "0" * 64, manifest, model)
    point = manifest.screen.operating_point(FPR)
    return Scorer(file, ReferenceEngine.open(file).at(FPR), point)


def _bits(numbers: NDArray[np.float32]) -> list[int]:
    patterns: list[int] = np.ascontiguousarray(numbers).view(np.uint32).tolist()
    return patterns


def _count(seen: Counter[str], die: naive.Scored, verdict: tuple[int, int]) -> None:
    seen[f"verdict {Verdict(verdict[0]).name}"] += 1
    seen[f"reason {Reason(verdict[1]).name}"] += 1
    seen["rescored" if die.rescored else "not rescored"] += 1
    seen["reconstruction not finite"] += not all(math.isfinite(y) for y in die.reconstruction)
