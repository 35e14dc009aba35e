"""What the autoencoder adds, told as data and in words, at each yield loss."""

from __future__ import annotations

import numpy as np
import pytest

from knowngood._manifest import DetectionCurve, Evaluation
from knowngood_export._added_value import added_value

GRID = (0.005, 0.02)


def evaluation(
    detection: dict[str, dict[str, tuple[float, float]]], n: int = 2000, n_good: int = 4000
) -> Evaluation:
    curves = tuple(
        DetectionCurve(detector, defect, n, shares)
        for detector, classes in detection.items()
        for defect, shares in classes.items()
    )
    return Evaluation("how", n_good, GRID, curves)


def test_more_at_one_yield_loss_and_nothing_at_another() -> None:
    found = evaluation(
        {
            "autoencoder": {"a": (0.6, 0.9), "b": (0.4, 0.8)},
            "pat": {"a": (0.5, 0.6), "b": (0.0, 0.1)},
            "pca": {"a": (0.3, 0.9), "b": (0.3, 0.8)},
        }
    )
    strict, usual = (added_value(found, fpr) for fpr in GRID)
    assert strict.detection == pytest.approx({"autoencoder": 0.5, "pat": 0.25, "pca": 0.3})
    assert (strict.best_classical, strict.finds) == ("pca", "more")
    assert strict.difference == pytest.approx(0.2)
    assert strict.by_defect == pytest.approx({"a": 0.1, "b": 0.1})  # beside PAT, beside PCA
    assert "20.0 points more than the best classical screen" in str(strict)
    assert usual.finds == "nothing more"
    assert "PCA residual 85.0%; the autoencoder adds nothing" in str(usual)


def test_less_is_called_less() -> None:
    found = evaluation({"autoencoder": {"a": (0.1, 0.2)}, "t2": {"a": (0.1, 0.7)}})
    assert added_value(found, 0.02).finds == "less"
    text = "autoencoder 20.0%, Hotelling T² 70.0%; the autoencoder finds 50.0 points less"
    assert text in str(added_value(found, 0.02))


@pytest.mark.parametrize(("n", "finds"), [(200, "nothing more"), (5000, "more")])
def test_few_dies_show_no_small_difference(n: int, finds: str) -> None:
    """5 points at about a half: a standard error of 5.0 with 200 dies, of 1.0 with 5,000."""
    found = evaluation({"autoencoder": {"a": (0.5, 0.55)}, "pca": {"a": (0.5, 0.5)}}, n=n)
    added = added_value(found, 0.02)
    assert added.finds == finds
    error = np.sqrt((0.55 * 0.45 + 0.5 * 0.5) / n)
    assert added.smallest_shown == pytest.approx(2 * error)
    assert added_value(found, 0.005).finds == "nothing more"


def test_good_dies_that_are_too_few_for_the_yield_loss_are_told() -> None:
    found = evaluation({"autoencoder": {"a": (0.5, 0.5)}}, n_good=500)
    assert [added_value(found, fpr).supported for fpr in GRID] == [False, True]
    assert str(added_value(found, 0.02)).endswith("the autoencoder finds 50.0%")
    assert added_value(found, 0.02).by_defect == {}
