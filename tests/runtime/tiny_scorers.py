"""A tiny network, scorers of its .onnx file, and dies for them."""

from __future__ import annotations

import numpy as np

from knowngood._model_file import parse_model
from knowngood._opening import open_scorer
from knowngood._scorer import Scorer
from tiny_models import tiny_network, tiny_onnx

NETWORK = tiny_network()


def scorer_of(network=NETWORK, **options) -> Scorer:
    return open_scorer(parse_model(tiny_onnx(network), "tiny.onnx"), **options)


def dies(n_dies: int, network=NETWORK, seed: int = 3) -> np.ndarray:
    scaler = network.screen.scaler
    z = np.random.default_rng(seed).normal(size=(n_dies, network.screen.schema.n_tests))
    return (scaler.centre[0] + z / scaler.inv_scale[0]).astype(np.float32)
