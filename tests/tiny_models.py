"""Small model files that obey the graph contract, built with ``onnx.helper`` alone.

They are an independent reading of the contract: the product's own ONNX writer takes no part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from knowngood._manifest import Manifest
from knowngood._network import (
    POOLED_GROUP,
    Activation,
    Dense,
    Head,
    Network,
    OperatingPoint,
    Scaler,
    Screen,
)
from knowngood._schema import Purpose, Schema, Test
from knowngood._seal import UNSEALED, seal

MAX_STANDARDISED = np.float32(2.0**30)


def tiny_schema(n_tests: int = 6) -> Schema:
    units = ("V", "uA", "ns")
    tests = tuple(
        Test(1000 + 10 * i, f"T{i}", units=units[i % 3], low=-50.0, high=50.0)
        for i in range(n_tests)
    )
    return Schema(tests, Purpose(part_type="KG1", temperature="25", flow="FT", program="kg"))


def tiny_network(
    *,
    n_tests: int = 6,
    head: str = "topk",
    groups: tuple[int, ...] = (POOLED_GROUP,),
    n_latent: int = 3,
    k: int = 3,
    seed: int = 0,
    threshold: float = 2.0,
    schema: Schema | None = None,
    widths: tuple[int, ...] | None = None,
) -> Network:
    """A network with random weights; scores of ordinary dies lie around its threshold."""
    rng = np.random.default_rng(seed)
    chain = widths or (n_tests, n_latent, n_tests)
    layers = tuple(
        Dense(
            rng.normal(0, chain[i] ** -0.5, (chain[i + 1], chain[i])).astype(np.float32),
            rng.normal(0, 0.1, chain[i + 1]).astype(np.float32),
            Activation("linear" if i == len(chain) - 2 else "relu"),
        )
        for i in range(len(chain) - 1)
    )
    scaler = Scaler(
        np.array(groups, dtype=np.int32),
        rng.normal(0, 5, (len(groups), n_tests)),
        1 / rng.uniform(0.5, 2, (len(groups), n_tests)),
    )
    points = (
        OperatingPoint(0.001, 3.0, 2.5, 3.5, 3000, False),
        OperatingPoint(0.005, threshold, threshold - 0.1, threshold + 0.1, 3000, True),
        OperatingPoint(0.02, 1.5, 1.4, 1.6, 3000, True),
    )
    screen = Screen(
        schema or tiny_schema(n_tests), scaler, _head(rng, head, n_tests, k), points, 0.005
    )
    return Network(screen, layers, latent_layer=len(layers) // 2 - 1)


def _head(rng: np.random.Generator, kind: str, n_tests: int, k: int) -> Head:
    weight = np.ones(n_tests) if kind == "mse" else rng.uniform(0.5, 1.5, n_tests)
    present = np.arange(n_tests + 1)
    gain = np.where(present > 0, n_tests / np.maximum(present, 1) / k, 0)
    return Head(
        kind,  # type: ignore[arg-type]
        weight.astype(np.float32),
        rng.uniform(0.5, 1.5, n_tests).astype(np.float32),
        gain.astype(np.float32),
        (0.1 * (n_tests - present)).astype(np.float32),
        min_present=max(2, n_tests // 2),
        k=k if kind == "topk" else 0,
    )


def tiny_manifest(network: Network, precision: str = "fp32") -> Manifest:
    return Manifest(
        network.screen, precision, network.detector, network.widths, network.latent_layer
    )


def tiny_onnx(network: Network, manifest: Manifest | None = None) -> bytes:
    """A sealed ``.onnx`` of ``network``."""
    manifest = manifest or tiny_manifest(network)
    graph = _Graph(network)
    graph.build()
    model = helper.make_model(
        helper.make_graph(graph.nodes, "tiny", graph.inputs, graph.outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="tiny_models",
    )
    helper.set_model_props(
        model, {"knowngood.manifest": manifest.to_json(), "knowngood.sha256": UNSEALED}
    )
    return seal(model.SerializeToString())


class _Graph:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.n_tests = network.screen.schema.n_tests
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs = [helper.make_tensor_value_info("values", 1, ["n", self.n_tests])]
        self.outputs = [
            helper.make_tensor_value_info("score", 1, ["n"]),
            helper.make_tensor_value_info("reconstruction", 1, ["n", self.n_tests]),
        ]

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, array: NDArray[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def f32(self, array: object) -> str:
        return self.constant(np.asarray(array, dtype=np.float32))

    def build(self) -> None:
        missing = self.op("IsNaN", "values")
        present = self.op("Cast", self.op("Not", missing), to=TensorProto.FLOAT)
        u = self.op("Where", missing, self.f32(0), self.standardised())
        y = self.reconstruction(u)
        weight = self.f32(self.network.screen.head.residual_weight)
        z = self.op("Mul", self.op("Mul", self.op("Sub", u, y), weight), present)
        axis = self.constant(np.array([1], dtype=np.int64))
        n_present = self.op("ReduceSum", present, axis, keepdims=0)
        raw = self.topk(z, n_present) if self.network.screen.head.k else self.mean(z, present, axis)
        self.finish(raw, u, n_present)

    def standardised(self) -> str:
        scaler = self.network.screen.scaler
        high = scaler.centre.astype(np.float32)
        low = (scaler.centre - high).astype(np.float32)
        tables = [self.f32(a) for a in (high, low, scaler.inv_scale)]
        if len(scaler.groups) > 1:
            self.inputs.append(helper.make_tensor_value_info("group_row", TensorProto.INT32, ["n"]))
            tables = [self.op("Gather", t, "group_row", axis=0) for t in tables]
        return self.op(
            "Mul", self.op("Sub", self.op("Sub", "values", tables[0]), tables[1]), tables[2]
        )

    def reconstruction(self, u: str) -> str:
        x = u
        for i, layer in enumerate(self.network.layers):
            is_last = i == len(self.network.layers) - 1
            weight, bias = self.f32(layer.weight), self.f32(layer.bias)
            name = "reconstruction" if is_last else ""
            x = self.op("Gemm", x, weight, bias, transB=1, name=name)
            if layer.activation.kind == "relu":
                latent = "latent" if i == self.network.latent_layer else ""
                x = self.op("Relu", x, name=latent)
        if self.network.latent_layer is not None:
            width = self.network.widths[self.network.latent_layer + 1]
            self.outputs.append(helper.make_tensor_value_info("latent", 1, ["n", width]))
        return x

    def topk(self, z: str, n_present: str) -> str:
        head = self.network.screen.head
        k = self.constant(np.array([min(head.k, self.n_tests)], dtype=np.int64))
        largest, _ = f"top_{len(self.nodes)}", None
        self.nodes.append(
            helper.make_node("TopK", [self.op("Abs", z), k], [largest, "top_index"], axis=1)
        )
        axis = self.constant(np.array([1], dtype=np.int64))
        total = self.op("ReduceSum", largest, axis, keepdims=0)
        index = self.op("Cast", n_present, to=TensorProto.INT64)
        scaled = self.op("Mul", total, self.op("Gather", self.f32(head.present_gain), index))
        return self.op("Add", scaled, self.op("Gather", self.f32(head.present_offset), index))

    def mean(self, z: str, present: str, axis: str) -> str:
        expected_square = self.network.screen.head.expected_square
        expected = self.op("MatMul", present, self.f32(expected_square))
        total = self.op("ReduceSum", self.op("Mul", z, z), axis, keepdims=0)
        mean = self.f32(expected_square.astype(np.float64).mean())
        return self.op("Div", self.op("Mul", total, mean), expected)

    def finish(self, raw: str, u: str, n_present: str) -> None:
        largest_u = self.op("ReduceMax", self.op("Abs", u), axes=[1], keepdims=0)
        min_present = self.f32(self.network.screen.head.min_present)
        checks = [
            self.op("LessOrEqual", largest_u, self.f32(MAX_STANDARDISED)),
            self.op("GreaterOrEqual", n_present, min_present),
            self.op("LessOrEqual", self.op("Abs", raw), self.f32(np.finfo(np.float32).max)),
        ]
        is_sound = self.op("And", self.op("And", checks[0], checks[1]), checks[2])
        self.op("Where", is_sound, raw, self.f32(np.nan), name="score")
