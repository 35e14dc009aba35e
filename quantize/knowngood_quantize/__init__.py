"""What turns a trained network into a screen: scaling, heads, thresholds, int8, the yardstick.

NumPy only, no torch. Everything is learnt from held-out good dies:

* ``fit_scaler``, ``fit_head``, ``fit_operating_points``: from values to verdicts;
  ``refit_operating_points``: the same verdicts by another form's scores;
* ``choose_head``: the head that suits these dies, by the injected defects that each finds;
* ``quantize``: the int8 form, by an ``Int8Recipe``; ``quantize_measured``: by the best of some;
* ``calibrate_bands``: which int8 scores need fp32 for the verdict to be that of fp32;
* ``evaluate``: detection at equal yield loss, on defects made by ``standard_defects``;
* ``measure_drift``: an exported form against the reference.
"""

from ._ranking import roc_auc
from .bands import BandEvidence, CalibratedBands, calibrate_bands
from .drift import measure_drift
from .head_choice import ChosenHead, HeldOut, choose_head
from .heads import (
    HeadCandidate,
    TrainingDies,
    fit_head,
    fit_heads,
    residual_sigma,
    unfitted_head,
)
from .injection import (
    CorrelatedBlock,
    InjectedSet,
    correlated_blocks,
    inject,
    limits_of,
    standard_defects,
)
from .int8 import Int8Recipe, quantize, simulate, weight_steps
from .int8_trials import Trial, quantize_measured
from .scaling import fit_scaler, unusable_tests
from .thresholds import (
    add_operating_points,
    conformal_thresholds,
    fit_operating_points,
    refit_operating_points,
)
from .yardstick import (
    MissingPatternCheck,
    detection_at,
    evaluate,
    evaluate_scores,
    fail_die_figures,
    missing_pattern_check,
)

__all__ = [
    "BandEvidence",
    "CalibratedBands",
    "ChosenHead",
    "CorrelatedBlock",
    "HeadCandidate",
    "HeldOut",
    "InjectedSet",
    "Int8Recipe",
    "MissingPatternCheck",
    "TrainingDies",
    "Trial",
    "add_operating_points",
    "calibrate_bands",
    "choose_head",
    "conformal_thresholds",
    "correlated_blocks",
    "detection_at",
    "evaluate",
    "evaluate_scores",
    "fail_die_figures",
    "fit_head",
    "fit_heads",
    "fit_operating_points",
    "fit_scaler",
    "inject",
    "limits_of",
    "measure_drift",
    "missing_pattern_check",
    "quantize",
    "quantize_measured",
    "refit_operating_points",
    "residual_sigma",
    "roc_auc",
    "simulate",
    "standard_defects",
    "unfitted_head",
    "unusable_tests",
    "weight_steps",
]
