"""A file's sections, operations and tensors as they are stored, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._layout import open_shell
from ._lifting import ACTIVATIONS, HEADS
from ._program import Opcode, Operation, Program, decode_programs
from ._tensors import decode_tensors

_ROLES = {
    Opcode.STANDARDISE: ("groups", "centre", "inv_scale"),
    Opcode.DENSE: ("weight", "bias"),
    Opcode.DENSE_INT8: ("weight", "weight_scale", "bias"),
    Opcode.SCORE: (
        "residual_weight",
        "expected_square",
        "present_gain",
        "present_offset",
        "project",
        "subtract",
    ),
}


@dataclass(frozen=True, eq=False)
class Listing:
    """What a file stores.

    Attributes:
        section_bytes: size of each section, in the order of the file.
        operations: of each precision, one line of text each.
        tensors: by name, in the order of the file: ``standardise.centre``, ``fp32.1.weight`` …
    """

    section_bytes: Mapping[str, int]
    operations: Mapping[str, tuple[str, ...]]
    tensors: Mapping[str, NDArray[Any]]


def list_contents(data: bytes) -> Listing:
    """The listing of a file that ``decode`` accepts.

    Raises:
        ModelFileError: the file is damaged.
    """
    sections = open_shell(data).sections
    programs = decode_programs(sections["program"])[1]
    tensors = decode_tensors(sections["tensors"])
    names = _name_tensors(programs)
    return Listing(
        {name: len(section) for name, section in sections.items()},
        {program.precision: tuple(_describe(program, names, tensors)) for program in programs},
        {names[i]: tensor for i, tensor in enumerate(tensors)},
    )


def _name_tensors(programs: tuple[Program, ...]) -> dict[int, str]:
    names: dict[int, str] = {}
    for program in programs:
        for i, operation in enumerate(program.operations):
            is_layer = operation.opcode in (Opcode.DENSE, Opcode.DENSE_INT8)
            prefix = f"{program.precision}.{i}" if is_layer else operation.opcode.name.lower()
            for index, role in zip(operation.tensors, _ROLES[operation.opcode], strict=False):
                names.setdefault(index, f"{prefix}.{role}")
    return names


def _describe(
    program: Program, names: dict[int, str], tensors: list[NDArray[Any]]
) -> Iterator[str]:
    for operation in program.operations:
        inputs = ", ".join(f"b{i}[{program.widths[i]}]" for i in operation.inputs)
        arrays = ", ".join(_describe_tensor(names[i], tensors[i]) for i in operation.tensors)
        mark = "  -> latent code" if operation.output == program.latent else ""
        mark += "  -> reconstruction" if operation.output == program.reconstruction else ""
        yield (
            f"b{operation.output}[{program.widths[operation.output]}] = "
            f"{operation.opcode.name}{_describe_parameters(operation)} ({inputs}; {arrays}){mark}"
        )


def _describe_tensor(name: str, tensor: NDArray[Any]) -> str:
    return f"{name} {tensor.dtype.name}{list(tensor.shape)}"


def _describe_parameters(operation: Operation) -> str:
    if operation.opcode is Opcode.SCORE:
        head, k, min_present = operation.parameters
        return f" {HEADS[head]}{f' k={k}' if k else ''} min_present={min_present}"
    if operation.opcode is Opcode.STANDARDISE:
        return ""
    activation, alpha_bits = operation.parameters
    alpha = float(np.uint32(alpha_bits).view(np.float32))
    return f" {ACTIVATIONS[activation]}{f' alpha={alpha:.9g}' if alpha_bits else ''}"
