"""What turns a trained network into a screen: scaling, heads, thresholds, int8, the yardstick.

NumPy only, no torch. Everything is learnt from held-out good dies:

* ``fit_scaler``, ``fit_head``, ``fit_operating_points``: from values to verdicts;
* ``quantize``: the int8 form, by an ``Int8Recipe``;
* ``evaluate``: detection at equal yield loss, on defects made by ``standard_defects``;
* ``measure_drift``: an exported form against the reference.
"""

from ._ranking import roc_auc
from .drift import measure_drift
from .heads import fit_head, residual_sigma, unfitted_head
from .injection import (
    CorrelatedBlock,
    InjectedSet,
    correlated_blocks,
    inject,
    limits_of,
    standard_defects,
)
from .int8 import Int8Recipe, quantize, simulate
from .scaling import fit_scaler, unusable_tests
from .thresholds import conformal_thresholds, fit_operating_points
from .yardstick import (
    MissingPatternCheck,
    detection_at,
    evaluate,
    evaluate_scores,
    fail_die_figures,
    missing_pattern_check,
)

__all__ = [
    "CorrelatedBlock",
    "InjectedSet",
    "Int8Recipe",
    "MissingPatternCheck",
    "conformal_thresholds",
    "correlated_blocks",
    "detection_at",
    "evaluate",
    "evaluate_scores",
    "fail_die_figures",
    "fit_head",
    "fit_operating_points",
    "fit_scaler",
    "inject",
    "limits_of",
    "measure_drift",
    "missing_pattern_check",
    "quantize",
    "residual_sigma",
    "roc_auc",
    "simulate",
    "standard_defects",
    "unfitted_head",
    "unusable_tests",
]
