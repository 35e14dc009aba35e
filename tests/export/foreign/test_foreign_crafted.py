"""Small ONNX and TFLite files made to read other files, or to fill the memory."""

from __future__ import annotations

import hashlib
import tracemalloc

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper
from onnx_files import chain_of, onnx_bytes, save_external
from tflite_files import fully_connected, tflite_bytes

from knowngood._errors import ModelFileError
from knowngood_export._tflite_file import Quantization
from knowngood_export.foreign import read_network

WEIGHTS = {"w": np.eye(3, dtype=np.float32), "b": np.float32([1, 2, 3])}
GEMM = ("Gemm", ["w", "b"], {})
MOST_MEMORY = 2**30


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "weights.bin").write_bytes(WEIGHTS["w"].tobytes())
    return tmp_path / "inside"


def model_of(nodes, constants=WEIGHTS, width=3):
    data = onnx_bytes(nodes, constants, n_in=[width], n_out=[width])
    return onnx.load_model_from_string(data)


def refused(folder, model, message, name="model.onnx"):
    """The file is refused, and little memory is taken for it."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / name).write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=message):
        read_network(folder / name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST_MEMORY


def to_file(tensor, location, **place):
    """Let a tensor's values lie in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **place}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "ABSOLUTE", "link.bin", "", "C:\\w", "a\0b"]
)
def test_weights_outside_the_folder_are_not_read(folder, location):
    (folder / "link.bin").symlink_to(folder.parent / "weights.bin")
    model = model_of(chain_of([GEMM]))
    absolute = str(folder.parent / "weights.bin")
    to_file(model.graph.initializer[0], absolute if location == "ABSOLUTE" else location)
    refused(folder, model, "outside its own folder|no name of a file")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"length": 99}, r"weights\.bin, which must be whole: it has 36 bytes, expected 99"),
        ({"offset": -4}, r"weights\.bin, which must be whole"),
        ({"offset": "four"}, r"weights\.bin is damaged"),
    ],
)
def test_weights_that_are_not_all_there_are_refused(folder, place, message):
    (folder / "weights.bin").write_bytes(WEIGHTS["w"].tobytes())
    model = model_of(chain_of([GEMM]))
    to_file(model.graph.initializer[0], "weights.bin", **place)
    refused(folder, model, message)


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin"])
def test_a_constant_in_another_file_is_refused(folder, monkeypatch, location):
    """Also where the file lies in the working directory, whence onnx would take it."""
    (folder / "weights.bin").write_bytes(WEIGHTS["w"].tobytes())
    monkeypatch.chdir(folder)
    nodes = [helper.make_node("Constant", [], ["w"], "c", value=helper.make_tensor(
        "w", onnx.TensorProto.FLOAT, [3, 3], WEIGHTS["w"].tobytes(), raw=True)),
        *chain_of([GEMM])]  # fmt: skip
    model = model_of(nodes, {"b": WEIGHTS["b"]})
    to_file(model.graph.node[0].attribute[0].t, location)
    refused(folder, model, r"Constant \('c'\) takes its values from another file")


def test_files_beside_are_named_with_their_digests(folder):
    data = model_of(chain_of([GEMM])).SerializeToString()
    save_external(folder / "model.onnx", data, "model.bin")
    network = read_network(folder / "model.onnx")
    digest = hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest()
    assert network.files_beside == (("model.bin", digest),)
    assert network.digests() == f"sha256 {network.sha256}; model.bin sha256 {digest}"


def test_very_many_nodes_are_refused(folder):
    refused(folder, model_of(chain_of([GEMM, *[("Identity", [], {})] * 10_000])), "10,001 operat")


def test_a_weight_shared_by_very_many_nodes_is_refused(folder):
    wide = {"w": np.eye(300, dtype=np.float32)}
    casts = [
        helper.make_node("Cast", ["w"], [f"w{i}"], to=onnx.TensorProto.DOUBLE) for i in range(900)
    ]
    dense = chain_of([("MatMul", [f"w{i}"], {}) for i in range(900)])
    refused(folder, model_of([*casts, *dense], wide, 300), "larger than the size of the file")
    dense = chain_of([("MatMul", ["w"], {})] * 900)
    refused(folder, model_of(dense, wide, 300), "larger than the size of the file")


def test_a_number_spread_over_very_many_tests_again_and_again_is_refused(folder):
    operators = [("Mul", ["b"], {})] * 200
    model = model_of(chain_of(operators), {"b": np.ones(1, np.float32)}, 2**20)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="larger than the size of the file"):
        read_network(folder / "model.onnx")


def test_activations_that_each_need_a_square_of_weights_are_refused(folder):
    refused(folder, model_of(chain_of([("Tanh", [], {})] * 3), {}, 16_000), "16,000 values alone")


COLUMN, ROW = np.ones((20_000, 1), np.float32), np.ones((1, 20_000), np.float32)


@pytest.mark.parametrize(
    "operators",
    [
        [("QLinearMatMul", ["s", "z", "column", "row", "row", "s", "z"], {})],
        [("QGemm", ["s", "z", "column", "row", "row"], {})],
        [("BatchNormalization", ["column", "row", "row", "row"], {})],
    ],
)
def test_constants_that_grow_by_each_other_are_refused(folder, operators):
    constants = {"s": np.ones(1, np.float32), "z": np.zeros(1, np.uint8)}
    constants |= {"column": COLUMN, "row": ROW}
    refused(folder, model_of(chain_of(operators), constants, 20_000), "shape")


def test_a_dequantised_constant_that_grows_by_its_zero_point_is_refused(folder):
    names = ["column", "scale", "row"]
    nodes = [helper.make_node("DequantizeLinear", names, ["w"]), *chain_of([GEMM])]
    constants = {"column": COLUMN.astype(np.int8), "scale": np.ones(1, np.float32)}
    constants |= {"row": np.zeros(20_000, np.int8), "b": WEIGHTS["b"]}
    refused(folder, model_of(nodes, constants), "DequantizeLinear .* has constants of shape")


def tflite_of(weight, name="w"):
    dense = ("FULLY_CONNECTED", ["x", name], "y", [3], fully_connected())
    return tflite_bytes([dense], {name: weight}, n_in=[3], n_out=[3])


def same_graph_again(data, n_graphs):
    """A model whose graphs are all one and the same table: 4 bytes each."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    builder = flatbuffers.Builder()
    graph = model.subgraphs[0].Pack(builder)
    schema.ModelStartSubgraphsVector(builder, n_graphs)
    for _ in range(n_graphs):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_graphs_that_are_one_and_the_same_are_counted(folder):
    data = same_graph_again(tflite_of(WEIGHTS["w"]), 5_000)
    refused(folder, data, "operators or tensors, at most 10,000", "model.tflite")


def test_a_long_name_shared_by_many_tensors_is_refused(folder):
    data = same_graph_again(tflite_of(WEIGHTS["w"], "w" * 2**20), 1_500)
    refused(folder, data, "names of its tensors are longer than the file", "model.tflite")


def test_quantised_weights_that_grow_by_their_scales_are_refused(folder):
    scales = Quantization(np.ones(20_000, np.float32))
    data = tflite_of((np.ones((1, 20_000), np.int8), scales))
    refused(folder, data, "a quantised constant has constants of shape", "model.tflite")
