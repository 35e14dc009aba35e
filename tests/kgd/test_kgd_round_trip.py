"""What is written is read back bit for bit, and one model has one encoding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowngood._errors import UsageError
from knowngood._kgd import decode, encode, list_contents
from knowngood._manifest import HeadChoice, HeadTrial
from knowngood._model_file import parse_model
from knowngood._network import Activation, StaticRange
from knowngood._schema import Purpose, Schema, Test
from knowngood._sealed import MAX_WIDTH, SealedModel
from random_networks import make_network, without_layers
from sealed_models import HISTORY, assert_equal, seal_up, tiny_sealed, varied_network
from tiny_models import tiny_network


def goes_round(model: SealedModel) -> bytes:
    data = encode(model)
    found = decode(data, "model.kgd").model
    assert_equal(found, model)
    assert encode(found) == data
    return data


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
limits = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def schemas(draw, n_tests):
    purpose = Purpose(*(draw(names) for _ in range(5)))
    tests = tuple(
        Test(
            draw(st.integers(-(2**62), 2**62 - 1)) * 2 + (i & 1),
            f"{i}{draw(names)}",
            draw(names),
            draw(names),
            draw(limits),
            draw(limits),
        )
        for i in range(n_tests)
    )
    return Schema(tests, purpose)


@st.composite
def models(draw):
    n_tests = draw(st.integers(1, 20))
    hidden = draw(st.lists(st.integers(1, 9), min_size=0, max_size=3))
    activation = draw(st.sampled_from(["linear", "relu", "leaky_relu", "elu", "sigmoid", "tanh"]))
    head = draw(st.sampled_from(["mse", "normalized", "topk", "mahalanobis"]))
    network = varied_network((n_tests, *hidden, n_tests), activation, head, draw(st.integers(1, 3)))
    if draw(st.booleans()):
        network = replace(network, latent_layer=None)
    screen = replace(network.screen, schema=draw(schemas(n_tests)))
    precisions = draw(st.sampled_from([("fp32",), ("int8",), ("fp32", "int8")]))
    extra = HISTORY if draw(st.booleans()) else {}
    certificate = draw(st.sampled_from(["", '{"a":[1,2.5],"b":{}}']))
    return seal_up(
        replace(network, screen=screen),
        precisions=precisions,
        with_bands=draw(st.booleans()),
        certificate=certificate,
        **extra,
    )


@given(models())
@settings(max_examples=60, deadline=None)
def test_any_model_goes_round(model):
    goes_round(model)


@pytest.mark.parametrize("detector", ["autoencoder", "pat", "t2", "pca"])
def test_every_detector_goes_round(detector):
    network = replace(without_layers(make_network(head="normalized")), detector=detector)
    goes_round(seal_up(network, precisions=("fp32",)))


def test_the_full_history_goes_round():
    goes_round(tiny_sealed(**HISTORY, certificate='{"flips":{"good":0}}'))


def test_big_endian_and_strided_arrays_are_written_alike():
    model = tiny_sealed()
    layers = tuple(
        replace(layer, weight=np.asfortranarray(layer.weight.astype(">f4"))) for layer in model.fp32
    )
    assert encode(replace(model, fp32=layers)) == encode(model)


def test_arrays_lie_on_the_bytes_and_cannot_be_written():
    model = decode(encode(tiny_sealed()), "model.kgd").model
    arrays = [model.fp32[0].weight, model.int8[0].weight, model.screen.scaler.centre]
    for array in (*arrays, model.golden.values, model.scale_limits):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_corrected_note_changes_the_digest_and_not_the_model_id():
    model = tiny_sealed(**HISTORY)
    corrected = replace(model, provenance=replace(model.provenance, notes=("other",)))
    raised = replace(model, screen=replace(model.screen, default_fpr=0.02))
    first, second, third = (decode(encode(m), "m") for m in (model, corrected, raised))
    assert first.model_id == second.model_id != third.model_id
    assert len({first.file_digest, second.file_digest, third.file_digest}) == 3


def test_a_long_learning_curve_is_thinned():
    curve = tuple((epoch, 1 / epoch, 2 / epoch) for epoch in range(1, 4001))
    model = tiny_sealed(provenance=replace(HISTORY["provenance"], learning_curve=curve))
    found = decode(encode(model), "m").model.provenance.learning_curve
    assert 250 < len(found) <= 500
    assert found[-1] == curve[-1]
    assert set(found) <= set(curve)


def test_a_model_file_offers_its_precisions():
    model = parse_model(encode(tiny_sealed()), "model.kgd")
    assert model.precisions == ("verified", "int8", "fp32")
    assert model.manifest.precision == "verified"
    assert model.in_precision("fp32").manifest.precision == "fp32"


def test_an_int8_file_is_a_quarter_of_an_fp32_file():
    network = make_network((256, 128, 64, 128, 256))
    sizes = [len(encode(seal_up(network, precisions=(p,)))) for p in ("fp32", "int8")]
    graph = [
        sum(
            list_contents(encode(seal_up(network, precisions=(p,)))).section_bytes[s]
            for s in ("tensors",)
        )
        for p in ("fp32", "int8")
    ]
    assert sizes[0] > 2.5 * sizes[1]
    assert graph[0] > 3.2 * graph[1]


def changed_layer(model: SealedModel, **changes: object) -> SealedModel:
    return replace(model, fp32=(replace(model.fp32[0], **changes), *model.fp32[1:]))


def with_point(model: SealedModel, **changes: object) -> SealedModel:
    first, *others = model.points["fp32"]
    return replace(model, points={**model.points, "fp32": (replace(first, **changes), *others)})


def with_digests(**digests: bytes) -> SealedModel:
    return replace(MODEL, golden=replace(MODEL.golden, reconstruction_digest=digests))


def too_wide() -> SealedModel:
    model = seal_up(tiny_network(widths=(6, 3, 6)), precisions=("fp32",))
    weight = np.zeros((MAX_WIDTH + 1, 6), np.float32)
    layers = (
        replace(model.fp32[0], weight=weight, bias=np.zeros(MAX_WIDTH + 1, np.float32)),
        replace(model.fp32[1], weight=weight.T),
    )
    return replace(model, fp32=layers)


MODEL = tiny_sealed()
ONE_TEST_TWICE = replace(
    MODEL.screen,
    schema=Schema((*MODEL.screen.schema.tests[:5], MODEL.screen.schema.tests[0])),
)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (too_wide(), "66,001 wide.*66,000.*int32"),
        (replace(MODEL, fp32=None, int8=None), "there are none"),
        (replace(MODEL, detector="iforest"), "detector 'iforest'"),
        (
            replace(MODEL, fp32=MODEL.fp32[:1], bands=(), scale_limits=np.empty(0, np.float32)),
            r"fp32 \[\(3, 6\)\], those of int8 \[\(3, 6\), \(6, 3\)\]",
        ),
        (replace(MODEL, fp32=MODEL.fp32[::-1]), "layer 0 takes 3 inputs"),
        (replace(MODEL, latent_layer=1), "latent buffer"),
        (changed_layer(MODEL, weight=MODEL.fp32[0].weight.astype(np.float64)), "float32.*float64"),
        (changed_layer(MODEL, bias=np.full(3, np.nan, np.float32)), "rule 8"),
        (changed_layer(MODEL, activation=Activation("relu", 0.5)), "relu takes no alpha"),
        (
            replace(
                MODEL, int8=tuple(replace(q, static_input=StaticRange(1, 0)) for q in MODEL.int8)
            ),
            "static range",
        ),
        (with_point(MODEL, threshold=2.1), "threshold.*float32 holds, found 2.1"),
        (with_point(MODEL, threshold=1e39), "threshold"),
        (with_point(MODEL, fpr=0.002), "same yield losses"),
        (with_point(MODEL, n_dies=-1), "dies"),
        (with_point(MODEL, low=float("nan")), "low end"),
        (replace(MODEL, bands=MODEL.bands[:1]), "3 bands"),
        (replace(MODEL, scale_limits=MODEL.scale_limits[:1]), "2 scale limits"),
        (replace(MODEL, screen=replace(MODEL.screen, default_fpr=0.004)), "default yield loss"),
        (replace(MODEL, screen=ONE_TEST_TWICE), "rule 11"),
        (replace(MODEL, certificate="{"), "certificate"),
        (replace(MODEL, certificate="[]"), "certificate.*an object"),
        (replace(MODEL, golden=replace(MODEL.golden, group=np.zeros(2, np.int32))), "golden"),
        (with_digests(fp32=bytes(32), int8=bytes(31)), "digest int8: expected 32 bytes, found 31"),
        (
            with_digests(fp32=bytes(32)),
            "golden: expected score bits and digest of int8, found none",
        ),
        (
            replace(MODEL, provenance=replace(HISTORY["provenance"], notes=("x" * 135_000,))),
            "rule 26",
        ),
        (
            replace(MODEL, provenance=replace(HISTORY["provenance"], notes=("\ud800",))),
            "manifest.*surrogate without its other half",
        ),
        (
            replace(MODEL, provenance=replace(HISTORY["provenance"], dropped={"x": float("inf")})),
            "manifest",
        ),
    ],
)
def test_what_cannot_be_written_exactly_is_refused(model, says):
    with pytest.raises(UsageError, match=says):
        encode(model)


def test_files_older_than_the_choice_of_heads_are_canonical():
    """Their manifests lack the field; what says nothing is still written without it."""
    evaluation = HISTORY["evaluation"]
    plain = tiny_sealed(**{**HISTORY, "evaluation": replace(evaluation, head_choice=HeadChoice())})
    assert b"head_choice" not in goes_round(plain)
    trials = (HeadTrial("topk", 5, {"single_test": 0.75}, 0.5),)
    choice = HeadChoice("auto", "topk", 5, 0, 900, 4000, 0.005, 0.01, {"single_test": 500}, trials)
    told = tiny_sealed(**{**HISTORY, "evaluation": replace(evaluation, head_choice=choice)})
    assert b'"head_choice":{"asked":"auto"' in goes_round(told)
