"""The manifest survives its own JSON, and damage is an error of ours."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._errors import KnowngoodError, ModelFileError
from knowngood._manifest import (
    DetectionCurve,
    Drift,
    Evaluation,
    HeadChoice,
    HeadTrial,
    Manifest,
    Provenance,
    Source,
    pack_array,
    unpack_array,
)
from knowngood._network import Head, LowRank, OperatingPoint, Scaler, Screen
from knowngood._schema import Purpose, Schema, Test
from knowngood._seal import UNSEALED, check_seal, seal


def make_manifest() -> Manifest:
    scaler = Scaler(np.array([-1], np.int32), np.array([[1e9, 2e-12]]), np.array([[1e-3, 1e13]]))
    ones = np.ones(2, dtype=np.float32)
    gain, offset = np.ones(3, np.float32), np.array([0, 0.25, 0], np.float32)
    head = Head("topk", ones, ones, gain, offset, min_present=1, k=1)
    schema = Schema((Test(1, "µA", units="A", low=-1e-30), Test(2, "f")), Purpose("P"))
    screen = Screen(schema, scaler, head, (OperatingPoint(0.005, 3.25, 3.0, 3.5, 2500, True),))
    return Manifest(
        screen,
        "int8",
        "autoencoder",
        (2, 1, 2),
        0,
        Provenance(sources=(Source("a.stdf", "00", 5),), learning_curve=((1, 0.5, 0.25),)),
        Evaluation("how", 3, (0.005,), (DetectionCurve("pat", "droop", 4, (0.5,)),), {"auc": 0.5}),
        (Drift("onnx int8", 10, 5, 1e-3, 0.25, 1, 2, 3, 4),),
    )


def test_a_manifest_prints_one_line() -> None:
    assert repr(make_manifest()) == "<Manifest autoencoder int8, 2 tests, layers 2 → 1 → 2>"


def test_round_trip_is_exact() -> None:
    manifest = make_manifest()
    again = Manifest.from_json(manifest.to_json())
    assert again.to_json() == manifest.to_json()
    assert again.provenance == manifest.provenance
    assert again.evaluation == manifest.evaluation
    assert again.drift == manifest.drift
    assert again.screen.scaler.inv_scale[0, 1] == 1e13
    np.testing.assert_array_equal(again.screen.head.present_offset, [0, 0.25, 0])


def test_how_the_head_was_chosen_is_kept() -> None:
    trials = (HeadTrial("topk", 5, {"block_shift": 0.5}, -0.25), HeadTrial("mse"))
    choice = HeadChoice(
        "auto", "topk", 5, 0, 400, 3000, 0.005, 0.02, {"block_shift": 7}, trials,
        (HeadTrial("pca", 0, {"block_shift": 0.25}),), True,
    )  # fmt: skip
    manifest = make_manifest()
    manifest = replace(manifest, evaluation=replace(manifest.evaluation, head_choice=choice))
    again = Manifest.from_json(manifest.to_json())
    assert again.evaluation.head_choice == choice
    assert again.to_json() == manifest.to_json()


def test_a_manifest_older_than_the_choice_of_heads_is_read() -> None:
    data = json.loads(make_manifest().to_json())
    del data["evaluation"]["head_choice"]
    assert Manifest.from_json(json.dumps(data)).evaluation.head_choice == HeadChoice()


def test_a_certificate_is_carried_as_json() -> None:
    manifest = replace(make_manifest(), certificate='{"b": [1, 0.5], "a": "µ"}')
    again = Manifest.from_json(manifest.to_json())
    assert json.loads(again.certificate) == {"a": "µ", "b": [1, 0.5]}
    assert again.to_json() == manifest.to_json()
    assert Manifest.from_json(make_manifest().to_json()).certificate == ""


@pytest.mark.parametrize("value", ["1e999", "-Infinity", "NaN"])
def test_a_certificate_of_more_than_numbers_is_refused(value: str) -> None:
    """It would be written again as what other readers of JSON refuse."""
    text = replace(make_manifest(), certificate='{"a": 12345}').to_json().replace("12345", value)
    with pytest.raises(ModelFileError, match="damaged"):
        Manifest.from_json(text)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_certificate_nested_without_end_is_refused(depth: int) -> None:
    text = replace(make_manifest(), certificate='{"a": 12345}').to_json()
    nested = "[" * depth + "]" * depth
    try:
        again = Manifest.from_json(text.replace("12345", nested))
    except ModelFileError:
        return
    assert again.certificate == f'{{"a":{nested}}}'


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(certificate=[1]), "the certificate is list"),
        (lambda d: d.update(knowngood_manifest=99), "version 99"),
        (lambda d: d.pop("knowngood_manifest"), "not a knowngood manifest"),
        (lambda d: d["schema"]["tests"].pop(), "digest"),
        (lambda d: d["head"].update(kind="median"), "median"),
        (lambda d: d["head"].update(present_gain=pack_array(np.ones(2))), "present_gain"),
        (lambda d: d["head"].update(present_offset=pack_array(np.zeros(2))), "present_offset"),
        (lambda d: d["head"].update(present_offset=pack_array(-np.ones(3))), "0 or more"),
        (lambda d: d["head"].update(present_offset=pack_array(np.ones(3))), "complete die"),
        (lambda d: d["head"].pop("present_offset"), "present_offset"),
        (lambda d: d["scaler"].update(centre=pack_array(np.full((1, 2), np.nan))), "centre"),
        (lambda d: d.update(scaler=3), "damaged"),
    ],
)
def test_damage_is_named(edit: object, message: str) -> None:
    data = json.loads(make_manifest().to_json())
    edit(data)  # type: ignore[operator]
    with pytest.raises(ModelFileError, match=message):
        Manifest.from_json(json.dumps(data))


def with_low_rank(project: object, subtract: object) -> Manifest:
    manifest = make_manifest()
    low_rank = LowRank(np.array(project, np.float32), np.array(subtract, np.float32))
    head = replace(manifest.screen.head, kind="mahalanobis", k=0, low_rank=low_rank)
    return replace(manifest, screen=replace(manifest.screen, head=head))


def test_the_directions_of_mahalanobis_are_kept() -> None:
    manifest = with_low_rank([[0.1, -2], [3, 4], [5, 6]], [[1, 2, 3], [4, 5, 1e-9]])
    again = Manifest.from_json(manifest.to_json())
    assert again.to_json() == manifest.to_json()
    low_rank = again.screen.head.low_rank
    assert low_rank is not None
    np.testing.assert_array_equal(low_rank.project, np.float32([[0.1, -2], [3, 4], [5, 6]]))
    np.testing.assert_array_equal(low_rank.subtract, np.float32([[1, 2, 3], [4, 5, 1e-9]]))


def test_a_manifest_older_than_mahalanobis_is_read() -> None:
    data = json.loads(make_manifest().to_json())
    del data["head"]["low_rank"]
    assert Manifest.from_json(json.dumps(data)).to_json() == make_manifest().to_json()


@pytest.mark.parametrize(
    ("project", "subtract"),
    [
        ([[1, 2, 3]], [[1], [2]]),
        ([[1, 2]], [[1, 2]]),
        ([[1, 2], [3, 4]], [[1], [2]]),
        (np.empty((0, 2)), np.empty((2, 0))),
        ([1, 2], [1, 2]),
        ([[1, np.nan]], [[1], [2]]),
        ([[1, 2]], [[1], [np.inf]]),
    ],
)
def test_directions_that_do_not_fit_are_refused(project: object, subtract: object) -> None:
    with pytest.raises(ModelFileError, match="low_rank"):
        Manifest.from_json(with_low_rank(project, subtract).to_json())


@pytest.mark.parametrize("kind", ["topk", "mahalanobis"])
def test_mahalanobis_alone_has_directions(kind: str) -> None:
    data = json.loads(with_low_rank([[1, 2]], [[1], [2]]).to_json())
    data["head"]["kind"] = kind
    if kind == "mahalanobis":
        data["head"]["low_rank"] = None
    with pytest.raises(ModelFileError, match="low_rank"):
        Manifest.from_json(json.dumps(data))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_our_error(data: bytes) -> None:
    with pytest.raises(KnowngoodError):
        Manifest.from_json(data)


@given(
    st.sampled_from(["<f4", ">f4", "<f8", "<i4", ">i8", "|i1"]),
    st.lists(st.integers(-100, 100), max_size=6),
)
def test_arrays_round_trip_in_native_order(dtype: str, items: list[int]) -> None:
    array = np.array(items, dtype=dtype)
    again = unpack_array(pack_array(array))
    assert again.dtype.isnative
    np.testing.assert_array_equal(again, array)


def test_every_flipped_bit_of_a_sealed_file_is_refused() -> None:
    sealed = seal(b"head " + UNSEALED.encode() + b" tail")
    assert len(check_seal(sealed, "m.onnx")) == 64
    for bit in range(len(sealed) * 8):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ModelFileError, match=r"m\.onnx"):
            check_seal(bytes(damaged), "m.onnx")


def test_truncated_grown_or_unsealed_files_are_refused() -> None:
    sealed = seal(b"head " + UNSEALED.encode() + b" tail")
    for damaged in (sealed[:-1], sealed + b"x", sealed + sealed, b"", b"knowngood-sha256:12"):
        with pytest.raises(ModelFileError):
            check_seal(damaged, "m")
