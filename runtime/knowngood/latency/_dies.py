"""Dies to time with: made up, and yet such as the model takes for good ones.

In verified precision a die near the threshold costs more than one far from it, so dies of pure
noise, which no model reconstructs, would not cost what a lot does; and dies that all lie near it
tell what a touchdown may cost at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._bench import made_up_dies
from .._network import Screen
from .._scorer import Scorer

N_DISTINCT = 256
N_NEAR = 16
SEED = 0
FARTHEST = 64.0
"""In residuals of good dies: at such a distance no die passes."""
N_HALVINGS = 26
"""Of the distance; what is left is about a float32's rounding."""


def likely_dies(scorer: Scorer, n_dies: int) -> NDArray[np.float32]:
    """Raw values float32 ``(n_dies, n_tests)``, none missing; 256 dies over and over.

    Each is what the model expects of a random die, plus residuals as large as those of good dies.
    """
    dies = _MadeUp(scorer, min(n_dies, N_DISTINCT)).at(1.0)
    return np.resize(dies, (n_dies, dies.shape[1]))


def dies_near_threshold(verified: Scorer, int8: Scorer, n_dies: int) -> NDArray[np.float32] | None:
    """Dies that "verified" scores twice, in int8 and fp32: float32 ``(n_dies, n_tests)``.

    Up to 16 dies over and over, each moved away from what the model expects of it until its int8
    score reaches the threshold. None where no such die is scored twice.
    """
    made = _MadeUp(int8, N_NEAR)
    near, far = np.zeros((N_NEAR, 1)), np.full((N_NEAR, 1), FARTHEST)
    for _ in range(N_HALVINGS):
        middle = (near + far) / 2
        passes = int8.score(made.at(middle)).scores[:, np.newaxis] <= verified.threshold
        near, far = np.where(passes, middle, near), np.where(passes, far, middle)
    dies = made.at(near)
    dies = dies[are_rescored(verified, int8, dies)]
    return np.resize(dies, (n_dies, dies.shape[1])) if len(dies) else None


def are_rescored(verified: Scorer, int8: Scorer, dies: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether "verified" scores dies again in fp32: bool ``(n_dies,)``.

    It does if the int8 score lies in the band; and if it does so for another reason, it is seen to
    give another score.
    """
    first, last = int8.score(dies).scores, verified.score(dies).scores
    rescored: NDArray[np.bool_] = first.view(np.uint32) != last.view(np.uint32)
    sealed = verified._model.sealed
    if sealed is not None:
        band = sealed.band(verified.fpr)
        rescored |= (first >= np.float32(band.lo)) & (first <= np.float32(band.hi))
    return rescored


class _MadeUp:
    """Random dies, at any distance from what the model expects of them."""

    def __init__(self, scorer: Scorer, n_dies: int) -> None:
        self._scaler = scorer.screen.scaler
        noise = made_up_dies(scorer.screen, n_dies, seed=SEED)
        self._expected = scorer.reconstruct(noise)
        z = np.random.default_rng(SEED + 1).standard_normal(noise.shape)
        self._residual = z * residual_scale(scorer.screen)

    def at(self, distance: float | NDArray[np.float64]) -> NDArray[np.float32]:
        """Raw values, float32; ``distance`` 1 is that of good dies, one or ``(n_dies, 1)``."""
        u = self._expected + distance * self._residual
        values = self._scaler.centre[0] + u / self._scaler.inv_scale[0]
        dies: NDArray[np.float32] = values.astype(np.float32)
        return dies


def residual_scale(screen: Screen) -> NDArray[np.float64]:
    """How far good dies lie from what is expected of them, standardised: float64 ``(n_tests,)``."""
    head = screen.head
    scale: NDArray[np.float64] = np.sqrt(head.expected_square.astype(np.float64))
    return scale / head.residual_weight
