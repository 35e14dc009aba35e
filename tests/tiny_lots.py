"""A small lot that fits ``tiny_models``: two sites, one tester fail, dies of every fate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from knowngood._lot import NO_BIN, NO_COORDINATE, Dies, Lot, LotFacts
from knowngood._network import Network


def tiny_lot(network: Network, n_dies: int = 40, *, lot: str = "L1", seed: int = 5) -> Lot:
    """Good dies around the scaler's centre, but: 0 fails at the tester, 1 is far out in T3, 2 has
    no data, 3 an infinity, 4 no coordinates and bins, and of 5 the tester did not say.
    """
    rng = np.random.default_rng(seed)
    scaler, schema = network.screen.scaler, network.screen.schema
    z = rng.normal(0, 0.3, size=(n_dies, schema.n_tests))
    values = (scaler.centre[0] + z / scaler.inv_scale[0]).astype(np.float32)
    values[1, 3] += 90 / scaler.inv_scale[0, 3]
    values[2] = np.nan
    values[3, 0] = np.inf
    return Lot(values, schema, _dies(n_dies, lot), LotFacts(source=f"{lot}.stdf", kind="stdf"))


def _dies(n_dies: int, lot: str) -> Dies:
    number = np.arange(n_dies, dtype=np.int32)
    dies = replace(
        Dies.anonymous(n_dies, lot=lot, tester_pass=1),
        wafer=np.full(n_dies, "W1", dtype=object),
        x=number % 7,
        y=number // 7,
        site=number % 2,
        hard_bin=np.ones(n_dies, dtype=np.int32),
        soft_bin=np.ones(n_dies, dtype=np.int32),
    )
    dies.tester_pass[0], dies.tester_pass[5] = 0, -1
    dies.x[4] = dies.y[4] = NO_COORDINATE
    dies.hard_bin[4] = dies.soft_bin[4] = NO_BIN
    return dies
