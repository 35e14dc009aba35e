"""The score graph, written once for every file format: raw values in, score out.

values ─ standardise ─▶ u ─ layers ─▶ reconstruction ─ residual, head ─▶ score

A format supplies the operations (`GraphBuilder`); what is computed, and which dies get no score, is
decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._network import (
    MAX_STANDARDISED,
    Activation,
    Dense,
    Head,
    LowRank,
    Network,
    QuantizedDense,
    QuantizedNetwork,
    Scaler,
)

MAX_FLOAT32 = float(np.finfo(np.float32).max)


class GraphBuilder(Protocol):
    """The operations of a file format. Tensors are known by name; rows are dies.

    ``output`` names the result where it is an output of the graph.
    """

    def per_test(self, name: str, rows: NDArray[np.float32]) -> str:
        """The row of each die's group of a constant ``(n_groups, n_tests)``."""

    def add(self, a: str, b: str) -> str: ...
    def sub(self, a: str, b: str) -> str: ...
    def mul(self, a: str, b: str) -> str: ...
    def div(self, a: str, b: str) -> str: ...
    def absolute(self, a: str) -> str: ...

    def zero_if_missing(self, a: str) -> str:
        """``a``, NaN where a test is missing, with 0 there."""

    def present_only(self, a: str) -> str:
        """``a``, finite everywhere, with 0 where a test is missing."""

    def linear(self, name: str, a: str, weight: NDArray[np.float32]) -> str:
        """``a @ weight.T`` with a float32 constant ``(n_out, n_in)``."""

    def sum_of_tests(self, a: str) -> str:
        """The sum of each row, shape ``(n,)``."""

    def largest_test(self, a: str) -> str:
        """The largest element of each row, shape ``(n,)``."""

    def sum_of_largest(self, a: str, k: int) -> str:
        """The sum of the ``k`` largest elements of each row, shape ``(n,)``."""

    def by_present(self, name: str, table: NDArray[np.float32]) -> str:
        """The entry of ``table`` ``(n_tests + 1,)`` for each die's number of tests present."""

    def nan_above(self, score: str, magnitude: str, limit: float, output: str = "") -> str:
        """``score``, and NaN unless ``magnitude`` ≤ ``limit``."""

    def zeros_like(self, a: str, output: str) -> str:
        """Zeros in the shape of ``a``."""

    def dense(self, index: int, a: str, layer: Dense, output: str) -> str:
        """A float32 layer."""

    def quantized_dense(self, index: int, a: str, layer: QuantizedDense, output: str) -> str:
        """A layer with int8 weights on the float tensor ``a``, with a float result."""


def write_score_graph(graph: GraphBuilder, network: Network | QuantizedNetwork) -> None:
    """Write the graph of a network, with the outputs of the contract.

    Raises:
        UsageError: a weight or bias is not finite, or so large that a die in range overflows;
            the latent layer is the last one.
    """
    screen = network.screen
    plain = network.network if isinstance(network, QuantizedNetwork) else network
    z_bound = _residual_bound(plain)
    u = _standardise(graph, screen.scaler)
    residual = graph.sub(u, _reconstruct(graph, network.layers, plain.latent_layer, u))
    weight = graph.per_test("residual_weight", screen.head.residual_weight[np.newaxis])
    z = graph.present_only(graph.mul(residual, weight))
    if screen.head.low_rank is not None:
        z = _whiten(graph, screen.head.low_rank, z)
        z_bound = _whitened_bound(screen.head.low_rank, z_bound)
    score = (_topk if screen.head.kind == "topk" else _mean_square)(graph, screen.head, z)
    if not _score_bound(screen.head, z_bound) < MAX_FLOAT32:
        score = graph.nan_above(score, score, MAX_FLOAT32)
    largest = graph.largest_test(graph.absolute(u))
    graph.nan_above(score, largest, MAX_STANDARDISED, output="score")


def _reconstruct(
    graph: GraphBuilder,
    layers: Sequence[Dense | QuantizedDense],
    latent_layer: int | None,
    u: str,
) -> str:
    if not layers:
        return graph.zeros_like(u, "reconstruction")
    last = len(layers) - 1
    if latent_layer is not None and not 0 <= latent_layer < last:
        raise UsageError(f"the latent layer is {latent_layer}, expected one from 0 to {last - 1}")
    outputs = {latent_layer: "latent", last: "reconstruction"}
    a = u
    for index, layer in enumerate(layers):
        output = outputs.get(index, "")
        if isinstance(layer, Dense):
            a = graph.dense(index, a, layer, output)
        else:
            a = graph.quantized_dense(index, a, layer, output)
    return a


def _standardise(graph: GraphBuilder, scaler: Scaler) -> str:
    # A centre of a million sigma needs more digits than float32 has: it is taken off in two parts.
    high = scaler.centre.astype(np.float32)
    low = (scaler.centre - high).astype(np.float32)
    offset = graph.sub("values", graph.per_test("centre_high", high))
    offset = graph.sub(offset, graph.per_test("centre_low", low))
    inv_scale = graph.per_test("inv_scale", scaler.inv_scale.astype(np.float32))
    return graph.zero_if_missing(graph.mul(offset, inv_scale))


def _whiten(graph: GraphBuilder, low_rank: LowRank, z: str) -> str:
    shared = graph.linear(
        "subtract", graph.linear("project", z, low_rank.project), low_rank.subtract
    )
    return graph.present_only(graph.sub(z, shared))


def _topk(graph: GraphBuilder, head: Head, z: str) -> str:
    total = graph.sum_of_largest(graph.absolute(z), min(head.k, len(head.residual_weight)))
    gain = graph.by_present("present_gain", _guarded(head, head.present_gain))
    score = graph.mul(total, gain)
    if not head.present_offset[head.min_present :].any():
        return score
    return graph.add(score, graph.by_present("present_offset", head.present_offset))


def _mean_square(graph: GraphBuilder, head: Head, z: str) -> str:
    share = head.expected_square / head.expected_square.mean(dtype=np.float64)
    expected = graph.per_test("expected_share", share.astype(np.float32)[np.newaxis])
    mean = graph.div(
        graph.sum_of_tests(graph.mul(z, z)), graph.sum_of_tests(graph.present_only(expected))
    )
    gate = _guarded(head, np.ones_like(head.present_gain))
    return graph.mul(mean, graph.by_present("present_gate", gate))


def _guarded(head: Head, table: NDArray[np.float32]) -> NDArray[np.float32]:
    """``table`` with NaN where too few tests are present for a score."""
    n_present = np.arange(len(table))
    return np.where(n_present >= head.min_present, table, np.float32(np.nan)).astype(np.float32)


def _residual_bound(network: Network) -> NDArray[np.float64]:
    """The largest |z| of each test that any die in range can have."""
    n_tests = network.screen.schema.n_tests
    bound = np.full(n_tests, MAX_STANDARDISED)
    for index, layer in enumerate(network.layers):
        bound = _after(layer.activation, np.abs(layer.weight) @ bound + np.abs(layer.bias))
        if not (bound < MAX_FLOAT32).all():
            raise UsageError(
                f"layer {index} has weights or biases that are not finite, or so large that "
                f"a die within {MAX_STANDARDISED:g} sigma overflows float32: train the model again"
            )
    reconstruction = bound if network.layers else np.zeros(n_tests)
    largest: NDArray[np.float64] = (
        reconstruction + MAX_STANDARDISED
    ) * network.screen.head.residual_weight
    return largest


def _whitened_bound(low_rank: LowRank, z_bound: NDArray[np.float64]) -> NDArray[np.float64]:
    """What ``z_bound`` becomes by whitening; infinite where a sum on the way may overflow."""
    shared = np.abs(low_rank.project).astype(np.float64) @ z_bound
    if not (shared < MAX_FLOAT32).all():
        return np.full_like(z_bound, np.inf)
    bound: NDArray[np.float64] = z_bound + np.abs(low_rank.subtract) @ shared
    return bound


def _after(activation: Activation, bound: NDArray[np.float64]) -> NDArray[np.float64]:
    if activation.kind in ("sigmoid", "tanh"):
        return np.where(np.isfinite(bound), 1.0, bound)
    return bound * max(1.0, abs(activation.alpha))


def _score_bound(head: Head, z_bound: NDArray[np.float64]) -> float:
    if head.kind == "topk":
        gain = max(1.0, float(head.present_gain.max()))
        return float(z_bound.max() * head.k * gain + head.present_offset.max())
    return float(np.square(z_bound).sum())
