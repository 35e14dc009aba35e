"""What the usual gates refuse, with the figures that refuse it, and what they let pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from banded_models import FPRS, Process, autoencoder, model_of, scorer_of

from knowngood._network import Dense
from knowngood._sealed import Band
from knowngood_quantize import Int8Recipe, fit_operating_points, quantize, standard_defects
from knowngood_quantize.bands import calibrate_bands
from knowngood_quantize.certificate import (
    Certificate,
    CertificationDies,
    DieValues,
    FormCertificate,
    certify_scorers,
)

PROCESS = Process(n_tests=48)
GOOD, _ = PROCESS.draw(5000, seed=7)
DIES = CertificationDies(
    DieValues(GOOD),
    {s.name: DieValues(s.values) for s in standard_defects(GOOD, n_dies=1000)},
)
HEADS = ("topk", "mse")
USUAL = Int8Recipe()


def with_a_dead_neuron(network):
    """Large weights that no verdict hangs on: one scale for the whole matrix is theirs."""
    encoder, decoder = network.layers
    large = np.full((1, 48), 200 * np.abs(encoder.weight).max(), np.float32)
    wider = Dense(
        np.concatenate([encoder.weight, large]),
        np.append(encoder.bias, np.float32(-1e6)),
        encoder.activation,
    )
    unused = np.zeros((48, 1), np.float32)
    return replace(
        network, layers=(wider, replace(decoder, weight=np.hstack([decoder.weight, unused])))
    )


def int8_model(head, recipe=USUAL, calibration=None):
    """fp32 and int8 of one network, each with thresholds of its own."""
    base = model_of(PROCESS, head)
    network = replace(with_a_dead_neuron(autoencoder(PROCESS)), screen=base.screen)
    dies = PROCESS.draw(4000, seed=1)[0] if calibration is None else calibration
    layers = quantize(network, dies, None, recipe).layers
    model = replace(base, fp32=network.layers, int8=layers)
    held_out = PROCESS.draw(4000, seed=2)[0]
    points = {
        p: fit_operating_points(scorer_of(model, p).score(held_out).scores, FPRS)
        for p in ("fp32", "int8")
    }
    return replace(model, points=points)


def certify(model) -> Certificate:
    return certify_scorers(scorer_of(model, "fp32"), {"kgd int8": scorer_of(model, "int8")}, DIES)


def form_of(model) -> FormCertificate:
    return certify(model).forms[0]


@pytest.mark.parametrize("head", HEADS)
def test_the_default_recipe_passes(head):
    form = form_of(int8_model(head))
    assert form.passed, form.breaches
    assert form.spearman > 0.999


@pytest.mark.parametrize("head", HEADS)
def test_one_scale_for_a_whole_matrix_is_refused(head):
    form = form_of(int8_model(head, Int8Recipe(per_channel=False)))
    told = "; ".join(form.breaches)
    assert f"relative score error of good dies: {form.error.bias:.3g}, at most" in told
    assert f"rank correlation with the reference: {form.spearman:.5g}, at least" in told


def one_die_again_and_again():
    return np.repeat(PROCESS.draw(1, seed=3)[0], 4000, axis=0)


def dies_with_wild_readings():
    values = PROCESS.draw(4000, seed=3)[0]
    values[:, ::7] += 50 * np.random.default_rng(0).normal(size=values[:, ::7].shape)
    return values


@pytest.mark.parametrize("make", [one_die_again_and_again, dies_with_wild_readings])
@pytest.mark.parametrize("head", HEADS)
def test_a_bad_calibration_set_is_refused(head, make):
    certificate = certify(int8_model(head, calibration=make()))
    assert not certificate.passed
    told = "; ".join(certificate.breaches)
    assert "kgd int8: median relative score error of good dies: " in told
    assert "good dies flipped at a yield loss of 2 %: " in told


def test_a_band_without_width_is_refused_where_a_calibrated_one_passes():
    model = model_of(PROCESS)
    calibrated = calibrate_bands(model, *PROCESS.draw(1500, seed=4)).apply(model)
    thresholds = [p.threshold for p in calibrated.points["fp32"]]
    narrow = tuple(Band(threshold, threshold) for threshold in thresholds)
    found = [
        certify_scorers(scorer_of(m, "fp32"), {"kgd verified": scorer_of(m, "verified")}, DIES)
        for m in (calibrated, replace(calibrated, bands=narrow))
    ]
    assert [c.passed for c in found] == [True, False]
    assert "dies flipped at a yield loss of " in found[1].breaches[0]
