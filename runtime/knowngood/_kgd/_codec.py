"""``encode`` and ``decode``: the sections of a model, put together and taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from knowngood._errors import ModelFileError, UsageError
from knowngood._network import Screen
from knowngood._sealed import MAX_WIDTH, SealedModel

from ._golden_section import decode_golden, encode_golden
from ._layout import CERTIFICATE, close_shell, open_shell
from ._lifting import lift
from ._lowering import lower
from ._manifest_section import (
    decode_certificate,
    decode_manifest,
    encode_certificate,
    encode_manifest,
)
from ._points import decode_points, encode_points
from ._program import DETECTORS, decode_programs, encode_programs
from ._schema_section import decode_n_tests, decode_schema, encode_schema
from ._tensors import decode_tensors, encode_tensors


@dataclass(frozen=True, eq=False)
class Contents:
    """A verified file.

    Attributes:
        model: all that it holds; its arrays are read-only and lie on the file's own bytes.
        format: kind and version, "kgd 1.0".
        model_id: SHA-256 over what decides verdicts, 64 hexadecimal digits.
        file_digest: SHA-256 over the file but itself and the trailer, 64 hexadecimal digits.
    """

    model: SealedModel
    format: str
    model_id: str
    file_digest: str


def encode(model: SealedModel) -> bytes:
    """The file that holds ``model``; one model has one encoding.

    What was written is read again before it is returned, so no file is written that cannot be read.

    Raises:
        UsageError: the format cannot hold the model: a layer is too wide, a number not finite …
    """
    _check_writable(model)
    programs, tensors = lower(model)
    sections = {
        "schema": encode_schema(model.screen.schema),
        "program": encode_programs(model.detector, programs),
        "tensors": encode_tensors(tensors),
        "points": encode_points(model),
        "golden": encode_golden(model),
        "manifest": encode_manifest(model),
    }
    if model.certificate:
        sections[CERTIFICATE] = encode_certificate(model.certificate)
    data = close_shell(sections)
    try:
        decode(data, "the model")
    except ModelFileError as error:
        raise UsageError(f"this cannot be sealed into a .kgd: {error}") from error
    return data


def _check_writable(model: SealedModel) -> None:
    """What would otherwise be said less clearly, or too late.

    Raises:
        UsageError: see ``encode``.
    """
    if not model.layer_precisions:
        raise UsageError("a .kgd needs the layers of fp32, of int8, or of both; there are none")
    if model.detector not in DETECTORS:
        raise UsageError(f"detector {model.detector!r}: expected one of {', '.join(DETECTORS)}")
    n_tests = model.screen.schema.n_tests
    shapes = {
        precision: [layer.weight.shape for layer in model.layers(precision) or ()]
        for precision in model.layer_precisions
    }
    for precision, of_precision in shapes.items():
        _check_widths(precision, n_tests, of_precision)
    first, *others = shapes.values()
    if any(other != first for other in others):
        raise UsageError(f"the layers of fp32 {first}, those of int8 {others[0]}: expected alike")


def _check_widths(precision: str, n_tests: int, shapes: list[tuple[int, ...]]) -> None:
    widest = max([n_tests, *(n for shape in shapes for n in shape)])
    if widest > MAX_WIDTH:
        raise UsageError(
            f"a layer of {precision} is {widest:,} wide: at most {MAX_WIDTH:,} keep every "
            "int32 sum of an int8 layer exact. Use fewer tests, or split the model."
        )
    for i, (before, after) in enumerate(pairwise([(n_tests,), *shapes])):
        if before[0] != after[1]:
            raise UsageError(f"layer {i} takes {after[1]} inputs, it is given {before[0]}")


def decode(data: bytes, name: str) -> Contents:
    """Verify a file and take it apart; ``name`` names it in messages.

    The digest is checked before any section is looked at. Arrays are views of ``data``; beside
    it, decoding needs about 300 bytes for each test's name and limits, and less than 2 MiB.

    Raises:
        ModelFileError: a rule of the format is broken; the message names rule, section and field.
    """
    try:
        return _decode(data)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from error
    except (MemoryError, RecursionError, OverflowError) as error:
        raise ModelFileError(f"{name} cannot be read on this machine: {error!r}") from error


def _decode(data: bytes) -> Contents:
    """The schema comes last: its names need more memory than their bytes."""
    shell = open_shell(data)
    sections = shell.sections
    n_tests = decode_n_tests(sections["schema"])
    detector, programs = decode_programs(sections["program"])
    lifted = lift(programs, decode_tensors(sections["tensors"]), n_tests)
    precisions = tuple(program.precision for program in programs)
    points = decode_points(sections["points"], precisions, len(programs[0].operations) - 2)
    golden = decode_golden(sections["golden"], precisions, n_tests)
    history = decode_manifest(sections["manifest"])
    certificate = decode_certificate(sections[CERTIFICATE]) if CERTIFICATE in sections else ""
    schema = decode_schema(sections["schema"])
    model = SealedModel(
        screen=Screen(schema, lifted.scaler, lifted.head, (), points.default_fpr),
        detector=detector,
        fp32=lifted.fp32,
        int8=lifted.int8,
        points=points.points,
        golden=golden,
        latent_layer=lifted.latent_layer,
        bands=points.bands,
        scale_limits=points.scale_limits,
        provenance=history.provenance,
        evaluation=history.evaluation,
        drift=history.drift,
        certificate=certificate,
    )
    return Contents(model, f"kgd {shell.version}", shell.model_id, shell.file_digest)
