"""The section ``program``: a list of operations over numbered buffers, whatever they compute."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from knowngood._sealed import LAYER_PRECISIONS, MAX_WIDTH, LayerPrecision

from ._reader import Reader
from ._refusal import Rule, refuse
from ._writer import Writer

DETECTORS = ("autoencoder", "pat", "t2", "pca")
MAX_BUFFERS = MAX_OPERATIONS = 256
MAX_LIST = 16
_LEAST_BYTES_OF_AN_OPERATION = 5 * 4


class Opcode(IntEnum):
    """What an operation computes; docs/arithmetic.md says how."""

    STANDARDISE = 1
    DENSE = 2
    DENSE_INT8 = 3
    SCORE = 4


@dataclass(frozen=True)
class Operation:
    """One step.

    Attributes:
        inputs, output: numbers of buffers.
        tensors: numbers of tensors.
        parameters: 32 bits each, to be read as the opcode demands.
    """

    opcode: Opcode
    inputs: tuple[int, ...]
    output: int
    tensors: tuple[int, ...]
    parameters: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """What is computed for a die in one precision.

    Attributes:
        widths: of each buffer; buffer 0 holds the raw values, the last operation's the score.
        latent: number of the buffer with the latent code, −1 for none.
        reconstruction: number of the buffer with the reconstruction, −1 if it is all zero.
    """

    precision: LayerPrecision
    widths: tuple[int, ...]
    latent: int
    reconstruction: int
    operations: tuple[Operation, ...]


def encode_programs(detector: str, programs: list[Program]) -> bytes:
    """The section's bytes."""
    writer = Writer("program")
    writer.u32("detector", DETECTORS.index(detector))
    writer.u32("number of programs", len(programs))
    for program in programs:
        _write_program(writer, program)
    return writer.getvalue()


def _write_program(writer: Writer, program: Program) -> None:
    writer.u32("precision", LAYER_PRECISIONS.index(program.precision))
    writer.u32("number of buffers", len(program.widths))
    writer.u32s("width", program.widths)
    writer.i32("latent buffer", program.latent)
    writer.i32("reconstruction buffer", program.reconstruction)
    writer.u32("number of operations", len(program.operations))
    for operation in program.operations:
        writer.u32("opcode", operation.opcode)
        _write_list(writer, "inputs", operation.inputs)
        writer.u32("output", operation.output)
        _write_list(writer, "tensors", operation.tensors)
        _write_list(writer, "parameters", operation.parameters)


def _write_list(writer: Writer, what: str, values: tuple[int, ...]) -> None:
    writer.u32(f"number of {what}", len(values))
    writer.u32s(what, values)


def decode_programs(section: memoryview) -> tuple[str, tuple[Program, ...]]:
    """The detector, and one program or two; each in topological order."""
    reader = Reader(section, "program")
    detector = reader.code("detector", DETECTORS)
    n_programs = reader.count("number of programs", 1, len(LAYER_PRECISIONS), 4)
    programs = tuple(_read_program(reader) for _ in range(n_programs))
    reader.where = "program"
    reader.end()
    return detector, programs


def _read_program(reader: Reader) -> Program:
    reader.where = "program"
    precision = reader.code("precision", LAYER_PRECISIONS)
    reader.where = where = f"program {precision}"
    n_buffers = reader.count("number of buffers", 2, MAX_BUFFERS, 4)
    widths = reader.u32s("widths", n_buffers)
    if not all(1 <= width <= MAX_WIDTH for width in widths):
        raise reader.refusal("widths", Rule.COUNTS, f"1 to {MAX_WIDTH} each", widths[:8])
    latent = reader.i32("latent buffer")
    reconstruction = reader.i32("reconstruction buffer")
    n_operations = reader.count(
        "number of operations", 1, MAX_OPERATIONS, _LEAST_BYTES_OF_AN_OPERATION
    )
    operations = []
    for i in range(n_operations):
        reader.where = f"{where}, operation {i}"
        operations.append(_read_operation(reader))
    program = Program(precision, widths, latent, reconstruction, tuple(operations))
    _check_topology(where, program)
    return program


def _read_operation(reader: Reader) -> Operation:
    code = reader.u32("opcode")
    if code not in list(Opcode):
        raise reader.refusal("opcode", Rule.CODES, "1 to 4", code)
    inputs = _read_list(reader, "inputs")
    output = reader.u32("output buffer")
    return Operation(
        Opcode(code),
        inputs,
        output,
        _read_list(reader, "tensors"),
        _read_list(reader, "parameters"),
    )


def _read_list(reader: Reader, what: str) -> tuple[int, ...]:
    return reader.u32s(what, reader.count(f"number of {what}", 0, MAX_LIST, 4))


def _check_topology(where: str, program: Program) -> None:
    """Every buffer is written once, and read only after that."""
    n_buffers = len(program.widths)
    written = {0}
    for i, operation in enumerate(program.operations):
        place = f"{where}, operation {i}"
        unwritten = [b for b in operation.inputs if b not in written]
        if unwritten:
            raise refuse(f"{place}: inputs", Rule.TOPOLOGY, "buffers already written", unwritten)
        if operation.output in written or operation.output >= n_buffers:
            expected = f"one of the {n_buffers} buffers, not yet written"
            raise refuse(f"{place}: output", Rule.TOPOLOGY, expected, operation.output)
        written.add(operation.output)
    if len(written) != n_buffers:
        raise refuse(f"{where}: buffers", Rule.TOPOLOGY, f"{n_buffers} written", len(written))
