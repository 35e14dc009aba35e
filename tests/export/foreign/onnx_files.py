"""ONNX graphs put together by hand."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper


def onnx_bytes(nodes, constants, *, n_in, n_out, inputs=None, outputs=None, domains=()):
    """A graph from "x" to "y"; constants by name; more inputs and outputs as (name, shape)."""
    inputs = [("x", ["n", *n_in]), *(inputs or [])]
    outputs = [("y", ["n", *n_out]), *(outputs or [])]
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return model.SerializeToString()


def chain_of(operators):
    """Nodes out of (operator, further inputs, attributes), from "x" to "y"."""
    nodes, current = [], "x"
    for index, (operator, further, attributes) in enumerate(operators):
        result = "y" if index == len(operators) - 1 else f"v{index}"
        domain = "com.microsoft" if operator == "QGemm" else ""
        nodes.append(
            helper.make_node(operator, [current, *further], [result], f"node{index}",
                             domain=domain, **attributes)
        )  # fmt: skip
        current = result
    return nodes


def save_external(path, data, location):
    """The same model with its weights in a file beside it."""
    model = onnx.load_model_from_string(data)
    onnx.save_model(model, str(path), save_as_external_data=True, location=location,
                    size_threshold=0)  # fmt: skip
