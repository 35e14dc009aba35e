"""What the generator knows of silicon: process factors, families of tests, and blocks of a program.

Everything here is data. A family says in which units its tests are, how large they are, how they
respond to the process, and what moves them; a block is a run of tests of one family that share a
circuit, and with it a factor of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

PROCESS_FACTORS = (
    "threshold_n",
    "threshold_p",
    "gate_length",
    "oxide",
    "mobility",
    "sheet_resistance",
    "bandgap",
    "temperature",
    "supply",
)
"""Factors that reach every block; each block adds one of its own."""

N_FIXTURE_FACTORS = 3
"""How sites differ: contact resistance, supply drop, timing skew."""


class Response(IntEnum):
    """How a test follows its linear index of the factors, h ~ N(0, 1), with curvature a."""

    LINEAR = 0
    EXPONENTIAL = 1
    """exp(a·h): subthreshold leakage."""
    DELAY = 2
    """(1 − a·h)^−1.3: the alpha-power law of gate delay, with h the loss of overdrive."""
    SPEED = 3
    """(1 + a·h)^1.3: its reciprocal, with h the gain of overdrive."""


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of test.

    Attributes:
        units: as STDF writes them, unscaled.
        centre: range of nominal values, drawn log-uniformly.
        relative_sigma: range of sigma/centre, drawn log-uniformly; where the response is
            exponential, sigma follows from the exponent instead.
        moved_by: process factor → sensitivity of the family's typical test.
        response, curvature: shape, and the range of its parameter a.
        coded: values are whole numbers.
        one_sided: share of tests that have an upper limit only.
    """

    units: str
    centre: tuple[float, float]
    relative_sigma: tuple[float, float]
    moved_by: dict[str, float] = field(default_factory=dict)
    response: Response = Response.LINEAR
    curvature: tuple[float, float] = (0.0, 0.0)
    coded: bool = False
    one_sided: float = 0.0


FAMILIES = {
    "voltage": Family(
        "V", (0.3, 5.0), (2e-3, 2e-2),
        {"bandgap": 0.6, "supply": 0.5, "threshold_n": 0.3, "temperature": 0.2},
    ),
    "reference": Family(
        "V", (0.6, 3.3), (1e-6, 1e-3),
        {"bandgap": 0.9, "temperature": 0.3, "sheet_resistance": 0.2},
    ),
    "leakage": Family(
        "A", (6e-12, 1e-6), (0.2, 0.5),
        {"threshold_n": -0.7, "threshold_p": -0.5, "gate_length": -0.5, "temperature": 0.4,
         "oxide": -0.3},
        Response.EXPONENTIAL, (0.2, 0.5), one_sided=0.6,
    ),
    "timing": Family(
        "s", (1e-10, 1e-6), (1e-2, 5e-2),
        {"threshold_n": 0.5, "threshold_p": 0.4, "gate_length": 0.6, "mobility": -0.4,
         "supply": -0.3},
        Response.DELAY, (0.03, 0.09), one_sided=0.3,
    ),
    "frequency": Family(
        "Hz", (1e6, 1e9), (5e-3, 4e-2),
        {"threshold_n": -0.5, "threshold_p": -0.4, "gate_length": -0.5, "mobility": 0.5,
         "temperature": -0.2},
        Response.SPEED, (0.03, 0.09),
    ),
    "locked frequency": Family(
        "Hz", (1e7, 1e9), (1e-6, 1e-4),
        {"temperature": 0.7, "bandgap": 0.3, "supply": 0.5},
    ),
    "resistance": Family(
        "Ohm", (0.1, 1e6), (1e-2, 6e-2),
        {"sheet_resistance": 0.8, "temperature": 0.4, "oxide": 0.2},
    ),
    "current": Family(
        "A", (1e-5, 0.5), (1e-2, 6e-2),
        {"mobility": 0.5, "gate_length": -0.5, "threshold_n": -0.4, "oxide": -0.4},
        Response.SPEED, (0.03, 0.08),
    ),
    "code": Family(
        "", (100.0, 3000.0), (1e-3, 1e-2),
        {"bandgap": -0.6, "sheet_resistance": 0.5, "temperature": 0.2, "oxide": 0.2},
        coded=True,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BlockKind:
    """A block as the catalogue has it: its name, its family, its part of the program."""

    name: str
    family: str
    share: float


BLOCKS = (
    BlockKind("VDD_IO_VOH", "voltage", 0.10),
    BlockKind("TPD", "timing", 0.10),
    BlockKind("IIL", "leakage", 0.09),
    BlockKind("RON", "resistance", 0.08),
    BlockKind("IDD_ACT", "current", 0.08),
    BlockKind("VDD_IO_VOL", "voltage", 0.08),
    BlockKind("IDDQ", "leakage", 0.08),
    BlockKind("VREG_OUT", "voltage", 0.07),
    BlockKind("TSU", "timing", 0.07),
    BlockKind("FOSC", "frequency", 0.06),
    BlockKind("VREF", "reference", 0.04),
    BlockKind("FPLL", "locked frequency", 0.04),
    BlockKind("RPU", "resistance", 0.04),
    BlockKind("ADC_CODE", "code", 0.04),
    BlockKind("DAC_TRIM", "code", 0.03),
)
"""In test order; a short program has the first blocks only."""


@dataclass(frozen=True, slots=True)
class Tightness:
    """How much of a test's variance the factors share, and how many tests stand alone."""

    shared_variance: tuple[float, float]
    independent: float


TIGHTNESS = {
    "tight": Tightness((0.97, 0.998), independent=0.08),
    "loose": Tightness((0.40, 0.70), independent=0.08),
}
