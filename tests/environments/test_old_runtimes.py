"""The same files score the same on the oldest runtimes that are supported."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scores_in_environment import scores_of

from knowngood._forward import forward
from knowngood._network import Network
from knowngood_export.onnx_writer import network_to_onnx
from knowngood_export.tflite_writer import network_to_tflite
from random_networks import ACTIVATIONS, make_dies, make_manifest, make_network, quantize_roughly

pytestmark = pytest.mark.environment
WIDTHS = (40, 24, 8, 24, 40)
HEADS = ("topk", "mse", "normalized", "mahalanobis")


@dataclass(frozen=True)
class Case:
    """One network and the dies it scores."""

    name: str
    network: Network
    values: NDArray[np.float32]
    group: NDArray[np.int32]


def make_cases() -> list[Case]:
    cases = []
    for index, (activation, head) in enumerate(product(ACTIVATIONS, HEADS)):
        network = make_network(
            WIDTHS,
            activation=activation,
            head=head,
            n_groups=1 + 2 * (index % 2),
            centre_over_sigma=(3.0, 1e6)[index // 2 % 2],
            seed=index,
        )
        values, group = make_dies(network, 100, missing=0.1 * (index % 3 > 0), seed=index)
        values[7], values[8, 3] = np.nan, np.inf
        cases.append(Case(f"{activation}_{head}", network, values, group))
    return cases


def score_everywhere(folder: Path, suffix: str, old_python: Path, engines: tuple[str, str]):
    """Scores by file name, on the old runtime and on the current one."""
    write = network_to_onnx if suffix == "onnx" else network_to_tflite
    dies = {}
    for case in make_cases():
        network = case.network
        u = forward(network, case.values, case.group).standardised
        quantized = quantize_roughly(network, np.where(np.isfinite(u), u, 0))
        manifest = make_manifest(network)
        (folder / f"{case.name}.{suffix}").write_bytes(write(network, manifest))
        (folder / f"{case.name}.int8.{suffix}").write_bytes(write(quantized, manifest))
        dies |= {f"{case.name}_values": case.values, f"{case.name}_group": case.group}
    np.savez(folder / "dies.npz", **dies)
    scores = []
    for python, engine in ((old_python, engines[0]), (Path(sys.executable), engines[1])):
        scores.append(scores_of(python, engine, folder))
    return scores


def check(old: dict[str, NDArray], new: dict[str, NDArray], suffix: str, version: str) -> None:
    assert str(old["version"]) == version
    assert str(new["version"]) != version
    for case in make_cases():
        expected = forward(case.network, case.values, case.group).scores
        assert np.isnan(expected).sum() >= 2
        name = f"{case.name}.{suffix}"
        for scores in (old, new):
            np.testing.assert_allclose(scores[name], expected, rtol=5e-6, err_msg=name)
            np.testing.assert_allclose(scores[f"{name} alone"], expected[:1], rtol=5e-6)
        check_int8(old, new, expected, f"{case.name}.int8.{suffix}")


def check_int8(
    old: dict[str, NDArray], new: dict[str, NDArray], expected: NDArray, name: str
) -> None:
    difference = np.abs(old[name] - new[name]) / new[name]
    # kernels differ in how they round ties, which moves a score by a step of one layer
    assert np.nanmedian(difference) < 2e-3, name
    assert np.nanmax(difference) < 0.05, name
    np.testing.assert_array_equal(np.isnan(old[name]), np.isnan(expected), name)
    assert np.nanmedian(np.abs(old[name] - expected) / expected) < 0.05, name
    alone = np.abs(old[f"{name} alone"] - old[name][:1])
    assert not (alone > 2e-5 * old[name][:1]).any(), name


def test_onnxruntime_1_16_3(old_onnxruntime, tmp_path):
    engines = ("onnxruntime", "onnxruntime")
    old, new = score_everywhere(tmp_path, "onnx", old_onnxruntime, engines)
    check(old, new, "onnx", "1.16.3")


def test_tflite_runtime_2_14(old_tflite, tmp_path):
    old, new = score_everywhere(tmp_path, "tflite", old_tflite, ("tflite", "litert"))
    check(old, new, "tflite", "2.14.0")
