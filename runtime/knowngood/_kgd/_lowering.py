"""From a model to programs and tensors: STANDARDISE, the layers, SCORE."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._network import Activation, Dense, Head, QuantizedDense
from knowngood._sealed import LayerPrecision, SealedModel

from ._lifting import ACTIVATIONS, HEADS, WITH_ALPHA
from ._program import Opcode, Operation, Program

Tensors = list[NDArray[Any]]


def lower(model: SealedModel) -> tuple[list[Program], Tensors]:
    """The model's programs and their tensors, numbered as they are first used.

    Raises:
        UsageError: a layer that the file cannot say.
    """
    tensors: Tensors = []
    scaler, head = model.screen.scaler, model.screen.head
    standardise = _add(tensors, (scaler.groups, scaler.centre, scaler.inv_scale))
    programs: list[Program] = []
    score: tuple[int, ...] = ()
    for precision in model.layer_precisions:
        layers = [_layer(tensors, layer) for layer in model.layers(precision) or ()]
        score = score or _add(tensors, _head_tensors(head))
        programs.append(_program(model, precision, standardise, layers, score))
    return programs, tensors


def _program(
    model: SealedModel,
    precision: LayerPrecision,
    standardise: tuple[int, ...],
    layers: list[tuple[Opcode, tuple[int, ...], tuple[int, ...]]],
    score: tuple[int, ...],
) -> Program:
    last = len(layers) + 1
    operations = [Operation(Opcode.STANDARDISE, (0,), 1, standardise, ())]
    for i, (opcode, indices, parameters) in enumerate(layers):
        operations.append(Operation(opcode, (i + 1,), i + 2, indices, parameters))
    head = model.screen.head
    of_head = (HEADS.index(head.kind), head.k, head.min_present)
    inputs = (1, last) if layers else (1,)
    operations.append(Operation(Opcode.SCORE, inputs, last + 1, score, of_head))
    return Program(
        precision=precision,
        widths=(model.screen.schema.n_tests, *model.widths, 1),
        latent=-1 if model.latent_layer is None else model.latent_layer + 2,
        reconstruction=last if layers else -1,
        operations=tuple(operations),
    )


def _add(tensors: Tensors, new: tuple[NDArray[Any], ...]) -> tuple[int, ...]:
    tensors.extend(new)
    return tuple(range(len(tensors) - len(new), len(tensors)))


def _head_tensors(head: Head) -> tuple[NDArray[Any], ...]:
    vectors = (head.residual_weight, head.expected_square, head.present_gain, head.present_offset)
    if head.low_rank is None:
        return vectors
    return (*vectors, head.low_rank.project, head.low_rank.subtract)


def _layer(
    tensors: Tensors, layer: Dense | QuantizedDense
) -> tuple[Opcode, tuple[int, ...], tuple[int, ...]]:
    parameters = _activation(layer.activation)
    if isinstance(layer, Dense):
        return Opcode.DENSE, _add(tensors, (layer.weight, layer.bias)), parameters
    if layer.static_input is not None:
        raise UsageError(
            "an int8 layer has a static range for its input; a .kgd takes each die's own largest "
            "magnitude: quantise without static ranges"
        )
    parts = (layer.weight, layer.weight_scale, layer.bias)
    return Opcode.DENSE_INT8, _add(tensors, parts), parameters


def _activation(activation: Activation) -> tuple[int, int]:
    """Its code and the bits of α, which is float32 in the arithmetic."""
    if activation.kind not in WITH_ALPHA and activation.alpha:
        raise UsageError(f"{activation.kind} takes no alpha, found {activation.alpha}")
    alpha = np.float32(activation.alpha if activation.kind in WITH_ALPHA else 0)
    return ACTIVATIONS.index(activation.kind), int(alpha.view(np.uint32))
