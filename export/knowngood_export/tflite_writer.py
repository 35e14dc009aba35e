"""Writes a network as TFLite, with operators and versions that tflite-runtime 2.14 has.

An int8 file holds int8 weights per output channel; a layer's input is quantised for each die by
itself, over all 256 steps between that die's smallest and largest value. Every layer's output is
float32, so nothing is clipped, the last layer is not rounded, and a die's score depends on no other
die.
"""

from __future__ import annotations

from knowngood._manifest import Manifest
from knowngood._network import Network, QuantizedNetwork
from knowngood_quantize.static_ranges import RangedNetwork

from ._score_graph import write_score_graph
from ._tflite_graph import TfliteGraph
from ._tflite_int16 import Int16Graph


def network_to_tflite(network: Network | QuantizedNetwork, manifest: Manifest) -> bytes:
    """The bytes of a sealed ``.tflite`` file; the same network and manifest give the same bytes.

    Inputs and outputs: ``values`` float32 ``(n, n_tests)`` in raw units with NaN where a test is
    missing, ``group_row`` int32 ``(n,)`` if the scaler has groups; ``score`` float32 ``(n,)``,
    NaN for a die without a score, ``reconstruction`` float32 ``(n, n_tests)`` standardised, and
    ``latent`` if the network has a latent layer. The signature is ``serving_default``.

    Raises:
        UsageError: weights that are not finite, or overflow.
    """
    graph = TfliteGraph(network.network if isinstance(network, QuantizedNetwork) else network)
    write_score_graph(graph, network)
    return graph.finish(manifest)


def network_to_tflite_int16x8(network: RangedNetwork, manifest: Manifest) -> bytes:
    """The bytes of a sealed ``.tflite`` whose layers take and give int16, in static ranges.

    Inputs and outputs are those of `network_to_tflite`. The ranges are ``INT16_WIDENING``
    times those of the good dies.

    Raises:
        UsageError: weights that are not finite, or overflow.
    """
    graph = Int16Graph(network)
    write_score_graph(graph, network)
    return graph.finish(manifest)
