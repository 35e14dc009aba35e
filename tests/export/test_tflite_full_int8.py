"""The full-integer file against integer arithmetic in NumPy, on XNNPACK and builtin kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._forward import forward
from knowngood._model_file import parse_model
from knowngood._network import Network
from knowngood_export.tflite_full_int8 import INT8_WIDENING, network_to_full_int8
from knowngood_export.tflite_writer import network_to_tflite
from knowngood_quantize.int8 import Int8Recipe, quantize
from knowngood_quantize.static_ranges import RangedNetwork, with_static_ranges
from random_networks import make_dies, make_manifest, make_network, without_layers
from static_integers import full_int8, in_int8, int8_step

KERNELS = {
    "xnnpack": OpResolverType.AUTO,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}
EDGE_TPU_OPERATORS = {"FULLY_CONNECTED", "LOGISTIC", "TANH", "PRELU"}
"""Those of the table at coral.ai/docs/edgetpu/models-intro that a chain of layers can need."""
ACTIVATIONS = ("relu", "linear", "leaky_relu", "sigmoid", "tanh")
WIDTHS = (48, 24, 8, 24, 48)
GPTQ = Int8Recipe()


def make_ranged(
    widths: tuple[int, ...] = WIDTHS,
    *,
    recipe: Int8Recipe = GPTQ,
    n_dies: int = 200,
    **network,
) -> tuple[RangedNetwork, NDArray[np.float32]]:
    """A network with ranges, and the standardised dies they were measured on."""
    plain = make_network(widths, **network)
    values, group = make_dies(plain, n_dies)
    quantized = quantize(plain, values, group, recipe)
    u = forward(plain, values, group).standardised
    return with_static_ranges(quantized, values, group), u


def write(ranged: RangedNetwork) -> bytes:
    return network_to_full_int8(ranged, make_manifest(ranged.network, "int8-full"))


def changed_layer(ranged: RangedNetwork, index: int, **changes) -> RangedNetwork:
    """The same with other numbers in one int8 layer."""
    layers = list(ranged.layers)
    layers[index] = replace(layers[index], **changes)
    return replace(ranged, layers=tuple(layers))


def ends_of(ranged: RangedNetwork, index: int) -> tuple[float, float]:
    reach = ranged.ranges[index]
    return reach.low * INT8_WIDENING, reach.high * INT8_WIDENING


def run(data: bytes, u: NDArray[np.float32], kernels: str = "xnnpack") -> NDArray[np.float32]:
    """y of standardised dies, made int8 and back with the numbers that the file gives."""
    interpreter = Interpreter(
        model_content=data, num_threads=1, experimental_op_resolver_type=KERNELS[kernels]
    )
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(source["index"], u.shape, strict=False)
    interpreter.allocate_tensors()
    scale, zero = source["quantization"]
    steps = np.clip(np.rint(u / np.float32(scale)) + zero, -128, 127)
    interpreter.set_tensor(source["index"], steps.astype(np.int8))
    interpreter.invoke()
    scale, zero = result["quantization"]
    return (interpreter.get_tensor(result["index"]).astype(np.float64) - zero) * scale


def unpack(data: bytes) -> tuple[schema.ModelT, schema.SubGraphT]:
    model = schema.ModelT.InitFromPackedBuf(bytearray(data))
    return model, model.subgraphs[0]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_file_computes_what_integers_compute(activation, per_channel, kernels):
    ranged, u = make_ranged(activation=activation, recipe=Int8Recipe(per_channel=per_channel))
    expected = full_int8(ranged, u, INT8_WIDENING)
    error = np.abs(run(write(ranged), u, kernels) - expected) / int8_step(*ends_of(ranged, -1))
    # a tie in a hidden layer may fall the other way, which moves results by about a step
    assert np.median(error) < 0.01
    assert np.mean(error > 1.01) < 0.01
    assert error.max() < 6


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_single_layer_is_right_to_the_step(activation, kernels):
    ranged, u = make_ranged((40, 40), seed=3)
    kind = make_network(activation=activation).layers[0].activation
    ranged = changed_layer(ranged, 0, activation=kind)
    expected = full_int8(ranged, u, INT8_WIDENING)
    found = run(write(ranged), u, kernels)
    step = np.unique(np.abs(found[found != 0])).min()
    error = np.abs(found - expected) / step
    assert np.mean(error > 0.01) < 0.005  # ties
    assert error.max() < (1.01 if activation in ("linear", "relu") else 2.01)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_only_edge_tpu_operators_constant_sizes_and_nothing_in_float(activation):
    ranged, _ = make_ranged(activation=activation)
    model, graph = unpack(write(ranged))
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if k.isupper()}
    assert {names[c.builtinCode] for c in model.operatorCodes} <= EDGE_TPU_OPERATORS
    versions = {names[c.builtinCode]: c.version for c in model.operatorCodes}
    assert versions.pop("FULLY_CONNECTED") == 4
    assert set(versions.values()) <= {1 if activation == "leaky_relu" else 2}
    types = {t.name.decode(): t.type for t in graph.tensors}
    biases = {name for name in types if name.startswith("bias_")}
    assert len(biases) == 4
    assert {types.pop(name) for name in biases} == {schema.TensorType.INT32}
    assert set(types.values()) == {schema.TensorType.INT8}
    assert all(t.shapeSignature is None for t in graph.tensors)
    shapes = [tuple(graph.tensors[i].shape) for i in (*graph.inputs, *graph.outputs)]
    assert shapes == [(1, 48), (1, 48)]


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_are_symmetric_per_channel_or_per_tensor(per_channel):
    ranged, _ = make_ranged(recipe=Int8Recipe(per_channel=per_channel))
    _, graph = unpack(write(ranged))
    weights = [t for t in graph.tensors if t.name.startswith(b"weight_")]
    n_scales = [len(t.quantization.scale) for t in weights]
    assert n_scales == ([24, 8, 24, 48] if per_channel else [1, 1, 1, 1])
    assert not any(np.any(t.quantization.zeroPoint) for t in weights)


def test_a_layer_without_weights_keeps_its_bias():
    ranged, u = make_ranged((12, 8, 12))
    bias = ranged.layers[0].bias.copy()
    weight = ranged.layers[0].weight.copy()
    weight[2] = 0
    bias[2] = 0.237 * ranged.ranges[1].high
    scale = ranged.layers[0].weight_scale.copy()
    scale[2] = 1.0  # a step of 1 in units of the input: far coarser than the bias
    ranged = changed_layer(ranged, 0, weight=weight, bias=bias, weight_scale=scale)
    found, expected = run(write(ranged), u), full_int8(ranged, u, INT8_WIDENING)
    np.testing.assert_allclose(found, expected, atol=1.01 * int8_step(*ends_of(ranged, -1)))


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_bias_that_dwarfs_its_weights_is_kept(per_channel):
    ranged, u = make_ranged((12, 8, 12), recipe=Int8Recipe(per_channel=per_channel))
    first = ranged.layers[0]
    tiny = np.finfo(np.float32).tiny
    scale = np.where(np.arange(8) == 2, tiny, first.weight_scale) if per_channel else tiny
    scale = np.broadcast_to(np.float32(scale), 8).astype(np.float32)
    ranged = changed_layer(ranged, 0, weight_scale=scale)
    found, expected = run(write(ranged), u), full_int8(ranged, u, INT8_WIDENING)
    np.testing.assert_allclose(found, expected, atol=2.01 * int8_step(*ends_of(ranged, -1)))


def test_inputs_beyond_the_range_are_held_at_its_ends():
    ranged, u = make_ranged()
    data = write(ranged)
    low, high = ends_of(ranged, 0)
    wild, held = u.copy(), u.copy()
    wild[:, 3], wild[:, 7] = 1e6, -1e6
    held[:, 3], held[:, 7] = 2 * high, 2 * low
    np.testing.assert_array_equal(run(data, wild), run(data, held))
    assert not np.array_equal(run(data, held), run(data, u))


def test_ranges_clip_no_good_die():
    ranged, u = make_ranged()
    low, high = ends_of(ranged, 0)
    assert np.abs(in_int8(u.astype(np.float64), low, high) - u).max() < 0.51 * int8_step(low, high)
    y = forward_y(ranged.network, u)
    low, high = ends_of(ranged, -1)
    assert low < y.min()
    assert y.max() < high


def forward_y(network: Network, u: NDArray[np.float32]) -> NDArray[np.float64]:
    a = u.astype(np.float64)
    for layer in network.layers:
        a = layer.activation.apply(a @ layer.weight.T.astype(np.float64) + layer.bias)
    return a


def test_sizes_beside_the_float_file():
    widths = (512, 256, 128, 32, 128, 256, 512)
    for per_channel, least in ((True, 3.6), (False, 3.9)):
        recipe = Int8Recipe(per_channel=per_channel, rounding="nearest")
        ranged, _ = make_ranged(widths, recipe=recipe, n_dies=20)
        network = ranged.network
        aside = len(make_manifest(network, "fp32").to_json().encode())
        fp32 = len(network_to_tflite(network, make_manifest(network))) - aside
        aside = len(make_manifest(network, "int8-full").to_json().encode())
        assert fp32 / (len(write(ranged)) - aside) >= least


def test_the_same_network_gives_the_same_sealed_bytes():
    data = write(make_ranged()[0])
    assert data == write(make_ranged()[0])
    model = parse_model(data, "model.int8-full.tflite")
    assert model.manifest.precision == "int8-full"
    assert model.manifest.widths == WIDTHS


def test_elu_is_refused():
    ranged, _ = make_ranged(activation="elu")
    with pytest.raises(UsageError, match="elu is not an operator of the Edge TPU"):
        write(ranged)


def test_a_network_without_layers_is_refused():
    network = without_layers(make_network())
    values, _ = make_dies(network)
    ranged = with_static_ranges(quantize(network), values)
    with pytest.raises(UsageError, match="has none"):
        write(ranged)


def test_a_layer_whose_sum_may_overflow_is_refused():
    ranged, _ = make_ranged((12, 8, 12))
    first = ranged.layers[0]
    n_inputs = 2**31 // (255 * 127) + 1
    wide = np.full((8, n_inputs), 127, dtype=np.int8)
    with pytest.raises(UsageError, match=f"layer 0 has {n_inputs} inputs"):
        write(changed_layer(ranged, 0, weight=wide))
    # without the last input it fits, biases aside
    bias = np.zeros_like(first.bias)
    write(changed_layer(ranged, 0, weight=wide[:, :-1], bias=bias))
