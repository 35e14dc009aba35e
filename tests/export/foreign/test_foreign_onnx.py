"""ONNX files read as layers, against ONNX Runtime."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import helper
from onnx_files import chain_of, onnx_bytes, save_external
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from knowngood._errors import ModelFileError
from knowngood_export.foreign import read_network, run_in_own_runtime

ACTIVATIONS = {
    "Relu": [{}],
    "Sigmoid": [{}],
    "Tanh": [{}],
    "LeakyRelu": [{}, {"alpha": 0.3}],
    "Elu": [{}, {"alpha": 0.7}],
    "Identity": [{}],
    "Dropout": [{}],
}


def normal(rng, *shape):
    return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def dense_operators(rng, constants, index, n_in, n_out, form):
    """One dense layer, written in one of the ways exporters have."""
    w, b = f"w{index}", f"b{index}"
    constants[b] = normal(rng, n_out)
    if form == "gemm":
        constants[w] = normal(rng, n_out, n_in)
        return [("Gemm", [w, b], {"transB": 1, "alpha": 0.5, "beta": 2.0})]
    constants[w] = normal(rng, n_in, n_out)
    return [("MatMul", [w], {}), ("Add", [b], {})]


@st.composite
def random_networks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_tests = draw(st.integers(1, 9))
    hidden = draw(st.lists(st.integers(1, 9), min_size=0, max_size=3))
    widths, constants, operators = [n_tests, *hidden, n_tests], {}, []
    for index, (n_in, n_out) in enumerate(pairwise(widths)):
        form = draw(st.sampled_from(["gemm", "matmul"]))
        operators += dense_operators(rng, constants, index, n_in, n_out, form)
        if draw(st.booleans()):
            names = [f"{part}{index}" for part in ("gain", "shift", "mean", "variance")]
            constants |= {name: normal(rng, n_out) for name in names[:3]}
            constants[names[3]] = rng.uniform(0.3, 3, n_out).astype(np.float32)
            operators.append(("BatchNormalization", names, {"epsilon": 1e-3}))
        kind = draw(st.sampled_from(sorted(ACTIVATIONS)))
        operators.append((kind, [], draw(st.sampled_from(ACTIVATIONS[kind]))))
    return onnx_bytes(chain_of(operators), constants, n_in=[n_tests], n_out=[n_tests])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


def read(folder, data):
    path = folder / "model.onnx"
    path.write_bytes(data)
    return read_network(path)


@hypothesis_settings(deadline=None, max_examples=40)
@given(data=random_networks())
def test_random_networks_give_what_onnxruntime_gives(folder, assert_same_as_runtime, data):
    assert_same_as_runtime(read(folder, data))


def small(operators, constants=None, n_in=(3,), n_out=(3,), **options):
    rng = np.random.default_rng(1)
    constants = {"w": normal(rng, 3, 3), "b": normal(rng, 3), **(constants or {})}
    return onnx_bytes(chain_of(operators), constants, n_in=n_in, n_out=n_out, **options)


GEMM = ("Gemm", ["w", "b"], {})


def test_arithmetic_with_constants_is_folded(folder, assert_same_as_runtime):
    constants = {
        "mean": np.float32([1, 2, 3]),
        "sigma": np.float32([[2, 4, 8]]),
        "two": np.float32(2),
    }
    operators = [("Sub", ["mean"], {}), ("Div", ["sigma"], {}), GEMM, ("Mul", ["two"], {})]
    network = read(folder, small(operators, constants))
    assert len(network.layers) == 1
    assert_same_as_runtime(network)


def test_a_constant_on_the_left_is_folded(folder, assert_same_as_runtime):
    constants = {"c": np.float32([1, 2, 3])}
    nodes = [helper.make_node("Sub", ["c", "x"], ["v"]), *chain_of([GEMM])]
    nodes[1].input[0] = "v"
    rng = np.random.default_rng(0)
    constants |= {"w": normal(rng, 3, 3), "b": normal(rng, 3)}
    assert_same_as_runtime(read(folder, onnx_bytes(nodes, constants, n_in=[3], n_out=[3])))


@pytest.mark.parametrize("flatten", [("Flatten", [], {}), ("Reshape", ["to"], {})])
def test_images_are_flattened(folder, assert_same_as_runtime, flatten):
    constants = {"to": np.array([-1, 3]), "back": np.array([0, 3, 1])}
    operators = [flatten, GEMM, ("Relu", [], {}), ("Reshape", ["back"], {})]
    network = read(folder, small(operators, constants, n_in=(1, 3), n_out=(3, 1)))
    assert network.input_shape == (1, 3)
    assert_same_as_runtime(network)


def test_weights_are_dequantised_per_channel(folder, assert_same_as_runtime):
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w_t"], axis=0),
        helper.make_node("Transpose", ["w_t"], ["w"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    constants = {
        "q": rng.integers(-127, 128, (3, 3)).astype(np.int8),
        "s": np.float32([0.01, 0.02, 0.5]),
        "z": np.int8([0, 3, -5]),
    }
    network = read(folder, onnx_bytes(nodes, constants, n_in=[3], n_out=[3]))
    expected = (constants["q"].astype(float) - constants["z"][:, None]) * constants["s"][:, None]
    np.testing.assert_allclose(network.layers[0].weight, expected, rtol=1e-6)
    assert_same_as_runtime(network)


class Batches(CalibrationDataReader):
    def __init__(self, x):
        self.rows = iter([{"x": row[None]} for row in x])

    def get_next(self):
        return next(self.rows, None)


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_a_statically_quantised_file_is_dequantised(folder, apply_layers, form):
    rng = np.random.default_rng(3)
    constants = {"w0": normal(rng, 8, 12), "b0": normal(rng, 8), "w1": normal(rng, 12, 8)}
    operators = [("Gemm", ["w0", "b0"], {"transB": 1}), ("Relu", [], {}),
                 ("Gemm", ["w1"], {"transB": 1})]  # fmt: skip
    x = rng.normal(size=(60, 12)).astype(np.float32)
    path, made = folder / "float.onnx", folder / "int8.onnx"
    path.write_bytes(onnx_bytes(chain_of(operators), constants, n_in=[12], n_out=[12]))
    quantize_static(path, made, Batches(x), quant_format=form)
    network, original = read_network(made), read_network(path)
    assert network.is_quantized
    assert not original.is_quantized
    found, own = apply_layers(network, x), run_in_own_runtime(network, x)
    assert [layer.activation.kind for layer in network.layers] == ["relu", "linear"]
    assert 1e-4 < np.abs(found - own).max() < 0.1  # its own rounding between layers
    assert 1e-4 < np.abs(found - apply_layers(original, x)).max() < 0.1


def test_weights_in_a_file_beside_are_read(folder, assert_same_as_runtime):
    path = folder / "external.onnx"
    save_external(path, small([GEMM]), "external.bin")
    assert_same_as_runtime(read_network(path))
    (folder / "external.bin").unlink()
    with pytest.raises(ModelFileError, match=r"external\.bin.*must lie beside it"):
        read_network(path)


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ([GEMM, ("Softmax", [], {})], "operator Softmax is not supported"),
        ([GEMM, ("Clip", [], {}), ("Softmax", [], {})], "operators Clip, Softmax are not"),
        ([("Gemm", ["w", "b"], {"transA": 1})], "Gemm with transA"),
        ([("Identity", [], {})], "no layers that compute"),
        ([("Flatten", [], {"axis": 0}), GEMM], "Flatten from axis 0"),
        ([GEMM, ("Cast", [], {"to": 6}), ("Relu", [], {})], "Cast to INT32"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(folder, operators, message):
    with pytest.raises(ModelFileError, match=message):
        read(folder, small(operators))


def test_no_autoencoder_is_refused(folder):
    rng = np.random.default_rng(0)
    data = onnx_bytes(chain_of([("MatMul", ["w"], {})]), {"w": normal(rng, 6, 2)},
                      n_in=[6], n_out=[2])  # fmt: skip
    with pytest.raises(ModelFileError, match="not an autoencoder: 6 values in, 2 out"):
        read(folder, data)


def test_skips_are_refused(folder):
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["v"]),
        helper.make_node("Add", ["v", "x"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    constants = {"w": normal(rng, 3, 3), "b": normal(rng, 3)}
    with pytest.raises(ModelFileError, match=r"Add takes v, x.*skips"):
        read(folder, onnx_bytes(nodes, constants, n_in=[3], n_out=[3]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": [("x2", ["n", 3])]}, r"2 inputs \(x, x2\)"),
        ({"outputs": [("v0", ["n", 3])]}, "outputs are y, v0"),
    ],
)
def test_several_inputs_or_outputs_are_refused(folder, options, message):
    with pytest.raises(ModelFileError, match=message):
        read(folder, small([GEMM, ("Relu", [], {})], **options))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(folder, value):
    weight = np.eye(3, dtype=np.float32)
    weight[1, 2] = value
    with pytest.raises(ModelFileError, match=r"weights of Gemm \('node0'\) are not finite"):
        read(folder, small([GEMM], {"w": weight}))


def test_a_dense_layer_over_rows_of_a_die_is_refused(folder):
    with pytest.raises(ModelFileError, match="expected one row of 3 values a die"):
        read(folder, small([("MatMul", ["w"], {})], n_in=(5, 3), n_out=(5, 3)))


def test_an_activation_of_very_many_values_alone_is_refused(folder):
    data = small([("Sigmoid", [], {}), ("Tanh", [], {})], n_in=(500_000,), n_out=(500_000,))
    with pytest.raises(ModelFileError, match="500,000 values without a dense layer"):
        read(folder, data)


VALID = small([GEMM, ("Relu", [], {}), ("Add", ["b"], {})])


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
    with pytest.raises(ModelFileError):
        read(folder, data)
