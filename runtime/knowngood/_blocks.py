"""An engine given many dies block by block, and its scores made verdicts and reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ._arithmetic import standardise
from ._network import Screen
from ._reasons import why_unscored
from ._verdicts import UNSCORED_SCORE, Reason, Verdict
from .engines import Engine, JudgingEngine

BLOCK = 4096
"""Most dies given to an engine at once: bounds its memory, however large the lot."""
_NUMBERS_PER_BLOCK = 2**23
"""Of a layer, for all dies of a block; a model wider than 2,048 takes fewer dies at once."""
_REJECT = np.array(Verdict.REJECT, dtype=np.int8)
_SMALL = np.full(BLOCK, 2.0**-20, dtype=np.float32)
"""A sum of scores weighted by this overflows for no finite scores, and one NaN or infinity makes it
so: the cheapest test of a small batch."""

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]
Rows = NDArray[np.int32]


def dies_per_block(width: int) -> int:
    """How many dies a model may be given at once whose widest layer has ``width`` numbers."""
    return max(1, min(BLOCK, _NUMBERS_PER_BLOCK // width))


class BlockwiseEngine:
    """An engine at one threshold, for any number of dies; arrays are as ``Engine`` takes them.

    Args:
        n_dies: most that the engine is given at once, at most ``BLOCK``.
        is_exact: the scores are those of docs/arithmetic.md, not of an ONNX or TFLite graph.
    """

    def __init__(
        self,
        engine: Engine,
        screen: Screen,
        threshold: NDArray[np.float32],
        *,
        n_dies: int,
        is_exact: bool,
    ) -> None:
        self._engine = engine
        self._screen = screen
        self._threshold = threshold
        self._n_dies = n_dies
        self._is_exact = is_exact
        self._judging = engine if isinstance(engine, JudgingEngine) else None

    def judge(
        self, values: Floats, rows: Rows | None, scores: Floats, verdicts: Codes, reasons: Codes
    ) -> None:
        """Fill scores, verdicts and reasons, each ``(n_dies,)``."""
        if 0 < len(values) <= self._n_dies:
            self._judge_block(values, rows, scores, verdicts, reasons)
            return
        for part in self._parts(len(values)):
            self._judge_block(
                values[part], _of(rows, part), scores[part], verdicts[part], reasons[part]
            )

    def _judge_block(
        self, values: Floats, rows: Rows | None, scores: Floats, verdicts: Codes, reasons: Codes
    ) -> None:
        if self._judging is not None:
            scores[:], verdicts[:], reasons[:] = self._judging.judge(values, rows)
            return
        scores[:] = self._engine.score(values, rows)
        np.subtract(_REJECT, scores <= self._threshold, out=verdicts)
        reasons.fill(Reason.NONE)
        if not math.isfinite(scores.dot(_SMALL[: len(scores)])):
            bad = np.flatnonzero(~np.isfinite(scores))
            scores[bad] = UNSCORED_SCORE
            verdicts[bad] = Verdict.UNSCORED
            known = np.zeros(len(bad), np.int32) if rows is None else rows[bad]
            reasons[bad] = why_unscored(self._screen, values[bad], known, is_exact=self._is_exact)

    def reconstruct(self, values: Floats, rows: Rows | None) -> Floats:
        """The standardised reconstruction, float32 ``(n_dies, n_tests)``."""
        reconstruction = np.empty(values.shape, dtype=np.float32)
        for part in self._parts(len(values)):
            reconstruction[part] = self._engine.reconstruct(values[part], _of(rows, part))
        return reconstruction

    def encode(self, values: Floats, rows: Rows | None, n_latent: int) -> Floats:
        """The latent code, float32 ``(n_dies, n_latent)``; NaN of a die that is not evaluable."""
        codes = np.empty((len(values), n_latent), dtype=np.float32)
        for part in self._parts(len(values)):
            codes[part] = self._engine.latent(values[part], _of(rows, part))
            if not self._is_exact:  # a graph gives a code to any die
                dies = standardise(self._screen.scaler, values[part], _of(rows, part))
                codes[part][~dies.evaluable] = UNSCORED_SCORE
        return codes

    def parts(self, n_dies: int, rows: Rows | None) -> Iterator[tuple[slice, Rows | None]]:
        """The blocks that the engine is given at once, each with its rows of the scaler."""
        return ((part, _of(rows, part)) for part in self._parts(n_dies))

    def _parts(self, n_dies: int) -> Iterator[slice]:
        return (slice(start, start + self._n_dies) for start in range(0, n_dies, self._n_dies))


def _of(rows: Rows | None, part: slice) -> Rows | None:
    return None if rows is None else rows[part]
