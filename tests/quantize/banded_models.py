"""Small autoencoders with both precisions and thresholds, and dies to calibrate bands on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from knowngood._golden import with_golden
from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._network import Activation, Dense, HeadKind, Network, QuantizedDense, Scaler, Screen
from knowngood._opening import open_scorer
from knowngood._schema import Schema
from knowngood._scorer import Scorer
from knowngood._sealed import Golden, SealedModel
from knowngood_quantize.heads import fit_head, unfitted_head
from knowngood_quantize.thresholds import fit_operating_points

FPRS = (0.001, 0.005, 0.02)
F32 = np.float32


@dataclass(frozen=True)
class Process:
    """Dies of a few factors and noise; ``sites`` have centres of their own."""

    n_tests: int = 24
    n_factors: int = 4
    n_sites: int = 1
    seed: int = 0

    @property
    def loadings(self) -> np.ndarray:
        return np.random.default_rng(self.seed).standard_normal((self.n_factors, self.n_tests))

    def draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Values in units with centre 5 and scale 0.01, and the site of each die."""
        rng = np.random.default_rng([self.seed, seed])
        factors = rng.standard_normal((n, self.n_factors))
        noise = 0.3 * rng.standard_t(8, (n, self.n_tests))
        group = rng.integers(self.n_sites, size=n).astype(np.int32)
        u = factors @ self.loadings + noise + 3.0 * group[:, None]
        return (5 + 0.01 * u).astype(F32), group

    @property
    def scaler(self) -> Scaler:
        groups = np.arange(-1, self.n_sites if self.n_sites > 1 else 0, dtype=np.int32)
        sigma = np.sqrt((self.loadings**2).sum(axis=0) + 0.1)
        offset = np.maximum(groups, 0)[:, None]
        centre = np.tile(5 + 0.03 * offset, (1, self.n_tests))
        return Scaler(groups, centre, np.tile(100 / sigma, (len(groups), 1)))


def autoencoder(process: Process) -> Network:
    """Projects on the factors through a ReLU layer: ``relu(a) − relu(−a)`` is ``a``."""
    scaler = process.scaler
    directions = np.linalg.svd(process.loadings * scaler.inv_scale[0] / 100)[2][: process.n_factors]
    encoder = np.concatenate([directions, -directions]).astype(F32)
    layers = (
        Dense(encoder, np.full(len(encoder), 0.01, F32), Activation("relu")),
        Dense(
            np.ascontiguousarray(encoder.T), np.zeros(process.n_tests, F32), Activation("linear")
        ),
    )
    screen = Screen(Schema.anonymous(process.n_tests), scaler, unfitted_head(process.n_tests))
    return Network(screen, layers)


def rounded(layer: Dense, step: float) -> QuantizedDense:
    """Weights in steps of ``step``: few of them, for an int8 form that errs visibly."""
    weight = np.rint(layer.weight / F32(step)).astype(np.int8)
    return QuantizedDense(weight, np.full(len(weight), step, F32), layer.bias, layer.activation)


def model_of(process: Process, head: HeadKind = "topk", step: float = 1 / 127) -> SealedModel:
    """The network of a process, both precisions, with the thresholds of 4,000 good dies."""
    network = autoencoder(process)
    values, group = process.draw(4000, seed=100)
    screen = replace(
        network.screen, head=fit_head(network, values, group, kind=head), default_fpr=FPRS[1]
    )
    model = SealedModel(
        screen=screen,
        detector="autoencoder",
        fp32=network.layers,
        int8=tuple(rounded(layer, step) for layer in network.layers),
        points=dict.fromkeys(("fp32", "int8"), fit_operating_points(np.linspace(1, 2, 50), FPRS)),
        golden=Golden(values[:2], group[:2], {}, {}),
    )
    scores = scorer_of(model, "fp32").score(values, group).scores
    points = fit_operating_points(scores, FPRS)
    return replace(model, points={"fp32": points, "int8": points})


def scorer_of(model: SealedModel, precision: str, fpr: float = FPRS[1]) -> Scorer:
    file = parse_model(encode(with_golden(model)), "model.kgd")
    return open_scorer(file, precision=precision, fpr=fpr, extrapolate=True)
