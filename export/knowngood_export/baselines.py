"""The classical screens, as networks: PAT, Hotelling's T² and the PCA residual.

They are fitted on the same good dies as the autoencoder, score through the same head and the same
thresholds, and are made as strong as they can be: covariances come from values cut at ±5 robust
sigma, so that one odd die does not turn the axes, and what the textbook leaves open (how much
shrinkage, how many components, which residual) is chosen by detection of defects injected into
validation dies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError
from knowngood._extras import require
from knowngood._forward import reconstruct, score_residual
from knowngood._network import Dense, Head, HeadKind, Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_quantize.heads import TrainingDies, fit_head, residual_sigma, unfitted_head
from knowngood_quantize.injection import limits_of, standard_defects
from knowngood_quantize.thresholds import conformal_thresholds

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Group = NDArray[np.int32]

WINSOR_SIGMA = 5.0
VALIDATION_SHARE = 0.3
MIN_TRAINING_DIES = 30
DIES_FOR_CHOICE = 1000
CHOICE_YIELD_LOSS = 0.02
SHRINKAGE_STEPS = (1.0, 0.3, 0.1, 0.03)
"""Ledoit–Wolf's shrinkage, and less: it is optimal for the covariance, not for detection."""
SMALLEST_EIGENVALUE = 1e-6
"""Of a correlation matrix; keeps weights within float32's reach where tests outnumber dies."""
RANK_TOLERANCE = 1e-10
COMPONENT_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True, eq=False)
class Validation:
    """Good dies that a baseline's free choices and its head are fitted on.

    Attributes:
        values: float32 ``(n_dies, n_tests)``, raw units, NaN where missing.
        group: int32 ``(n_dies,)`` or None.
        patterns: bool ``(n_patterns, n_tests)``, True where missing; see ``fit_head``.
        training: the dies that the baseline is fitted on, for its head to look at as well.
    """

    values: Float32
    group: Group | None = None
    patterns: NDArray[np.bool_] | None = None
    training: TrainingDies | None = None


def fit_baselines(
    values: Float32,
    group: Group | None,
    scaler: Scaler,
    schema: Schema,
    *,
    validation: Validation | None = None,
) -> tuple[Network, Network, Network]:
    """PAT, T² and the PCA residual, in this order; the correlation matrix is computed once.

    Arguments as for ``fit_pat``.
    """
    training, validation = _split(values, group, validation)
    moments = _moments(training, scaler)
    return (
        _fit_pat(scaler, schema, validation),
        _fit_t2(moments, scaler, schema, validation),
        _fit_pca(moments, scaler, schema, validation),
    )


def fit_pat(
    values: Float32,
    group: Group | None,
    scaler: Scaler,
    schema: Schema,
    *,
    validation: Validation | None = None,
) -> Network:
    """Static part average testing (AEC-Q001): the largest |robust z| over the tests.

    Skewed tests spend all of a common multiple's yield loss; so the robust sigma of a test may be
    replaced by the scale of its tail, if that detects more on validation dies.

    Args:
        values: float32 ``(n_dies, n_tests)`` of good dies, raw units, NaN where missing.
        group: int32 ``(n_dies,)`` or None.
        scaler, schema: those of the autoencoder it stands beside.
        validation: held-out good dies; None holds back the last 30 % of ``values``.
    """
    _, validation = _split(values, group, validation)
    return _fit_pat(scaler, schema, validation)


def _fit_pat(scaler: Scaler, schema: Schema, validation: Validation) -> Network:
    """The stronger of two limits per test: so many robust sigma, or so far into its own tail."""
    network = _network("pat", scaler, schema, ())
    textbook = np.ones(schema.n_tests, dtype=np.float32)
    candidates = (
        _with_head(network, validation, "topk", k=1, weight=textbook),
        _with_head(network, validation, "topk", k=1),
    )
    good = _some(validation)
    injected = _injected(good, schema)
    return max(candidates, key=lambda pat: _detection(pat.screen.head, pat, good, injected))


def fit_t2(
    values: Float32,
    group: Group | None,
    scaler: Scaler,
    schema: Schema,
    *,
    validation: Validation | None = None,
) -> Network:
    """Hotelling's T² / n_tests: mean square of the whitened die, ``r = Σ^(−1/2) (u − μ)``.

    Σ is the Ledoit–Wolf estimate of the correlation matrix; of its shrinkage and smaller ones the
    best on validation dies is taken. Arguments as for ``fit_pat``.
    """
    training, validation = _split(values, group, validation)
    return _fit_t2(_moments(training, scaler), scaler, schema, validation)


def _fit_t2(moments: _Moments, scaler: Scaler, schema: Schema, validation: Validation) -> Network:
    candidates = (
        _network("t2", scaler, schema, (_whitening(moments, moments.shrinkage * step),))
        for step in SHRINKAGE_STEPS
    )
    network, _ = _strongest(candidates, ("mse",), validation)
    return _with_head(network, validation, "mse")


def fit_pca(
    values: Float32,
    group: Group | None,
    scaler: Scaler,
    schema: Schema,
    *,
    validation: Validation | None = None,
) -> Network:
    """PCA residual: what the leading components do not explain, plain (Q, SPE) or normalised.

    The number of components (parallel analysis and a grid about it) and the head are those that
    detect most on validation dies. Arguments as for ``fit_pat``.
    """
    training, validation = _split(values, group, validation)
    return _fit_pca(_moments(training, scaler), scaler, schema, validation)


def _fit_pca(moments: _Moments, scaler: Scaler, schema: Schema, validation: Validation) -> Network:
    largest = min(moments.n_dies, schema.n_tests) - 1
    numbers = {n for n in COMPONENT_STEPS if n <= largest} | {_parallel_analysis(moments)}
    candidates = (_network("pca", scaler, schema, _projection(moments, n)) for n in sorted(numbers))
    network, kind = _strongest(candidates, ("mse", "normalized"), validation)
    return _with_head(network, validation, kind)


def _split(
    values: Float32, group: Group | None, validation: Validation | None
) -> tuple[Validation, Validation]:
    """Training and validation dies; the last block is held back where none are given."""
    n_train = len(values) if validation else int(len(values) * (1 - VALIDATION_SHARE))
    if n_train < MIN_TRAINING_DIES:
        raise NotEnoughDataError(
            f"a baseline needs at least {MIN_TRAINING_DIES} good dies to train on, found {n_train}"
        )
    head, tail = slice(None, n_train), slice(n_train, None)
    training = Validation(values[head], None if group is None else group[head])
    held_back = Validation(values[tail], None if group is None else group[tail])
    beside = TrainingDies(training.values, training.group)
    return training, replace(validation or held_back, training=beside)


def _network(detector: str, scaler: Scaler, schema: Schema, layers: tuple[Dense, ...]) -> Network:
    screen = Screen(schema, scaler, unfitted_head(schema.n_tests))
    return Network(screen, layers, detector=detector)


def _with_head(
    network: Network,
    validation: Validation,
    kind: HeadKind,
    *,
    k: int = 5,
    weight: Float32 | None = None,
) -> Network:
    head = fit_head(
        network,
        validation.values,
        validation.group,
        kind=kind,
        k=k,
        patterns=validation.patterns,
        residual_weight=weight,
        training=validation.training,
    )
    return replace(network, screen=replace(network.screen, head=head))


@dataclass(frozen=True, eq=False)
class _Moments:
    """Mean, spread and correlation of winsorised u over ``n_dies``.

    Attributes:
        mean, sigma: float64 ``(n_tests,)``.
        eigenvalues: float64 ``(rank,)`` of the correlation matrix, descending; the others are 0.
        axes: float64 ``(n_tests, rank)``, its eigenvectors in columns.
        shrinkage: Ledoit–Wolf's, 0 to 1, towards the unit matrix.
    """

    n_dies: int
    mean: Float64
    sigma: Float64
    eigenvalues: Float64
    axes: Float64
    shrinkage: float


def _winsorised(dies: Validation, scaler: Scaler) -> Float64:
    u = scaler.standardise(dies.values, scaler.rows(dies.group, len(dies.values)))
    cut: Float64 = np.clip(np.where(np.isfinite(u), u, 0), -WINSOR_SIGMA, WINSOR_SIGMA)
    return cut.astype(np.float64)


def _moments(training: Validation, scaler: Scaler) -> _Moments:
    covariance = require(
        "sklearn.covariance", extra="export", needed_for="fitting T² and PCA baselines"
    )
    u = _winsorised(training, scaler)
    mean, sigma = u.mean(axis=0), u.std(axis=0)
    sigma = np.where(sigma > 0, sigma, 1.0)
    z = (u - mean) / sigma
    shrinkage = float(covariance.ledoit_wolf_shrinkage(z, assume_centered=True))
    eigenvalues, axes = _principal_axes(z)
    return _Moments(len(z), mean, sigma, eigenvalues, axes, shrinkage)


def _principal_axes(z: Float64) -> tuple[Float64, Float64]:
    """Eigenvalues, descending, and axes of zᵀz/n, from the smaller of zᵀz and zzᵀ."""
    n_dies, n_tests = z.shape
    if n_tests <= n_dies:
        eigenvalues, axes = np.linalg.eigh(z.T @ z / n_dies)
        return np.maximum(eigenvalues[::-1], 0), axes[:, ::-1]
    eigenvalues, left = np.linalg.eigh(z @ z.T / n_dies)
    kept = eigenvalues > RANK_TOLERANCE * eigenvalues[-1]
    eigenvalues, left = eigenvalues[kept][::-1], left[:, kept][:, ::-1]
    return eigenvalues, z.T @ left / np.sqrt(n_dies * eigenvalues)


def _whitening(moments: _Moments, shrinkage: float) -> Dense:
    """One layer y = u − Σ^(−1/2) (u − μ), so that u − y is the whitened die."""
    shrunk = np.maximum((1 - shrinkage) * moments.eigenvalues + shrinkage, SMALLEST_EIGENVALUE)
    beyond = 1 / math.sqrt(max(shrinkage, SMALLEST_EIGENVALUE))
    whitener = (moments.axes * (1 / np.sqrt(shrunk) - beyond)) @ moments.axes.T
    whitener[np.diag_indices_from(whitener)] += beyond
    whitener /= moments.sigma
    weight = np.eye(len(whitener)) - whitener
    return Dense(weight.astype(np.float32), (whitener @ moments.mean).astype(np.float32))


def _projection(moments: _Moments, n_components: int) -> tuple[Dense, Dense]:
    """Two linear layers: onto the leading axes and back."""
    axes = moments.axes[:, :n_components]
    encode = (axes / moments.sigma[:, None]).T
    decode = axes * moments.sigma[:, None]
    return (
        Dense(encode.astype(np.float32), (-encode @ moments.mean).astype(np.float32)),
        Dense(decode.astype(np.float32), moments.mean.astype(np.float32)),
    )


def _parallel_analysis(moments: _Moments) -> int:
    """Components whose eigenvalue exceeds any that independent tests give; at least 1.

    Horn's parallel analysis with the limit of the largest noise eigenvalue, (1 + √(tests/dies))²
    (Marchenko and Pastur 1967), in place of simulated noise.
    """
    n_tests = len(moments.mean)
    edge = (1 + math.sqrt(n_tests / moments.n_dies)) ** 2
    n_components = int((moments.eigenvalues > edge).sum())
    return max(1, min(n_components, moments.n_dies - 1, n_tests - 1))


def _strongest(
    candidates: Iterable[Network], kinds: tuple[HeadKind, ...], validation: Validation
) -> tuple[Network, HeadKind]:
    """The candidate and head that detect most injected defects at 2 % yield loss.

    The first of equals wins, so that where nothing can be injected the choice is the first.
    """
    good = _some(validation)
    best: tuple[float, Network, HeadKind] | None = None
    injected: list[Validation] | None = None
    for network in candidates:
        injected = _injected(good, network.screen.schema) if injected is None else injected
        for kind, detection in _detections(network, kinds, good, injected):
            if best is None or detection > best[0]:
                best = (detection, network, kind)
    if best is None:
        raise NotEnoughDataError("no candidate to choose from: a PCA residual needs two tests")
    return best[1], best[2]


def _some(dies: Validation) -> Validation:
    """At most ``DIES_FOR_CHOICE`` of the dies, evenly spread."""
    rows = np.linspace(0, len(dies.values) - 1, DIES_FOR_CHOICE).round().astype(np.int64)
    rows = np.unique(rows)
    return Validation(dies.values[rows], None if dies.group is None else dies.group[rows])


def _injected(good: Validation, schema: Schema) -> list[Validation]:
    sets = standard_defects(good.values, limits=limits_of(schema), groups=good.group, n_dies=500)
    return [
        Validation(s.values, None if good.group is None else good.group[s.source_rows])
        for s in sets
        if len(s.values)
    ]


def _detections(
    network: Network,
    kinds: tuple[HeadKind, ...],
    good: Validation,
    injected: list[Validation],
) -> list[tuple[HeadKind, float]]:
    residual, present = _residual(network, good)
    sigma = residual_sigma(residual, present)
    heads = {kind: _trial_head(kind, sigma, residual, present) for kind in kinds}
    return [(kind, _detection(head, network, good, injected)) for kind, head in heads.items()]


def _detection(head: Head, network: Network, good: Validation, injected: list[Validation]) -> float:
    """Mean share of each class of defects that is found at 2 % yield loss."""

    def score(dies: Validation) -> Float32:
        return score_residual(head, *_residual(network, dies), dtype=np.float32)

    threshold = conformal_thresholds(score(good), [CHOICE_YIELD_LOSS])[0]
    found = [float((score(dies) > threshold).mean()) for dies in injected]
    return float(np.mean(found)) if found else 0.0


def _trial_head(
    kind: HeadKind, sigma: Float64, residual: Float32, present: NDArray[np.bool_]
) -> Head:
    """A head good enough to compare candidates: normalised for what is missing, no more."""
    weight = np.ones_like(sigma) if kind == "mse" else 1 / sigma
    square = np.where(present, (residual * weight) ** 2, 0).sum(axis=0)
    expected = np.maximum(square / np.maximum(present.sum(axis=0), 1), 1e-6)
    plain = unfitted_head(len(sigma))
    return replace(
        plain,
        kind=kind,
        residual_weight=weight.astype(np.float32),
        expected_square=expected.astype(np.float32),
    )


def _residual(network: Network, dies: Validation) -> tuple[Float32, NDArray[np.bool_]]:
    scaler = network.screen.scaler
    u = scaler.standardise(dies.values, scaler.rows(dies.group, len(dies.values)))
    present = np.isfinite(u)
    u = np.where(present, u, np.float32(0))
    return (u - reconstruct(network, u, dtype=np.float32)).astype(np.float32), present
