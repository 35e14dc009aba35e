"""A small autoencoder that has learnt its dies, for every test of the export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from correlated_dies import N_FACTORS, N_TESTS, correlated
from torch import nn

from knowngood._network import Scaler
from knowngood_export._foreign import Request, trained_from_module


@pytest.fixture(scope="session")
def autoencoder():
    """A torch autoencoder that has learnt its dies, on standardised tests."""
    torch.manual_seed(0)
    x = torch.from_numpy(correlated(1000, 1))
    mean, std = x.mean(0), x.std(0)
    u = (x - mean) / std
    module = nn.Sequential(
        nn.Linear(N_TESTS, 16), nn.ReLU(), nn.Linear(16, N_FACTORS),
        nn.Linear(N_FACTORS, 16), nn.ReLU(), nn.Linear(16, N_TESTS),
    )  # fmt: skip
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(300):
        loss = (module(u) - u).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scaler = Scaler(
        np.array([-1], np.int32), mean.double().numpy()[None], 1 / std.double().numpy()[None]
    )
    return module.eval(), scaler


@pytest.fixture(scope="session")
def good():
    return correlated(2400, 2)


@pytest.fixture(scope="session")
def trained(autoencoder, good):
    module, scaler = autoencoder
    return trained_from_module(module, good, None, Request(None, scaler, "topk", 5, 0.02))
