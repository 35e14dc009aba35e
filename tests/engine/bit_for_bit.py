"""Random networks and dies, scored by every path of the engine and by the reference.

A long run: ``python tests/engine/bit_for_bit.py 20000 libknowngood.so`` (networks), which prints
what it met.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "arithmetic"))

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from sealed_networks import LARGEST, Case, cases, with_points

from engine import Model, load, path_names
from knowngood._errors import UsageError
from knowngood._kgd import encode
from knowngood._sealed import Golden, SealedModel
from knowngood.engines._reference import Result, score_sealed

SUBNORMAL = 1e-40
"""Above 0, except to a host that takes such numbers for 0."""
TO_BE_SEEN = (
    *("scored", "unscored", "rescored", "latent", "contributions"),
    *("head mse", "head topk", "head mahalanobis"),
)
"""What a run that is worth something counts at least once."""


def for_each_case(n_cases: int, judge: Callable[[Case], None]) -> None:
    """Call ``judge`` with so many random networks and their dies."""

    @settings(
        max_examples=n_cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(1, 40).flatmap(cases))
    def every_case(case: Case) -> None:
        judge(case)

    every_case()


def run(lib: ctypes.CDLL, n_cases: int) -> Counter[str]:
    """Compare every bit; returns how often what was met."""
    comparison = Comparison(lib)
    for_each_case(n_cases, comparison.compare)
    return comparison.seen


class Comparison:
    """Scores cases on every path of this processor and counts what was met."""

    def __init__(self, lib: ctypes.CDLL) -> None:
        self._lib = lib
        self.seen: Counter[str] = Counter()

    def compare(self, case: Case) -> None:
        """In every precision, in several batches, every bit."""
        model = with_bands(case)
        rows = model.screen.scaler.rows(case.group, len(case.values))
        expected = {p: score_sealed(model, p, case.values, rows) for p in model.precisions}
        data = encoded(model)
        if data is None:
            self.seen["refused by the writer"] += 1
            return
        for path in path_names(self._lib):
            engine = Model(self._lib, data, path)
            for precision, result in expected.items():
                self._compare_scores(engine, precision, case, result)
                self._compare_codes(engine, precision, case, result)
                self._compare_contributions(engine, precision, case, result)
            engine.close()
        self.seen["models"] += 1
        self.seen[f"head {model.screen.head.kind}"] += 1

    def _compare_scores(self, engine: Model, precision: str, case: Case, result: Result) -> None:
        rng = np.random.default_rng(case.seed)
        n = len(case.values)
        some = rng.integers(0, n, rng.integers(0, 41))
        for order in (np.arange(n), rng.permutation(n), some):
            group = None if case.group is None else case.group[order]
            scores, verdicts, reasons = engine.score(precision, case.values[order], group)
            _same(scores, result.scores[order], (engine.path, precision, "score"))
            np.testing.assert_array_equal(reasons == 0, np.isfinite(scores))
            np.testing.assert_array_equal(verdicts == 0, np.isnan(scores))
            self.seen["scored"] += int(np.isfinite(scores).sum())
            self.seen["unscored"] += int(np.isnan(scores).sum())
        self.seen["rescored"] += int(result.rescored.sum())

    def _compare_codes(self, engine: Model, precision: str, case: Case, result: Result) -> None:
        reconstruction, latent = engine.reconstruct(precision, case.values, case.group)
        what = (engine.path, precision, "reconstruction")
        _same(reconstruction, result.reconstruction, what)
        if latent is not None:
            assert result.latent is not None
            _same(latent, result.latent, (engine.path, precision, "latent"))
            self.seen["latent"] += 1

    def _compare_contributions(
        self, engine: Model, precision: str, case: Case, result: Result
    ) -> None:
        """Against the largest |z| of the reconstruction; mahalanobis changes z after that."""
        die = case.seed % len(case.values)
        group = -1 if case.group is None else int(case.group[die])
        columns, z, expected = engine.contributions(precision, case.values[die], group, k=7)
        if case.model.screen.head.kind == "mahalanobis":
            return
        all_z, told = _residuals(case, result, die, group)
        if not np.isfinite(all_z).all() or np.isnan(result.reconstruction[die]).any():
            assert len(columns) == 0 or np.isfinite(all_z).all()
            return
        present = np.flatnonzero(~np.isnan(case.values[die]))
        wanted = present[np.argsort(-np.abs(all_z[present]), kind="stable")[:7]]
        np.testing.assert_array_equal(columns, wanted)
        _same(z, all_z[wanted], (engine.path, precision, "z"))
        np.testing.assert_allclose(expected, told[wanted], rtol=1e-12)
        self.seen["contributions"] += len(columns)


def _residuals(
    case: Case, result: Result, die: int, group: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """z of every test of a die, and what the model expects in the test's units."""
    scaler = case.model.screen.scaler
    row = scaler.rows(np.array([group], np.int32), 1)[0]
    centre, inv_scale = scaler.centre[row], scaler.inv_scale[row]
    x, y = case.values[die], result.reconstruction[die]
    present = ~np.isnan(x)
    with np.errstate(all="ignore"):
        u = ((x.astype(np.float64) - centre) * inv_scale).astype(np.float32)
        u = np.where(present, u, np.float32(0))
        z = (u - y) * case.model.screen.head.residual_weight
        told = centre + y.astype(np.float64) / inv_scale
    return np.where(present, z, np.float32(0)).astype(np.float32), told


def _same(found: ArrayLike, expected: ArrayLike, what: tuple[str, ...]) -> None:
    bits = [np.asarray(a, np.float32).view(np.uint32) for a in (found, expected)]
    np.testing.assert_array_equal(*bits, err_msg=" ".join(what))


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


def with_bands(case: Case) -> SealedModel:
    """With a band and limits among the dies themselves, where the model has both precisions."""
    model = case.model
    if len(model.layer_precisions) < 2:
        return model
    rng = np.random.default_rng(case.seed)
    rows = model.screen.scaler.rows(case.group, len(case.values))
    scores = score_sealed(model, "int8", case.values, rows).scores
    finite = scores[np.isfinite(scores)]
    lo, middle, hi = sorted(float(s) for s in rng.choice(finite if len(finite) else [1.0], 3))
    n = len(model.int8)
    limits = np.where(rng.random(n) < 0.5, LARGEST, 10.0 ** rng.uniform(-3, 3, n))
    limits[rng.random(n) < 0.1] = SUBNORMAL
    thresholds = dict.fromkeys(model.layer_precisions, middle)
    return with_points(model, thresholds, (lo, hi), limits.astype(np.float32))


if __name__ == "__main__":
    lib = load(Path(sys.argv[2]).resolve())
    sys.stdout.write(f"{path_names(lib)} {dict(run(lib, int(sys.argv[1])))}\n")
