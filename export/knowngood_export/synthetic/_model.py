"""A process as the generator holds it: tests, what drives them, their noise and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from knowngood._schema import Schema
from knowngood_quantize.injection import CorrelatedBlock

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """A run of tests that share a circuit: columns ``start`` to ``stop − 1``."""

    name: str
    family: str
    start: int
    stop: int

    @property
    def columns(self) -> NDArray[np.int64]:
        """int64 ``(stop − start,)``."""
        return np.arange(self.start, self.stop)


@dataclass(frozen=True, eq=False)
class ProcessModel:
    """A product on a process; made by :func:`process`, the same for the same arguments.

    Attributes:
        correlation: ``"tight"`` or ``"loose"``.
        seed: what it was drawn with.
        schema: the tests with units and limits, in test order.
        blocks: runs of tests that share a circuit; they cover all tests.
        loadings: float64 ``(n_tests, n_factors)``, rows of norm 1, or 0 for independent tests.
        fixture_loadings: float64 ``(n_tests, 3)``, sigma per unit of a site's coordinates.
        radial: float64 ``(n_factors,)``, how factors bend from the wafer's centre to its edge.
        shared_variance: float64 ``(n_tests,)``, the part the factors explain; 0 if independent.
        response, curvature: ``(n_tests,)``, the shape of each test.
        noise_dof: float64 ``(n_tests,)``, of Student's t; infinite for Gaussian noise, 0 for
            exponential noise.
        nominal, scale: float64 ``(n_tests,)`` in the test's units.
        is_coded: bool ``(n_tests,)``, values are whole numbers.
        centre, sigma: float64 ``(n_tests,)``, robust, of the characterisation population.
    """

    correlation: str
    seed: int
    schema: Schema
    blocks: tuple[Block, ...]
    loadings: Float64
    fixture_loadings: Float64
    radial: Float64
    shared_variance: Float64
    response: NDArray[np.int8]
    curvature: Float64
    noise_dof: Float64
    nominal: Float64
    scale: Float64
    is_coded: NDArray[np.bool_]
    centre: Float64
    sigma: Float64

    @property
    def n_tests(self) -> int:
        """Width of the values."""
        return self.schema.n_tests

    @property
    def n_factors(self) -> int:
        """Process factors and one of each block."""
        return int(self.loadings.shape[1])

    @property
    def is_independent(self) -> NDArray[np.bool_]:
        """bool ``(n_tests,)``: tests that no factor moves."""
        return np.equal(self.shared_variance, 0.0)

    @cached_property
    def limits(self) -> Float64:
        """float64 ``(n_tests, 2)``: low and high in the test's units, ∓∞ where there is none."""
        low = [-np.inf if t.low is None else t.low for t in self.schema.tests]
        high = [np.inf if t.high is None else t.high for t in self.schema.tests]
        return np.column_stack([low, high]).astype(np.float64)

    def columns_of(self, *families: str) -> NDArray[np.int64]:
        """Columns of the tests that belong to the families."""
        found = [b.columns for b in self.blocks if b.family in families]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def correlated_blocks(self) -> tuple[CorrelatedBlock, ...]:
        """The blocks as the injection of defects takes them: dependent tests, three and more."""
        blocks = []
        for block in self.blocks:
            columns = block.columns[~self.is_independent[block.columns]]
            if len(columns) >= 3:
                similarity = self.loadings[columns] @ self.loadings[columns].mean(axis=0)
                blocks.append(CorrelatedBlock(columns, np.where(similarity < 0, -1.0, 1.0)))
        return tuple(blocks)
