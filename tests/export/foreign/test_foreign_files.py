"""Files that other people published: MLPerf Tiny's ad01, and autoencoders found on GitHub.

Expected values are what the file's own runtime gives, or what its makers published.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest

import knowngood
from knowngood._commands import main
from knowngood._errors import ModelFileError
from knowngood_export._import import import_model
from knowngood_export.export import seal_file
from knowngood_export.foreign import read_network, run_in_own_runtime

CLIP = "normal_id_01_00000000"
TFLITE_SCORE = 9.7071
"""Of the reference clip, by MLPerf Tiny's fp32 TFLite file."""


@pytest.fixture(scope="module")
def mlperf(shared_data):
    return shared_data / "models_mlperf_tiny"


@pytest.fixture(scope="module")
def others(shared_data):
    return shared_data / "models_foreign"


@pytest.fixture(scope="module")
def windows(mlperf):
    """The reference clip: 196 windows of 5 frames of 128 log-mel values."""
    frames = np.fromfile(mlperf / f"{CLIP}_hist_librosa.bin", np.float32).reshape(200, 128)
    return np.stack([frames[i : i + 5].ravel() for i in range(196)])


@pytest.fixture(scope="module")
def sealed(mlperf, windows, tmp_path_factory):
    """Mean native score of the clip by precision, for a file of MLPerf Tiny."""
    folder = tmp_path_factory.mktemp("ad01")

    def score(name):
        path = folder / "ad01.kgd"
        seal_file(import_model(mlperf / name, windows), path)
        scorers = (
            knowngood.load(path, precision=p, fpr=0.05, extrapolate=True) for p in ("fp32", "int8")
        )
        return [float(s.score(windows).scores.astype(np.float64).mean()) for s in scorers]

    return score


def published(mlperf, prefix):
    """The score that MLPerf Tiny published for the clip."""
    name = mlperf / "published_scores" / f"{prefix}anomaly_score_ToyCar_id_01.csv"
    with open(name, newline="") as stream:
        return next(float(score) for clip, score in csv.reader(stream) if CLIP in clip)


def test_ad01_scores_the_clip_as_tflite_does(mlperf, windows, sealed):
    fp32, int8 = sealed("ad01_fp32.tflite")
    assert fp32 == pytest.approx(TFLITE_SCORE, abs=1e-4)
    assert fp32 == pytest.approx(published(mlperf, "tflite_"), abs=1e-4)
    own = run_in_own_runtime(read_network(mlperf / "ad01_fp32.tflite"), windows)
    assert fp32 == pytest.approx(float(np.square(windows - own).mean(dtype=np.float64)), abs=1e-5)
    assert int8 == pytest.approx(fp32, rel=1e-3)


def test_ad01_in_keras_scores_the_clip_as_keras_did(mlperf, sealed):
    fp32, int8 = sealed("ad01.h5")
    assert fp32 == pytest.approx(published(mlperf, ""), abs=1e-4)
    assert int8 == pytest.approx(fp32, rel=2e-3)


def test_ad01_in_int8_is_dequantised(mlperf, windows, apply_layers):
    network = read_network(mlperf / "ad01_int8.tflite")
    assert network.is_quantized
    assert len(network.layers) == 10
    own = run_in_own_runtime(network, windows)
    of_file = float(np.square(windows - own).mean(dtype=np.float64))
    assert of_file == pytest.approx(10.2652, abs=1e-3)  # 5.7 % above the fp32 file
    of_layers = float(np.square(windows - apply_layers(network, windows)).mean())
    assert of_layers == pytest.approx(of_file, rel=0.01)


@pytest.mark.parametrize(
    ("name", "is_quantized"),
    [
        ("model_ToyCar.hdf5", False),
        ("model_ToyCar.tflite", False),
        ("model_ToyCar_quant.tflite", True),
        ("model_ToyCar_quant_fullint.tflite", True),
        ("model_ToyCar_quant_fullint_micro.tflite", True),
        ("model_ToyCar_quant_fullint_micro_intio.tflite", True),
    ],
)
def test_every_variant_has_the_same_layers(mlperf, name, is_quantized):
    network = read_network(mlperf / "ToyCar_tf23" / name)
    plain = read_network(mlperf / ("ad01.h5" if name.endswith("5") else "ad01_fp32.tflite"))
    assert network.is_quantized == is_quantized
    for layer, expected in zip(network.layers, plain.layers, strict=True):
        assert layer.activation == expected.activation
        step = np.abs(expected.weight).max() / 127 if is_quantized else 1e-6
        assert np.abs(layer.weight - expected.weight).max() <= step


@pytest.mark.parametrize(
    "name",
    [
        "HenrikCMF/autoencoder.tflite",
        "renanbazinin/autoencoder.onnx",
        "sehtasham_edge-ai-inference/autoencoder.onnx",
        "stanlytw_ML_AD_IMU/autoencoder.tflite",
    ],
)
def test_published_autoencoders_give_what_their_runtime_gives(others, apply_layers, name):
    network = read_network(others / name)
    x = np.random.default_rng(0).random((40, network.n_tests), dtype=np.float32)
    own = run_in_own_runtime(network, x)
    largest = float(np.abs(own).max())
    assert np.abs(apply_layers(network, x) - own).max() <= 1e-5 * largest


def test_a_model_in_keras_and_in_tflite_has_the_same_layers(others):
    keras = read_network(others / "HenrikCMF" / "autoencoder.h5")
    tflite = read_network(others / "HenrikCMF" / "autoencoder.tflite")
    for one, other in zip(keras.layers, tflite.layers, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(one.bias, other.bias)
        assert one.activation == other.activation


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Tommy840602/autoencoder.onnx", "operators Conv, MaxPool, ConvTranspose are not"),
        ("SMJI18_AcoustiGuard-anomaly-det/autoencoder.onnx", r"autoencoder\.onnx\.data, which"),
        ("hess125/autoencoder.tflite", "FlexTensorListReserve, .*WHILE"),
        ("hess125/autoencoder.h5", "Bidirectional of LSTM"),
        ("HenrikCMF/MLP_binary.tflite", "not an autoencoder: 50 values in, 1 out"),
        ("stanlytw_ML_AD_IMU/dnn.tflite", "not an autoencoder: 16 values in, 2 out"),
    ],
)
def test_others_are_refused_by_what_they_are(others, tmp_path, capsys, name, message):
    with pytest.raises(ModelFileError, match=message):
        read_network(others / name)
    good = tmp_path / "good.npy"
    np.save(good, np.zeros((100, 50), np.float32))
    output = tmp_path / "model.kgd"
    assert main(["import", str(others / name), "--good", str(good), "-o", str(output)]) == 3
    assert "cannot be imported" in capsys.readouterr().err
    assert not output.exists()
