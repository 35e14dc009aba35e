"""The yardstick on tightly correlated lots of 512 tests: what the default head must find."""

from __future__ import annotations

import numpy as np
import pytest

from knowngood_export import synthetic
from knowngood_export.train_lots import LotTrainingConfig, train_on_lots
from knowngood_quantize.yardstick import detection_at

DEFECTS = ("single_test", "block_shift", "broken_correlation")


@pytest.mark.slow
def test_the_default_head_finds_85_percent_of_injected_defects_at_2_percent_yield_loss() -> None:
    process = synthetic.process(512, "tight", seed=31)
    lots = [
        synthetic.make_lot(process, n_wafers=2, dies_per_wafer=500, lot=f"L{i}", seed=31)
        for i in range(6)
    ]
    model = train_on_lots(lots, config=LotTrainingConfig(n_folds=0))
    assert model.network.widths == (512, 256, 128, 32, 128, 256, 512)

    def found(detector: str) -> list[float]:
        return [detection_at(model.evaluation, detector, defect, 0.02) for defect in DEFECTS]

    assert np.mean(found("autoencoder")) >= 0.85
    assert np.mean(found("t2")) > 0.8  # the baselines are no strawmen
    assert found("pat")[2] < 0.04  # it sees broken correlation only by chance
