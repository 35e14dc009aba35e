"""A lot, a model and its verdicts made by hand: what the report is given, without any file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowngood._forward import forward
from knowngood._lot import NO_COORDINATE
from knowngood._manifest import (
    DetectionCurve,
    Drift,
    Evaluation,
    Manifest,
    Provenance,
    Source,
)
from knowngood._network import Dense, Head, Network, OperatingPoint, Scaler, Screen
from knowngood._schema import Purpose, Schema, Test
from knowngood.report._dies import DieRows
from knowngood.report._facts import ModelUsed, Run
from knowngood.report._rescored import Rescored

N_TESTS = 24
N_FACTORS = 3
TOP_K = 5
FPR = 0.005
POINTS = (0.001, 0.005, 0.02)


@dataclass(frozen=True)
class Contribution:
    test: Test
    value: float
    expected: float
    z: float
    share: float


@dataclass(frozen=True)
class Scene:
    rows: DieRows
    run: Run
    manifest: Manifest
    rescored: Rescored
    network: Network
    values: NDArray[np.float32]


def make_tests() -> tuple[Test, ...]:
    kinds = (("V_OUT", "V", 1.2, 0.004), ("I_LEAK", "A", 6e-9, 3e-10), ("T_PD", "nS", 4.1, 0.06))
    tests = []
    for i in range(N_TESTS):
        name, units, centre, sigma = kinds[i * 3 // N_TESTS]
        tests.append(
            Test(
                1000 + i,
                f"{name}_{i}",
                units=units,
                low=centre - 12 * sigma,
                high=None if i == 3 else centre + 12 * sigma,
            )
        )
    return tuple(tests)


def _scales() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centre = np.repeat([1.2, 6e-9, 4.1], N_TESTS // 3)
    sigma = np.repeat([0.004, 3e-10, 0.06], N_TESTS // 3)
    return centre, sigma


def draw_values(n_dies: int, rng: np.random.Generator) -> NDArray[np.float32]:
    centre, sigma = _scales()
    loading = np.zeros((N_FACTORS, N_TESTS))
    for factor in range(N_FACTORS):
        loading[factor, factor * 8 : factor * 8 + 8] = np.sqrt(0.95)
    z = rng.normal(size=(n_dies, N_FACTORS)) @ loading
    z += np.sqrt(0.05) * rng.normal(size=z.shape)
    return (centre + sigma * z).astype(np.float32)


def fit_network(good: NDArray[np.float32]) -> Network:
    centre, sigma = _scales()
    scaler = Scaler(np.array([-1], np.int32), centre[None], 1 / sigma[None])
    u = scaler.standardise(good, scaler.rows(None, len(good))).astype(np.float64)
    basis = np.linalg.svd(u, full_matrices=False)[2][:N_FACTORS]
    weight = (1 / (u - u @ basis.T @ basis).std(axis=0)).astype(np.float32)
    gain = np.r_[0.0, 1 / np.minimum(np.arange(1, N_TESTS + 1), TOP_K)].astype(np.float32)
    offset = np.zeros_like(gain)
    head = Head("topk", weight, np.ones(N_TESTS, np.float32), gain, offset, min_present=12, k=TOP_K)
    layers = (
        Dense(basis.astype(np.float32), np.zeros(N_FACTORS, np.float32)),
        Dense(basis.T.astype(np.float32), np.zeros(N_TESTS, np.float32)),
    )
    purpose = Purpose("KG7 <B>", "25", "wafer sort", "kg7_sort", "rev C")
    screen = Screen(Schema(make_tests(), purpose), scaler, head)
    network = Network(screen, layers)
    scores = forward(network, good).scores
    points = tuple(
        OperatingPoint(
            f, float(t), float(t) * 0.97, float(t) * 1.05, len(good), f * len(good) >= 10
        )
        for f in POINTS
        for t in [np.quantile(scores, 1 - f).astype(np.float32)]
    )
    return replace(network, screen=screen.with_operating_points(points))


def make_manifest(network: Network, n_good: int) -> Manifest:
    grid = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
    rise = np.linspace(0, 0.3, len(grid))
    base = {"autoencoder": 0.65, "t2": 0.6, "pca": 0.4, "pat": 0.05}
    defects = {"single_test": 400, "broken_correlation": 400, "block_droop": 380, "timing": 400}
    curves = tuple(
        DetectionCurve(d, defect, n, tuple(np.clip(base[d] + rise - 0.04 * i, 0, 1).tolist()))
        for i, (defect, n) in enumerate(defects.items())
        for d in base
    )
    drift = (
        Drift("onnx fp32 (onnxruntime 1.32)", n_good, 1580, 3e-8, 4e-7, 0, 0, 0, 0),
        Drift("onnx int8 (onnxruntime 1.32)", n_good, 1580, 0.012, 0.09, 3, 21, 11, 40),
        Drift("tflite int8 (litert 2.3)", n_good, 1580, 0.013, 0.11, 4, 24, 12, 44),
    )
    provenance = Provenance(
        created="2026-11-22T10:00:00Z",
        versions={"knowngood": "0.1.0", "torch": "2.13.0"},
        seed=7,
        sources=(Source("train_1.stdf.gz", "ab" * 32, 4000),),
        n_train=3100,
        n_held_out=900,
        dropped={"tester fail": 311, "failed first, passed on retest": 17},
        hold_out="Lot L3 was held out whole; it shows how the model carries over to a new lot.",
        learning_curve=tuple((e, 0.3 + 1 / e, 0.35 + 1.05 / e) for e in range(1, 31)),
        notes=("2 constant tests were dropped: 900 ID_A, 901 ID_B",),
    )
    evaluation = Evaluation("Lot L3 held out.", n_good, grid, curves, {"missing_count_auc": 0.985})
    return Manifest(
        network.screen, "fp32", "autoencoder", network.widths, None, provenance, evaluation, drift
    )


def make_scene(
    *,
    lot: str = "LOT<7>&Co",
    n_wafers: int = 3,
    diameter: int = 16,
    defective: float = 0.01,
    coordinates: bool = True,
    seed: int = 1,
) -> Scene:
    rng = np.random.default_rng(seed)
    x, y = _die_places(diameter)
    n = n_wafers * len(x)
    values = draw_values(n, rng)
    network = fit_network(draw_values(4000, rng))
    odd = rng.random(n) < defective
    values[odd] = _break_correlation(values[odd], rng)
    values[rng.random(n) < 0.005, :20] = np.nan
    tester_pass = rng.random(n) > 0.06
    point = network.screen.operating_point(FPR)
    result = forward(network, values)
    rows = _rows(lot, n_wafers, x, y, values, result.scores, point.threshold, tester_pass)
    if not coordinates:
        nowhere = np.full(n, NO_COORDINATE, np.int32)
        rows = replace(rows, x=nowhere, y=nowhere)
    contributions = _contributions(network, values)
    rows.top_tests[:] = [
        "; ".join(f"{c.test.label}={c.z:+.1f}" for c in contributions(i)) if d == "outlier" else ""
        for i, d in enumerate(rows.disposition)
    ]
    rescored = Rescored(
        network.screen, values, np.zeros(n, np.int32), rows.disposition.copy(), contributions
    )
    run = Run(
        created="2026-11-22T12:00:00Z",
        model=ModelUsed("model.onnx", "cd" * 32, "autoencoder", "fp32", "onnxruntime", "1.32.0"),
        inputs=("lot7.stdf.gz",),
        fpr=FPR,
        threshold=point.threshold,
        warnings=("revision: the model is for 'rev C', the data are of 'rev D'",),
        odd=("lot7.stdf.gz: no MRR, the file may be truncated",),
    )
    return Scene(rows, run, make_manifest(network, 4000), rescored, network, values)


def _die_places(diameter: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    x, y = np.meshgrid(np.arange(diameter), np.arange(-3, diameter * 3 // 2 - 3))
    across = (x + 0.5) / diameter - 0.5
    along = (y + 3.5) / (diameter * 3 // 2) - 0.5
    inside = np.hypot(across, along) <= 0.5
    return x[inside].astype(np.int32), y[inside].astype(np.int32)


def _break_correlation(
    values: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Some tests of each die moved against their block, none beyond its usual range."""
    centre, sigma = _scales()
    broken = values.copy()
    for die in broken:
        block = 8 * int(rng.integers(3))
        tests = block + rng.choice(8, 3, replace=False)
        die[tests] = centre[tests] - (die[tests] - centre[tests]) * 1.3
        die[tests] += np.sign(centre[tests] - die[tests]) * -1.5 * sigma[tests]
    return broken


def _rows(
    lot: str,
    n_wafers: int,
    x: NDArray[np.int32],
    y: NDArray[np.int32],
    values: NDArray[np.float32],
    scores: NDArray[np.float32],
    threshold: float,
    tester_pass: NDArray[np.bool_],
) -> DieRows:
    n, per_wafer = len(values), len(x)
    unscored = np.isnan(scores)
    disposition = np.where(scores <= threshold, "keep", "outlier").astype(object)
    disposition[unscored] = "hold"
    disposition[~tester_pass] = "tester_fail"
    reason = np.full(n, "", dtype=object)
    reason[unscored] = "too many missing"
    reason[~tester_pass] = "tester fail"
    return DieRows(
        row=np.arange(n),
        lot=np.full(n, lot, dtype=object),
        wafer=np.repeat([f"W{w + 1}" for w in range(n_wafers)], per_wafer).astype(object),
        part_id=np.array([str(i + 1) for i in range(n)], dtype=object),
        x=np.tile(x, n_wafers),
        y=np.tile(y, n_wafers),
        head=np.ones(n, np.int32),
        site=(np.arange(n) % 4).astype(np.int32),
        score=np.where(tester_pass, scores, np.float32("nan")).astype(np.float32),
        disposition=disposition,
        reason=reason,
        top_tests=np.full(n, "", dtype=object),
    )


def _contributions(network: Network, values: NDArray[np.float32]) -> _Explain:
    result = forward(network, values)
    z = (result.standardised - result.reconstruction) * network.screen.head.residual_weight
    return _Explain(network, values, result.reconstruction, np.where(result.present, z, 0))


@dataclass(frozen=True)
class _Explain:
    network: Network
    values: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    z: NDArray[np.floating]

    def __call__(self, row: int) -> Sequence[Contribution]:
        scaler, tests = self.network.screen.scaler, self.network.screen.schema.tests
        order = np.argsort(-np.abs(self.z[row]), kind="stable")[:TOP_K]
        total = float(np.abs(self.z[row, order]).sum())
        return [
            Contribution(
                tests[i],
                float(self.values[row, i]),
                float(scaler.centre[0, i] + self.reconstruction[row, i] / scaler.inv_scale[0, i]),
                float(self.z[row, i]),
                float(abs(self.z[row, i])) / total,
            )
            for i in order.tolist()
        ]
