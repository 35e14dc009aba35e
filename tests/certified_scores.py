"""Scores of a reference and a form, drawn, and certificates of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from knowngood._network import OperatingPoint
from knowngood._sealed import Band
from knowngood_quantize.certificate import (
    Certificate,
    CertificateGates,
    DieSet,
    FormCertificate,
    FormScores,
    ReferenceScores,
    Rescored,
    Scored,
    ScoredDies,
    certify_form,
    certify_reference,
)
from knowngood_quantize.yardstick import YIELD_LOSS_GRID

POINTS = (
    OperatingPoint(0.001, 3.0, 2.9, 3.2, 4000, False),
    OperatingPoint(0.005, 2.5, 2.4, 2.6, 4000, True),
    OperatingPoint(0.02, 2.0, 1.9, 2.1, 4000, True),
)


def scored(n_good: int = 4000, n_defective: int = 500, *, seed: int = 0) -> ScoredDies:
    """Good dies about 1, two classes of defective ones about 2 and 4; one die unscored."""
    rng = np.random.default_rng(seed)
    good = rng.lognormal(0, 0.35, n_good).astype(np.float32)
    good[0] = np.nan
    shift = rng.lognormal(np.log(2), 0.4, n_defective).astype(np.float32)
    spike = rng.lognormal(np.log(4), 0.4, n_defective).astype(np.float32)
    return ScoredDies(good, {"shift": shift, "spike": spike})


def disturbed(dies: ScoredDies, bias: float, spread: float, *, seed: int = 1) -> ScoredDies:
    """The same dies with relative score errors."""
    rng = np.random.default_rng(seed)

    def disturb(scores: Any) -> Any:
        return (scores * (1 + bias + spread * rng.normal(size=len(scores)))).astype(np.float32)

    return ScoredDies(disturb(dies.good), {n: disturb(s) for n, s in dies.defective.items()})


def reference(dies: ScoredDies) -> ReferenceScores:
    exact = dies.good[:100] * np.float32(1 + 2**-20)
    by = Scored("kgd fp32", "fp32", "native", "0.1.0", "scalar", "ab" * 32)
    return ReferenceScores(by, dies, POINTS, (np.arange(100), exact))


def int8(dies: ScoredDies, *, refit: float = 1.0, precision: str = "int8") -> FormScores:
    """``refit``: its own thresholds over those of the reference."""
    thresholds = {p.fpr: float(np.float32(p.threshold * refit)) for p in POINTS}
    by = Scored(f"kgd {precision}", precision, "native", "0.1.0", "scalar", "ab" * 32)
    return FormScores(by, dies, thresholds, top5_overlap=0.96, n_overlap=50)


def verified(dies: ScoredDies, *, rescored: int = 40) -> FormScores:
    found = int8(dies, precision="verified")
    bands = {p.fpr: Band(p.threshold - 0.25, p.threshold + 0.25) for p in POINTS}
    at = {fpr: Rescored(dies, band, rescored, 3) for fpr, band in bands.items()}
    return replace(found, rescored=at)


def certificate(*forms: FormCertificate, gates: CertificateGates | None = None) -> Certificate:
    dies = scored()
    gates = gates or CertificateGates()
    judged = tuple(replace(f, breaches=gates.breaches(f, 1e-6)) for f in forms)
    return Certificate(
        created="2026-11-22T10:00:00+00:00",
        model_id="ab" * 32,
        default_fpr=0.005,
        reference=certify_reference(reference(dies)),
        dies=(
            DieSet("good", "good", 4000, "cd" * 32),
            DieSet("shift", "defective", 500, "12" * 32),
            DieSet("spike", "defective", 500, "34" * 32),
        ),
        dies_note='dies of lot é <b>"7"</b>',
        yield_loss=YIELD_LOSS_GRID,
        forms=judged,
        gates=gates,
        recipe={"rounding": "gptq"},
        band_evidence={"margin": 1.5},
        versions={"numpy": "2.1"},
        platform="Linux",
        processor="a CPU",
        weight_steps=(119.0, 124.5),
        notes=("a <note>",),
    )


def usual_certificate() -> Certificate:
    """fp32 verified, int8 a little off, int8 far off."""
    dies = scored()
    forms = (
        verified(dies),
        int8(disturbed(dies, 0.002, 0.002), refit=1.002),
        replace(int8(disturbed(dies, 0.3, 0.2)), by=Scored("tflite int8", "int8", "litert", "2.3")),
    )
    return certificate(*(certify_form(reference(dies), form) for form in forms))
