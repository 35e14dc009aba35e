"""From programs and tensors to a model: what version 1.0 allows of the operations is checked here.

Version 1.0 knows one shape of program: STANDARDISE, a chain of layers, SCORE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._network import (
    POOLED_GROUP,
    Activation,
    ActivationKind,
    Dense,
    Head,
    HeadKind,
    LowRank,
    QuantizedDense,
    Scaler,
)
from knowngood._sealed import LayerPrecision

from ._program import Opcode, Operation, Program
from ._refusal import Rule, refuse

ACTIVATIONS: tuple[ActivationKind, ...] = (
    "linear",
    "relu",
    "leaky_relu",
    "elu",
    "sigmoid",
    "tanh",
)
"""By their codes in the file."""
HEADS: tuple[HeadKind, ...] = ("mse", "normalized", "topk", "mahalanobis")
"""By their codes in the file."""
WITH_ALPHA = ("leaky_relu", "elu")
_LAYER_OPCODE: dict[LayerPrecision, Opcode] = {"fp32": Opcode.DENSE, "int8": Opcode.DENSE_INT8}
_N_TENSORS = {Opcode.STANDARDISE: 3, Opcode.DENSE: 2, Opcode.DENSE_INT8: 3}
_N_PARAMETERS = {Opcode.STANDARDISE: 0, Opcode.DENSE: 2, Opcode.DENSE_INT8: 2, Opcode.SCORE: 3}


@dataclass(frozen=True)
class Lifted:
    """The parts of a model that its programs hold."""

    scaler: Scaler
    head: Head
    fp32: tuple[Dense, ...] | None
    int8: tuple[QuantizedDense, ...] | None
    latent_layer: int | None


def lift(programs: Sequence[Program], tensors: Sequence[NDArray[Any]], n_tests: int) -> Lifted:
    """The model that ``programs`` compute with ``tensors``.

    Raises:
        ModelFileError: a rule of the format is broken.
    """
    for program in programs:
        _check_chain(program, n_tests)
    if len(programs) == 2:
        _check_two_programs(programs[0], programs[1])
    _check_tensor_use(programs, len(tensors))
    first = programs[0]
    table = _Tensors(tensors)
    layers: dict[LayerPrecision, tuple[Any, ...]] = {
        program.precision: tuple(
            table.layer(f"program {program.precision}, operation {i}", operation, program.widths)
            for i, operation in enumerate(program.operations[1:-1], start=1)
        )
        for program in programs
    }
    return Lifted(
        scaler=table.scaler(first.operations[0], n_tests),
        head=table.head(first.operations[-1], n_tests),
        fp32=layers.get("fp32"),
        int8=layers.get("int8"),
        latent_layer=None if first.latent < 0 else first.latent - 2,
    )


def _check_chain(program: Program, n_tests: int) -> None:
    """STANDARDISE, layers of the program's precision in a chain, SCORE on u and y."""
    where = f"program {program.precision}"
    n_layers = len(program.operations) - 2
    last = n_layers + 1
    least = 0 if program.precision == "fp32" else 1
    if n_layers < least:
        raise refuse(f"{where}: layers", Rule.CHAIN, f"{least} or more", n_layers)
    layer = _LAYER_OPCODE[program.precision]
    opcodes = [Opcode.STANDARDISE, *[layer] * n_layers, Opcode.SCORE]
    inputs = [(i,) for i in range(last)] + [(1, last) if n_layers else (1,)]
    for i, operation in enumerate(program.operations):
        _check_operation(f"{where}, operation {i}", operation, opcodes[i], inputs[i], i + 1)
    _check_buffers(where, program, last, n_tests)


def _check_operation(
    where: str, operation: Operation, opcode: Opcode, inputs: tuple[int, ...], output: int
) -> None:
    n_parameters = _N_PARAMETERS[opcode]
    _check_equal(f"{where}: opcode", operation.opcode.name, opcode.name)
    _check_equal(f"{where}: inputs", operation.inputs, inputs)
    _check_equal(f"{where}: output", operation.output, output)
    _check_equal(f"{where}: number of parameters", len(operation.parameters), n_parameters)
    _check_equal(f"{where}: number of tensors", len(operation.tensors), _n_tensors(operation))


def _check_buffers(where: str, program: Program, last: int, n_tests: int) -> None:
    """Widths, and what the buffers hold; ``last`` is y, or u without layers."""
    widths, latent = program.widths, program.latent
    _check_equal(f"{where}: width of the values", widths[0], n_tests)
    _check_equal(f"{where}: width of u", widths[1], n_tests)
    _check_equal(f"{where}: width of the reconstruction", widths[last], n_tests)
    _check_equal(f"{where}: width of the score", widths[-1], 1)
    reconstruction = last if last > 1 else -1
    _check_equal(f"{where}: reconstruction buffer", program.reconstruction, reconstruction)
    if latent != -1 and not 2 <= latent < last:
        raise refuse(f"{where}: latent buffer", Rule.CHAIN, f"-1, or 2 to {last - 1}", latent)


def _n_tensors(operation: Operation) -> int:
    if operation.opcode is not Opcode.SCORE:
        return _N_TENSORS[operation.opcode]
    return 6 if operation.parameters[0] == HEADS.index("mahalanobis") else 4


def _check_equal(where: str, found: object, expected: object) -> None:
    if found != expected:
        raise refuse(where, Rule.CHAIN, expected, found)


def _check_two_programs(first: Program, second: Program) -> None:
    """fp32, then int8, alike in all but the numbers of their layers."""
    pairs = [
        ("precisions", (first.precision, second.precision), ("fp32", "int8")),
        ("widths", second.widths, first.widths),
        ("latent buffer", second.latent, first.latent),
        ("STANDARDISE", second.operations[0], first.operations[0]),
        ("SCORE", second.operations[-1], first.operations[-1]),
        (
            "activations",
            [operation.parameters for operation in second.operations],
            [operation.parameters for operation in first.operations],
        ),
    ]
    for what, found, expected in pairs:
        if found != expected:
            raise refuse(f"program int8: {what}", Rule.TWO_PROGRAMS, expected, found)


def _check_tensor_use(programs: Sequence[Program], n_tensors: int) -> None:
    """Tensors are numbered as they are first used; none is left over, none used for two things."""
    used = [i for operation in programs[0].operations for i in operation.tensors]
    for program in programs[1:]:
        used += [i for operation in program.operations[1:-1] for i in operation.tensors]
    first_wrong = next((n for n, index in enumerate(used) if n != index), None)
    if first_wrong is not None:
        raise refuse(
            "program: tensors", Rule.TENSOR_USE, f"tensor {first_wrong} next", used[first_wrong]
        )
    if len(used) != n_tensors:
        raise refuse("tensors: number of tensors", Rule.TENSOR_USE, f"{len(used)}", n_tensors)


class _Tensors:
    """Tensors by number, taken only with the dtype and shape that their operation demands."""

    def __init__(self, tensors: Sequence[NDArray[Any]]) -> None:
        self._tensors = tensors

    def scaler(self, operation: Operation, n_tests: int) -> Scaler:
        groups, centre, inv_scale = operation.tensors
        n_groups = len(self._tensors[groups])
        scaler = Scaler(
            self._take(groups, "STANDARDISE: groups", "int32", (n_groups,)),
            self._take(centre, "STANDARDISE: centre", "float64", (n_groups, n_tests)),
            self._take(inv_scale, "STANDARDISE: inv_scale", "float64", (n_groups, n_tests)),
        )
        others = scaler.groups[1:]
        is_sound = scaler.groups[0] == POOLED_GROUP and (others >= 0).all()
        if not is_sound or len(np.unique(others)) != len(others):
            raise refuse(
                "STANDARDISE: groups",
                Rule.SCALER,
                "-1, then distinct numbers of 0 or more",
                scaler.groups[:8].tolist(),
            )
        _check_positive("STANDARDISE: inv_scale", scaler.inv_scale, Rule.SCALER)
        return scaler

    def layer(
        self, where: str, operation: Operation, widths: Sequence[int]
    ) -> Dense | QuantizedDense:
        n_in, n_out = widths[operation.inputs[0]], widths[operation.output]
        activation = _activation(where, *operation.parameters)
        if operation.opcode is Opcode.DENSE:
            weight, bias = operation.tensors
            return Dense(
                self._take(weight, f"{where}: weight", "float32", (n_out, n_in)),
                self._take(bias, f"{where}: bias", "float32", (n_out,)),
                activation,
            )
        weight, weight_scale, bias = operation.tensors
        layer = QuantizedDense(
            self._take(weight, f"{where}: weight", "int8", (n_out, n_in)),
            self._take(weight_scale, f"{where}: weight_scale", "float32", (n_out,)),
            self._take(bias, f"{where}: bias", "float32", (n_out,)),
            activation,
        )
        if layer.weight.min() < -127:
            raise refuse(f"{where}: weight", Rule.INT8, "-127 to 127", -128)
        _check_positive(f"{where}: weight_scale", layer.weight_scale, Rule.INT8)
        return layer

    def head(self, operation: Operation, n_tests: int) -> Head:
        code, k, min_present = operation.parameters
        if code >= len(HEADS):
            raise refuse("SCORE: head", Rule.CODES, f"0 to {len(HEADS) - 1}", code)
        weight, square, gain, offset = operation.tensors[:4]
        head = Head(
            HEADS[code],
            self._take(weight, "SCORE: residual_weight", "float32", (n_tests,)),
            self._take(square, "SCORE: expected_square", "float32", (n_tests,)),
            self._take(gain, "SCORE: present_gain", "float32", (n_tests + 1,)),
            self._take(offset, "SCORE: present_offset", "float32", (n_tests + 1,)),
            min_present,
            k,
            self._low_rank(operation.tensors[4:], n_tests),
        )
        _check_head(head, n_tests)
        return head

    def _low_rank(self, indices: Sequence[int], n_tests: int) -> LowRank | None:
        if not indices:
            return None
        project, subtract = indices
        rank = min(len(self._tensors[project]), n_tests)
        return LowRank(
            self._take(project, "SCORE: project", "float32", (rank, n_tests)),
            self._take(subtract, "SCORE: subtract", "float32", (n_tests, rank)),
        )

    def _take(self, index: int, where: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        tensor = self._tensors[index]
        if (tensor.dtype.name, tensor.shape) != (dtype, shape):
            expected, found = f"{dtype} {shape}", f"{tensor.dtype.name} {tensor.shape}"
            raise refuse(f"{where} (tensor {index})", Rule.CHAIN, expected, found)
        return tensor


def _activation(where: str, code: int, alpha_bits: int) -> Activation:
    if code >= len(ACTIVATIONS):
        raise refuse(f"{where}: activation", Rule.CODES, f"0 to {len(ACTIVATIONS) - 1}", code)
    kind = ACTIVATIONS[code]
    if kind not in WITH_ALPHA:
        if alpha_bits:
            raise refuse(f"{where}: alpha", Rule.ACTIVATIONS, f"0 for {kind}", hex(alpha_bits))
        return Activation(kind)
    alpha = float(np.uint32(alpha_bits).view(np.float32))
    if not np.isfinite(alpha):
        raise refuse(f"{where}: alpha", Rule.FINITE_AND_TEXT, "a finite number", alpha)
    return Activation(kind, alpha)


def _check_head(head: Head, n_tests: int) -> None:
    _check_positive("SCORE: residual_weight", head.residual_weight, Rule.HEAD)
    _check_positive("SCORE: expected_square", head.expected_square, Rule.HEAD)
    for name, array in (("gain", head.present_gain), ("offset", head.present_offset)):
        if array.min() < 0:
            raise refuse(f"SCORE: present_{name}", Rule.HEAD, "0 or more", float(array.min()))
    if head.present_offset[-1] != 0:
        found = float(head.present_offset[-1])
        raise refuse("SCORE: present_offset of all tests", Rule.HEAD, 0, found)
    if not 1 <= head.min_present <= n_tests:
        raise refuse("SCORE: min_present", Rule.HEAD, f"1 to {n_tests}", head.min_present)
    low, high = (1, n_tests) if head.kind == "topk" else (0, 0)
    if not low <= head.k <= high:
        raise refuse(f"SCORE: k of {head.kind}", Rule.HEAD, f"{low} to {high}", head.k)


def _check_positive(where: str, array: NDArray[Any], rule: Rule) -> None:
    if array.min() <= 0:
        raise refuse(where, rule, "numbers above 0", float(array.min()))
