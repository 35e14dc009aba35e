"""One flagged die that PAT and the test limits pass, with the two tests that show why.

PAT here is AEC-Q001's static rule with the model's own scaler: every test within 6 robust sigma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .._network import Scaler
from .._schema import Schema, Test
from .._verdicts import Disposition
from ._dies import DieRows
from ._flagged import TOP_TESTS, FlaggedDie
from ._rescored import Rescored

PAT_SIGMAS = 6.0
MAX_CANDIDATES = 20
"""Flagged dies, by falling score, whose best pair of tests is looked for."""
MAX_CLOUD = 4_000
MIN_CLOUD = 30
IQR_OF_NORMAL = 1.349
"""Interquartile range of a normal distribution in sigma."""


@dataclass(frozen=True)
class Axis:
    """One test of the scatter plot, in the test's own units.

    Attributes:
        cloud: float32 ``(n,)``, the kept dies that have both tests.
        pat: centre ± 6 robust sigma.
        z: the die's own robust z on this test alone.
    """

    test: Test
    cloud: NDArray[np.float32]
    die: float
    pat: tuple[float, float]
    z: float


@dataclass(frozen=True)
class Showcase:
    """The die, and how far off the line of two tests it lies.

    Attributes:
        max_z: largest |robust z| of any of its tests.
        correlation: of the two tests over the kept dies.
        off_line: distance of the die from the line through the kept dies, in robust sigma.
        line: slope and intercept of y over x.
        n_passed: flagged dies that PAT and the limits pass, of ``n_flagged``.
    """

    die: FlaggedDie
    x: Axis
    y: Axis
    max_z: float
    correlation: float
    off_line: float
    line: tuple[float, float]
    n_passed: int
    n_flagged: int

    @property
    def is_clear(self) -> bool:
        """Whether this pair alone explains the verdict."""
        return self.off_line >= PAT_SIGMAS


def find_showcase(
    dies: DieRows, flagged: Sequence[FlaggedDie], rescored: Rescored
) -> Showcase | None:
    """The clearest die that PAT and the limits pass, by its distance off the line; or None."""
    passed = passed_by_pat(flagged, rescored)
    cloud = _Cloud.of(dies, rescored)
    if not passed or len(cloud.u) < MIN_CLOUD:
        return None
    pairs = (
        _pair(die, rescored.column_of[contribution.test.key], cloud, rescored)
        for die in passed[:MAX_CANDIDATES]
        for contribution in rescored.top_tests(die.row)[:TOP_TESTS]
    )
    best = max((p for p in pairs if p is not None), key=lambda p: p.off_line, default=None)
    return best and replace(best, n_passed=len(passed), n_flagged=len(flagged))


def passed_by_pat(flagged: Sequence[FlaggedDie], rescored: Rescored) -> list[FlaggedDie]:
    """The flagged dies with every test within 6 robust sigma and within its limits."""
    rows = np.array([die.row for die in flagged], dtype=np.int64)
    with np.errstate(invalid="ignore"):
        far = (np.abs(rescored.standardised(rows)) > PAT_SIGMAS).any(axis=1)
    fails = _outside_limits(rescored.values[rows], rescored.screen.schema)
    return [die for die, is_odd in zip(flagged, far | fails, strict=True) if not is_odd]


def _outside_limits(values: NDArray[np.float32], schema: Schema) -> NDArray[np.bool_]:
    low = np.array([-np.inf if t.low is None else t.low for t in schema.tests], dtype=np.float32)
    high = np.array([np.inf if t.high is None else t.high for t in schema.tests], dtype=np.float32)
    with np.errstate(invalid="ignore"):
        outside = (values < low) | (values > high)
    return np.asarray(outside.any(axis=1))


@dataclass(frozen=True)
class _Cloud:
    """The kept dies that a flagged one is compared with.

    Attributes:
        values: float32 ``(n, n_tests)``.
        u: float32 ``(n, n_tests)``, by the pooled scaler, clipped at PAT's limits.
        unit: u centred and scaled to columns of length 1, 0 where a test is missing.
    """

    values: NDArray[np.float32]
    u: NDArray[np.float32]
    unit: NDArray[np.float32]
    scaler: Scaler

    @classmethod
    def of(cls, dies: DieRows, rescored: Rescored) -> _Cloud:
        rows = dies.row[dies.are(Disposition.KEEP)]
        values = rescored.values[rows[:: max(1, -(-len(rows) // MAX_CLOUD))]]
        scaler = rescored.screen.scaler
        pooled = np.zeros(len(values), dtype=np.int32)
        u = np.clip(scaler.standardise(values, pooled), -PAT_SIGMAS, PAT_SIGMAS)
        n_present = np.maximum(np.isfinite(u).sum(axis=0), 1)
        centred = np.nan_to_num(u - np.nansum(u, axis=0) / n_present).astype(np.float32)
        length = np.sqrt((centred * centred).sum(axis=0))
        return cls(values, u, centred / np.where(length > 0, length, np.float32(1)), scaler)

    def partner(self, column: int, value: NDArray[np.float32]) -> int | None:
        """The test most correlated with ``column`` among those the die has, None without any."""
        correlation = np.abs(self.unit.T @ self.unit[:, column])
        correlation[np.isnan(value)] = 0.0
        correlation[column] = 0.0
        best = int(np.argmax(correlation))
        return best if correlation[best] > 0 else None


def _pair(die: FlaggedDie, y: int, cloud: _Cloud, rescored: Rescored) -> Showcase | None:
    """A test of the die against the one most correlated with it over the kept dies."""
    value = rescored.values[die.row]
    x = cloud.partner(y, value)
    if x is None:
        return None
    both = np.isfinite(cloud.u[:, [x, y]]).all(axis=1)
    cloud_x, cloud_y = cloud.u[both, x].astype(np.float64), cloud.u[both, y].astype(np.float64)
    if len(cloud_x) < MIN_CLOUD or not (np.ptp(cloud_x) and np.ptp(cloud_y)):
        return None
    slope, intercept, spread = _line(cloud_x, cloud_y)
    at = cloud.scaler.standardise(value[None], np.zeros(1, dtype=np.int32))[0].astype(np.float64)
    own = rescored.standardised(np.array([die.row]))[0]
    return Showcase(
        die=die,
        x=_axis(x, value, own, cloud.values[both], rescored),
        y=_axis(y, value, own, cloud.values[both], rescored),
        max_z=float(np.nanmax(np.abs(own))),
        correlation=float(np.corrcoef(cloud_x, cloud_y)[0, 1]),
        off_line=float(abs(at[y] - slope * at[x] - intercept) / spread),
        line=_raw_line(slope, intercept, cloud.scaler, x, y),
        n_passed=0,
        n_flagged=0,
    )


def _axis(
    column: int,
    value: NDArray[np.float32],
    own: NDArray[np.float32],
    cloud: NDArray[np.float32],
    rescored: Rescored,
) -> Axis:
    scaler = rescored.screen.scaler
    centre = float(scaler.centre[0, column])
    half_width = PAT_SIGMAS / float(scaler.inv_scale[0, column])
    return Axis(
        test=rescored.screen.schema.tests[column],
        cloud=cloud[:, column],
        die=float(value[column]),
        pat=(centre - half_width, centre + half_width),
        z=float(own[column]),
    )


def _raw_line(
    slope: float, intercept: float, scaler: Scaler, x: int, y: int
) -> tuple[float, float]:
    """Slope and intercept in the tests' units of a line between standardised tests."""
    centre, inverse = scaler.centre[0], scaler.inv_scale[0]
    raw_slope = slope * inverse[x] / inverse[y]
    return float(raw_slope), float(centre[y] + intercept / inverse[y] - raw_slope * centre[x])


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Least-squares slope and intercept of y over x, and the robust sigma of what is left."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = y - (slope * x + intercept)
    lower, middle, upper = np.percentile(rest, [25, 50, 75])
    spread = max((upper - lower) / IQR_OF_NORMAL, float(np.finfo(np.float32).eps))
    return float(slope), float(intercept + middle), float(spread)
