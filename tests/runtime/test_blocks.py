"""How many dies an engine is given at once."""

from __future__ import annotations

import numpy as np
import pytest

from knowngood._blocks import BLOCK, dies_per_block
from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._opening import open_scorer
from knowngood._scorer import Scorer
from knowngood.engines._reference import ReferenceEngine
from sealed_models import seal_up
from tiny_models import tiny_network


@pytest.mark.parametrize(
    ("width", "n_dies"),
    [(1, 4096), (2048, 4096), (2049, 4094), (8192, 1024), (66_000, 127), (2**24, 1)],
)
def test_a_wider_model_takes_fewer_dies(width: int, n_dies: int) -> None:
    assert dies_per_block(width) == n_dies <= BLOCK


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many dies the engine is asked for, call by call."""
    sizes: list[int] = []
    real = {name: getattr(ReferenceEngine, name) for name in ("score", "reconstruct", "latent")}

    def record(name: str):
        def method(self, values, rows):
            sizes.append(len(values))
            return np.resize(real[name](self, values[:1], None), (len(values), *SHAPES[name]))

        return method

    for name in real:
        monkeypatch.setattr(ReferenceEngine, name, record(name))
    return sizes


SHAPES: dict[str, tuple[int, ...]] = {"score": (), "reconstruct": (6,), "latent": (5000,)}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    """Six tests, and a layer of 5,000 between."""
    model = seal_up(tiny_network(widths=(6, 5000, 6)), precisions=("int8",))
    return open_scorer(parse_model(encode(model), "wide.kgd"), engine="reference")


@pytest.mark.parametrize("method", ["score", "reconstruct", "encode"])
def test_the_widest_layer_counts(scorer: Scorer, given: list[int], method: str) -> None:
    values = np.zeros((3000, 6), np.float32)
    assert len(getattr(scorer, method)(values)) == 3000
    assert given == [2**23 // 5000, 3000 - 2**23 // 5000]
