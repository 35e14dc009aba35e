"""int8-full and int16x8 files score on tflite-runtime 2.14 as they do on LiteRT."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scores_in_environment import scores_of

from knowngood._forward import forward
from knowngood_export.tflite_full_int8 import network_to_full_int8
from knowngood_export.tflite_writer import network_to_tflite_int16x8
from knowngood_quantize.int8 import Int8Recipe, quantize
from knowngood_quantize.static_ranges import with_static_ranges
from random_networks import make_dies, make_manifest, make_network

pytestmark = pytest.mark.environment
WIDTHS = (64, 32, 12, 32, 64)
ACTIVATIONS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh", "elu")
WIDEST = 700
"""Inputs that an int32 sum of int16 cannot hold: the layer is written with an int64 bias."""


def write_models(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Every form of some networks and their dies; returns float64 scores by case."""
    expected: dict[str, NDArray[np.float32]] = {}
    dies: dict[str, NDArray] = {}
    for index, activation in enumerate(ACTIVATIONS):
        for per_channel in (True, False):
            case = f"{activation}_{per_channel}"
            widths = (WIDEST, 5, WIDEST) if activation == "linear" else WIDTHS
            network = make_network(
                widths, activation=activation, n_groups=1 + 2 * (index % 2), seed=index
            )
            values, group = make_dies(network, 100, seed=index)
            values[7], values[8, 3] = np.nan, np.inf
            good = values[9:]
            quantized = quantize(network, good, group[9:], Int8Recipe(per_channel=per_channel))
            ranged = with_static_ranges(quantized, good, group[9:])
            data = network_to_tflite_int16x8(ranged, make_manifest(network, "int16x8"))
            (folder / f"{case}.int16x8.tflite").write_bytes(data)
            if activation != "elu":
                data = network_to_full_int8(ranged, make_manifest(network, "int8-full"))
                (folder / f"{case}.int8-full.tflite").write_bytes(data)
            dies |= {f"{case}_values": values, f"{case}_group": group}
            expected[case] = forward(network, values, group).scores
    np.savez(folder / "dies.npz", **dies)
    return expected


@pytest.fixture(scope="module")
def scores(old_tflite, tmp_path_factory):
    """Scores on the old runtime, on the current one, and in float64."""
    folder = tmp_path_factory.mktemp("integers")
    expected = write_models(folder)
    old = scores_of(old_tflite, "tflite", folder)
    new = scores_of(Path(sys.executable), "litert", folder)
    assert str(old.pop("version")) == "2.14.0"
    assert str(new.pop("version")) != "2.14.0"
    return old, new, expected


@pytest.mark.parametrize(
    ("form", "n_files", "between", "from_float"),
    [("int16x8", 12, 1e-3, 0.05), ("int8-full", 10, 0.02, 0.15)],
)
def test_tflite_runtime_2_14(scores, form, n_files, between, from_float):
    old, new, expected = scores
    names = [name for name in new if name.endswith(f".{form}.tflite")]
    assert len(names) == n_files
    for name in names:
        plain = expected[name.split(".")[0]]
        assert np.isnan(plain).sum() >= 2
        np.testing.assert_array_equal(np.isnan(old[name]), np.isnan(plain), name)
        np.testing.assert_array_equal(np.isnan(new[name]), np.isnan(plain), name)
        # kernels differ in how they round ties, which moves a score by a step of one layer
        difference = np.abs(old[name] - new[name]) / new[name]
        assert np.nanmedian(difference) < between, name
        assert np.nanmax(difference) < 20 * between, name
        assert np.nanmedian(np.abs(old[name] - plain) / plain) < from_float, name
        np.testing.assert_array_equal(old[f"{name} alone"], old[name][:1], name)
