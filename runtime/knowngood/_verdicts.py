"""Verdicts, their reasons, and what they mean for a die of a lot.

The zero of each enumeration is the safe one: a zeroed buffer passes no die.
"""

from __future__ import annotations

from enum import Enum, IntEnum

import numpy as np

UNSCORED_SCORE = np.array(0x7FC00000, dtype=np.uint32).view(np.float32)[()]
"""The score of an unscored die: the quiet NaN with bits 0x7FC00000."""


class Verdict(IntEnum):
    """What the model says of a die. ``PASS`` only if the score is finite and ≤ the threshold."""

    UNSCORED = 0
    PASS = 1
    REJECT = 2


class Reason(IntEnum):
    """Why a die is unscored; ``NONE`` for a scored die."""

    NONE = 0
    NO_DATA = 1
    TOO_MANY_MISSING = 2
    NOT_FINITE = 3
    RANGE = 4
    TESTER_FAIL = 5
    SCHEMA = 6
    DEADLINE = 7
    ENGINE_FAULT = 8

    @property
    def text(self) -> str:
        """The reason as tables show it: lower case with blanks, empty for ``NONE``."""
        return "" if self is Reason.NONE else self.name.lower().replace("_", " ")


class Disposition(str, Enum):
    """What is to be done with a die of a lot."""

    HOLD = "hold"
    KEEP = "keep"
    OUTLIER = "outlier"
    TESTER_FAIL = "tester_fail"

    def __str__(self) -> str:
        return self.value
