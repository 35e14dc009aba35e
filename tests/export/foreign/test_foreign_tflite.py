"""TFLite files read as layers, against LiteRT."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tflite_files import fully_connected, in_int8, options_of, tflite_bytes

from knowngood._errors import ModelFileError
from knowngood_export._tflite_file import Quantization
from knowngood_export.foreign import read_network, run_in_own_runtime

FUSED = schema.ActivationFunctionType
ALONE = ["RELU", "LOGISTIC", "TANH", "ELU", "LEAKY_RELU"]


def normal(rng, *shape):
    return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tflite")


def read(folder, data):
    path = folder / "model.tflite"
    path.write_bytes(data)
    return read_network(path)


@st.composite
def random_networks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_tests = draw(st.integers(1, 9))
    hidden = draw(st.lists(st.integers(1, 9), max_size=3))
    constants, operators, current = {}, [], "x"
    for index, (n_in, n_out) in enumerate(pairwise([n_tests, *hidden, n_tests])):
        w, b, result = f"w{index}", f"b{index}", f"fc{index}"
        constants |= {w: normal(rng, n_out, n_in), b: normal(rng, n_out)}
        fused = draw(st.sampled_from([FUSED.NONE, FUSED.RELU]))
        operators.append(
            ("FULLY_CONNECTED", [current, w, b], result, [n_out], fully_connected(fused))
        )
        kind, current = draw(st.sampled_from(ALONE)), f"a{index}"
        slope = options_of("LeakyRelu", alpha=0.25) if kind == "LEAKY_RELU" else None
        operators.append((kind, [result], current, [n_out], slope))
    return tflite_bytes(operators, constants, n_in=[n_tests], n_out=[n_tests], outputs=[current])


@hypothesis_settings(deadline=None, max_examples=30)
@given(data=random_networks())
def test_random_networks_give_what_litert_gives(folder, assert_same_as_runtime, data):
    assert_same_as_runtime(read(folder, data))


def small(operators, constants=None, n_in=(3,), **options):
    rng = np.random.default_rng(1)
    constants = {"w": normal(rng, 3, 3), "b": normal(rng, 3), **(constants or {})}
    return tflite_bytes(operators, constants, n_in=n_in, n_out=[3], **options)


DENSE = ("FULLY_CONNECTED", ["x", "w", "b"], "y", [3], fully_connected())


def test_arithmetic_with_constants_is_folded(folder, assert_same_as_runtime):
    operators = [
        ("SUB", ["x", "mean"], "a", [3], options_of("Sub")),
        ("DIV", ["a", "sigma"], "c", [3], options_of("Div")),
        ("FULLY_CONNECTED", ["c", "w", "b"], "d", [3], fully_connected()),
        ("MUL", ["d", "sigma"], "e", [3], options_of("Mul")),
        ("ADD", ["mean", "e"], "f", [3], options_of("Add")),
        ("SUB", ["mean", "f"], "y", [3], options_of("Sub", fusedActivationFunction=FUSED.RELU)),
    ]
    constants = {"mean": np.float32([1, 2, 3]), "sigma": np.float32([2, 4, 8])}
    network = read(folder, small(operators, constants))
    assert len(network.layers) == 1
    assert_same_as_runtime(network)


def test_images_are_flattened(folder, assert_same_as_runtime):
    operators = [
        ("RESHAPE", ["x", "to"], "flat", [3], options_of("Reshape", newShape=[1, 3])),
        ("FULLY_CONNECTED", ["flat", "w", "b"], "y", [3], fully_connected()),
    ]
    network = read(folder, small(operators, {"to": np.int32([1, 3])}, n_in=(1, 3)))
    assert network.input_shape == (1, 3)
    assert_same_as_runtime(network)


def test_weights_in_float16_are_read(folder, assert_same_as_runtime):
    half = normal(np.random.default_rng(2), 3, 3).astype(np.float16)
    network = read(folder, _with_half_weights(half))
    assert not network.is_quantized
    np.testing.assert_array_equal(network.layers[0].weight, half.astype(np.float32))
    assert_same_as_runtime(network)


@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_in_int8_are_dequantised(folder, apply_layers, per_channel):
    exact = normal(np.random.default_rng(2), 3, 3)
    scales = [0.01, 0.02, 0.005] if per_channel else [0.01]
    steps, quantization = in_int8(exact, scales if per_channel else scales * 3)
    constants = {"q": (steps, Quantization(np.float32(scales)))}
    operators = [("FULLY_CONNECTED", ["x", "q", "b"], "y", [3], fully_connected())]
    network = read(folder, small(operators, constants))
    assert network.is_quantized
    expected = steps * np.resize(quantization.scale, 3)[:, None]
    np.testing.assert_allclose(network.layers[0].weight, expected, rtol=1e-6)
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    difference = np.abs(apply_layers(network, x) - run_in_own_runtime(network, x)).max()
    assert difference < 0.03  # LiteRT rounds each die's inputs to 8 bits here


@pytest.mark.parametrize("relu", ["fused", "in the zero point"])
def test_a_file_in_int8_throughout_is_dequantised(folder, apply_layers, relu):
    rng = np.random.default_rng(4)
    x_scale, v_scale, y_scale = 0.03, 0.015, 0.03
    first, second = normal(rng, 8, 6), normal(rng, 6, 8)
    constants = {
        "w0": in_int8(first, [0.012] * 8),
        "b0": (rng.integers(-900, 900, 8).astype(np.int32), one(x_scale * 0.012)),
        "w1": in_int8(second, [0.01] * 6),
        "b1": (rng.integers(-900, 900, 6).astype(np.int32), one(v_scale * 0.01)),
    }
    constants["w0"] = (constants["w0"][0], one(0.012))
    constants["w1"] = (constants["w1"][0], one(0.01))
    fused = FUSED.RELU if relu == "fused" else FUSED.NONE
    operators = [
        ("FULLY_CONNECTED", ["x", "w0", "b0"], "v", [8], fully_connected(fused)),
        ("FULLY_CONNECTED", ["v", "w1", "b1"], "y", [6], fully_connected()),
    ]
    kinds = {
        "x": ("int8", Quantization(np.float32([x_scale]), 5)),
        "v": ("int8", Quantization(np.float32([v_scale]), -128)),
        "y": ("int8", Quantization(np.float32([y_scale]), 3)),
    }
    network = read(folder, tflite_bytes(operators, constants, n_in=[6], n_out=[6], kinds=kinds))
    assert [layer.activation.kind for layer in network.layers] == ["relu", "linear"]
    x = rng.normal(size=(50, 6)).astype(np.float32)
    difference = apply_layers(network, x) - run_in_own_runtime(network, x)
    assert 1e-3 < np.abs(difference).max() < 0.1


def one(scale):
    return Quantization(np.float32([scale]))


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ([(*DENSE[:2], "v", [3], fully_connected()), ("SOFTMAX", ["v"], "y", [3], None)],
         "operator SOFTMAX is not supported"),
        ([(*DENSE[:4], fully_connected(FUSED.RELU6))], "FULLY_CONNECTED with RELU6"),
        ([(*DENSE[:4], fully_connected(weightsFormat=1))], "shuffled weights"),
        ([(*DENSE[:2], "v", [3], fully_connected()), ("ADD", ["v", "x"], "y", [3], None)],
         r"ADD does not take .* alone: branches, skips"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(folder, operators, message):
    with pytest.raises(ModelFileError, match=message):
        read(folder, small(operators))


def test_no_autoencoder_is_refused(folder):
    with pytest.raises(ModelFileError, match="not an autoencoder: 6 values in, 3 out"):
        read(folder, small([DENSE], {"w": np.ones((3, 6), np.float32)}, n_in=(6,)))


def test_several_outputs_are_refused(folder):
    operators = [(*DENSE[:2], "v", [3], fully_connected()), ("RELU", ["v"], "y", [3], None)]
    with pytest.raises(ModelFileError, match="2 outputs, expected one"):
        read(folder, small(operators, outputs=["y", "v"]))


def test_weights_that_are_not_finite_are_refused(folder):
    weight = np.eye(3, dtype=np.float32)
    weight[0, 1] = np.nan
    with pytest.raises(ModelFileError, match="weights of FULLY_CONNECTED are not finite"):
        read(folder, small([DENSE], {"w": weight}))


VALID = small([DENSE])


@hypothesis_settings(deadline=None, max_examples=150)
@given(changes=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=4),
       length=st.integers(0, len(VALID)))  # fmt: skip
def test_damaged_files_are_refused_or_read(folder, changes, length):
    data = bytearray(VALID)
    for place, value in changes:
        data[place] = value
    with suppress(ModelFileError):  # any other exception fails
        network = read(folder, bytes(data[:length]))
        assert all(np.isfinite(layer.weight).all() for layer in network.layers)


@hypothesis_settings(deadline=None, max_examples=50)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused(folder, data):
    for start in (b"", b"\x18\0\0\0TFL3"):
        with pytest.raises(ModelFileError):
            read(folder, start + data)


def _with_half_weights(half):
    """A file whose weights are float16 and made float32 in the graph, as converters write it."""
    operators = [
        ("DEQUANTIZE", ["h"], "w2", [3], None),
        ("FULLY_CONNECTED", ["x", "w2", "b"], "y", [3], fully_connected()),
    ]
    data = small(operators, {"h": half.view(np.int16)})
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    tensors = {t.name: t for t in model.subgraphs[0].tensors}
    tensors[b"h"].type = schema.TensorType.FLOAT16
    tensors[b"w2"].shape = np.int32([3, 3])
    return _packed(model)


def _packed(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
