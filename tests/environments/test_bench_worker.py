"""The benchmark's contestant in an environment of its own: right scores."""

from __future__ import annotations

import pytest
from numpy.testing import assert_allclose

from benchmarks._tflite_runtime import TfliteRuntime
from knowngood._forward import forward
from knowngood_export.tflite_writer import network_to_tflite
from random_networks import make_dies, make_manifest, make_network

pytestmark = pytest.mark.environment


def test_tflite_runtime_scores_in_its_own_process(old_tflite, tmp_path):
    network = make_network((40, 24, 8, 24, 40))
    path = tmp_path / "model.tflite"
    path.write_bytes(network_to_tflite(network, make_manifest(network)))
    worker = TfliteRuntime(path)
    try:
        assert (worker.name, worker.version) == ("tflite-runtime fp32", "2.14.0")
        assert worker.thresholds == {0.005: 2.0}
        values, _ = make_dies(network, 50)
        assert_allclose(worker.score(values), forward(network, values).scores, rtol=5e-6)
    finally:
        worker.close()


def test_a_worker_that_cannot_start_says_so(old_tflite, tmp_path, monkeypatch):
    network = make_network((40, 24, 8, 24, 40))
    path = tmp_path / "model.tflite"
    path.write_bytes(network_to_tflite(network, make_manifest(network)))
    monkeypatch.setattr("benchmarks._tflite_runtime.WORKER", tmp_path / "nowhere.py")
    with pytest.raises(RuntimeError, match="tflite-runtime fp32: the worker ended, code 2"):
        TfliteRuntime(path)
