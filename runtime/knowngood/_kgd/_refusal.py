"""The one form that every refusal of a ``.kgd`` file has."""

from __future__ import annotations

from enum import IntEnum

from knowngood._errors import ModelFileError


class Rule(IntEnum):
    """The numbered rules of docs/format.md that a reader checks."""

    VERSION = 1
    SIZE = 2
    DIGEST = 3
    SECTIONS = 4
    COUNTS = 5
    MODEL_ID = 6
    TRAILER = 7
    FINITE_AND_TEXT = 8
    CODES = 9
    TESTS = 10
    DISTINCT_TESTS = 11
    TENSORS = 12
    TENSOR_USE = 13
    TOPOLOGY = 14
    CHAIN = 15
    TWO_PROGRAMS = 16
    ACTIVATIONS = 17
    INT8 = 18
    SCALER = 19
    HEAD = 20
    POINTS = 21
    YIELD_LOSSES = 22
    BANDS = 23
    GOLDEN = 24
    JSON = 25
    JSON_SIZE = 26


def refuse(
    where: str,
    rule: Rule,
    expected: object,
    found: object,
    advice: str = "Copy the file or export the model again.",
) -> ModelFileError:
    """The error for a file that breaks ``rule`` at ``where``, a section and its field."""
    return ModelFileError(
        f"{where}: expected {expected}, found {found} (rule {rule.value} of the .kgd format). "
        f"{advice}"
    )
