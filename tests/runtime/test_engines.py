"""Engines against the NumPy oracle, on files whose graphs follow the contract."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import pytest

from knowngood._errors import MissingExtraError, ModelFileError, UsageError
from knowngood._forward import forward
from knowngood._model_file import ModelFile, parse_model
from knowngood._network import POOLED_GROUP, Network
from knowngood._seal import MARKER, UNSEALED, seal
from knowngood.engines import Engine, engines_for, open_engine
from tiny_models import tiny_manifest, tiny_network, tiny_onnx

GROUPS = (POOLED_GROUP, 256, 257)


def as_model(kind: str, network: Network) -> ModelFile:
    if kind == "onnx":
        return parse_model(tiny_onnx(network), "tiny.onnx")
    writer = pytest.importorskip("knowngood_export.tflite_writer")
    pytest.importorskip("ai_edge_litert")
    data = writer.network_to_tflite(network, tiny_manifest(network))
    return parse_model(data, "tiny.tflite")


def some_dies(network: Network, n_dies: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scaler = network.screen.scaler
    z = rng.normal(size=(n_dies, network.screen.schema.n_tests))
    values = (scaler.centre[0] + z / scaler.inv_scale[0]).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("head", ["topk", "mse", "normalized"])
@pytest.mark.parametrize("groups", [(POOLED_GROUP,), GROUPS])
def test_scores_and_reconstruction_are_the_oracles(kind, head, groups):
    network = tiny_network(head=head, groups=groups)
    engine = open_engine(as_model(kind, network))
    values = some_dies(network, 50)
    group = np.array([256, 257, 9] * 17, dtype=np.int32)[:50]
    rows = network.screen.scaler.rows(group, 50)
    oracle = forward(network, values, group)
    given_rows = rows if len(groups) > 1 else None
    np.testing.assert_allclose(engine.score(values, given_rows), oracle.scores, rtol=2e-6)
    np.testing.assert_allclose(
        engine.reconstruct(values, given_rows), oracle.reconstruction, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_batch_sizes_may_change_from_call_to_call(kind):
    network = tiny_network()
    engine = open_engine(as_model(kind, network))
    values = some_dies(network, 64)
    expected = forward(network, values).scores
    for n_dies in (1, 64, 2, 2, 33, 1):
        scores = engine.score(values[:n_dies], None)
        assert scores.shape == (n_dies,)
        np.testing.assert_allclose(scores, expected[:n_dies], rtol=2e-6)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_returned_scores_survive_the_next_call(kind):
    network = tiny_network()
    engine = open_engine(as_model(kind, network))
    values = some_dies(network, 8)
    first = engine.score(values[:4], None)
    kept = first.copy()
    engine.score(values[4:], None)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_eight_threads_on_one_engine(kind):
    network = tiny_network()
    engine = open_engine(as_model(kind, network))
    values = some_dies(network, 64)
    expected = forward(network, values).scores
    wrong: list[str] = []

    def work(offset: int) -> None:
        for i in range(60):
            n_dies = 1 + (offset + i) % 5
            rows = slice(offset, offset + n_dies)
            if not np.allclose(engine.score(values[rows], None), expected[rows], equal_nan=True):
                wrong.append(f"{offset} {i}")

    threads = [threading.Thread(target=work, args=(7 * t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_names_versions_and_protocol():
    import onnxruntime

    engine: Engine = open_engine(as_model("onnx", tiny_network()))
    assert (engine.name, engine.version) == ("onnxruntime", onnxruntime.__version__)
    assert engines_for("tflite") == ("litert", "tflite")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("native", r"does not run \.onnx"),
        ("reference", r"does not run \.onnx"),
        ("litert", r"does not run \.onnx"),
        ("openvino", "no engine 'openvino'"),
    ],
)
def test_unsuitable_engines_are_refused(name, says):
    with pytest.raises(UsageError, match=says) as caught:
        open_engine(as_model("onnx", tiny_network()), name)
    assert "'onnxruntime'" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "module", "extra"),
    [
        ("onnx", "onnxruntime", "onnxruntime", "onnxruntime"),
        ("tflite", "litert", "ai_edge_litert.interpreter", "litert"),
        ("tflite", "tflite", "tflite_runtime.interpreter", "tflite"),
    ],
)
def test_a_missing_package_names_its_extra(monkeypatch, kind, name, module, extra):
    model = as_model(kind, tiny_network())
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'knowngood\[{extra}\]'"):
        open_engine(model, name)


def test_tflite_runtime_is_not_started_under_numpy_2(monkeypatch):
    import sys
    from types import ModuleType

    model = as_model("tflite", tiny_network())
    package, module = ModuleType("tflite_runtime"), ModuleType("tflite_runtime.interpreter")
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(MissingExtraError, match=r"numpy<2.*'litert'"):
        open_engine(model, "tflite")


def test_the_first_installed_engine_is_taken(monkeypatch):
    import knowngood.engines as engines

    model = as_model("tflite", tiny_network())
    assert open_engine(model).name == "litert"
    monkeypatch.setattr(engines, "find_spec", lambda name: name == "tflite_runtime" or None)
    monkeypatch.setitem(__import__("sys").modules, "tflite_runtime.interpreter", None)
    with pytest.raises(MissingExtraError, match="engine 'tflite'"):
        open_engine(model)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert open_engine(model).name == "litert"


def with_graph_change(change) -> ModelFile:
    network = tiny_network()
    model = onnx.load_from_string(tiny_onnx(network))
    change(model.graph)
    for prop in model.metadata_props:
        if prop.key == "knowngood.sha256":
            prop.value = UNSEALED
    assert MARKER.decode() in UNSEALED
    return parse_model(seal(model.SerializeToString()), "changed.onnx")


def test_a_graph_without_reconstruction_is_refused():
    def drop(graph):
        kept = [o for o in graph.output if o.name != "reconstruction"]
        del graph.output[:]
        graph.output.extend(kept)

    with pytest.raises(ModelFileError, match=r"changed\.onnx: the graph's outputs are"):
        open_engine(with_graph_change(drop))


def test_a_graph_of_another_width_is_refused():
    def widen(graph):
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7

    with pytest.raises(ModelFileError, match=r"refuses the graph|inputs are"):
        open_engine(with_graph_change(widen))


def test_an_unknown_operator_is_refused():
    def rename(graph):
        graph.node[0].op_type = "NotAnOperator"

    with pytest.raises(ModelFileError, match=r"changed\.onnx: ONNX Runtime refuses the graph"):
        open_engine(with_graph_change(rename))
