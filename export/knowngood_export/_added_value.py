"""What the autoencoder adds to the best of PAT, T² and the PCA residual, at equal yield loss.

Often that is nothing: where tests share few linear factors a PCA residual finds the same defects,
and it is said so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from knowngood._manifest import Evaluation
from knowngood._network import MIN_EXCEEDANCES
from knowngood_quantize.yardstick import detection_at

NAMES = {"autoencoder": "autoencoder", "pat": "PAT", "t2": "Hotelling T²", "pca": "PCA residual"}
AS_GOOD = 0.01
"""Detection that differs by less than a point is called equal, whatever the number of dies."""
STANDARD_ERRORS = 2.0
"""And so is what the defective dies are too few to tell apart."""


@dataclass(frozen=True)
class AddedValue:
    """The autoencoder against the best classical screen.

    Attributes:
        yield_loss: that both are held to.
        supported: the good dies suffice for a threshold there.
        detection: mean share of the injected defects found over the classes, by detector.
        best_classical: the best other detector; empty if there is none.
        difference: the autoencoder's detection less the best other's.
        smallest_shown: a difference below this is nothing that these dies can show.
        finds: ``"more"``, ``"nothing more"`` or ``"less"``.
        by_defect: difference to the best other detector of each class.
    """

    yield_loss: float
    supported: bool
    detection: dict[str, float]
    best_classical: str
    difference: float
    smallest_shown: float
    finds: Literal["more", "nothing more", "less"]
    by_defect: dict[str, float]

    def __str__(self) -> str:
        ours = self.detection["autoencoder"]
        if not self.best_classical:
            return f"on average over these classes the autoencoder finds {ours:.1%}"
        best, theirs = NAMES.get(self.best_classical, self.best_classical), ours - self.difference
        figures = f"on average: autoencoder {ours:.1%}, {best} {theirs:.1%}"
        if self.finds == "nothing more":
            return (
                f"{figures}; the autoencoder adds nothing to the best classical screen here "
                f"(less than {self.smallest_shown * 100:.1f} points)"
            )
        return (
            f"{figures}; the autoencoder finds {abs(self.difference) * 100:.1f} points "
            f"{self.finds} than the best classical screen"
        )


def added_value(evaluation: Evaluation, yield_loss: float) -> AddedValue:
    """Of an evaluation with an autoencoder and at least one class of defects.

    Raises:
        UsageError: the yield loss is outside the evaluation's grid.
    """
    defects = list(dict.fromkeys(curve.defect for curve in evaluation.curves))
    found = {
        detector: {d: detection_at(evaluation, detector, d, yield_loss) for d in defects}
        for detector in dict.fromkeys(curve.detector for curve in evaluation.curves)
    }
    mean = {detector: float(np.mean(list(shares.values()))) for detector, shares in found.items()}
    others = [detector for detector in mean if detector != "autoencoder"]
    best = max(others, key=lambda detector: mean[detector], default="")
    difference = mean["autoencoder"] - mean[best] if best else 0.0
    smallest = max(AS_GOOD, STANDARD_ERRORS * _standard_error(evaluation, mean, best))
    return AddedValue(
        yield_loss=yield_loss,
        supported=yield_loss * evaluation.n_good >= MIN_EXCEEDANCES * (1 - 1e-9),
        detection=mean,
        best_classical=best,
        difference=difference,
        smallest_shown=smallest,
        finds=_finds(difference, smallest),
        by_defect={d: found["autoencoder"][d] - max(found[o][d] for o in others) for d in defects}
        if others
        else {},
    )


def _finds(difference: float, smallest: float) -> Literal["more", "nothing more", "less"]:
    if abs(difference) < smallest:
        return "nothing more"
    return "more" if difference > 0 else "less"


def _standard_error(evaluation: Evaluation, mean: dict[str, float], best: str) -> float:
    """Of the difference of two shares, as if the two saw different dies, which makes it larger."""
    n = sum(c.n_defective for c in evaluation.curves if c.detector == "autoencoder")
    shares = (mean["autoencoder"], mean.get(best, 0.0))
    return math.sqrt(sum(p * (1 - p) for p in shares) / max(n, 1))
