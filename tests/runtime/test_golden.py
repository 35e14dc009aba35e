"""Golden dies: made to try an engine, and believed over it."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

import knowngood
from altered_engine import AlteredEngine, off_by_one_bit
from knowngood._errors import ModelFileError
from knowngood._golden import (
    EXACT_ENGINES,
    check_golden,
    golden_dies,
    reconstruction_digest,
    require_golden,
    with_golden,
)
from knowngood._kgd import encode
from knowngood._model_file import ModelFile, parse_model
from knowngood._network import MAX_STANDARDISED
from knowngood._sealed import Band, Golden, LayerPrecision, SealedModel
from knowngood.engines import open_engine
from knowngood.engines._reference import ReferenceEngine
from sealed_models import seal_up, tiny_sealed, varied_network
from tiny_models import tiny_network, tiny_onnx

SCREEN = tiny_network(groups=(-1, 3, 4)).screen
RNG = np.random.default_rng(5)
U = RNG.normal(size=(30, 6))
GOOD = (SCREEN.scaler.centre[1] + U / SCREEN.scaler.inv_scale[1]).astype(np.float32)
GROUP = np.where(np.arange(30) < 20, 3, 4).astype(np.int32)


def sealed_file(**changes: object) -> ModelFile:
    return parse_model(encode(replace(tiny_sealed(), **changes)), "model.kgd")


def test_golden_dies_try_what_can_go_wrong():
    values, group = golden_dies(SCREEN, GOOD, GROUP)
    assert (values.shape, values.dtype) == ((6, 6), np.float32)
    assert (group.dtype, group[:2].tolist(), set(group[2:])) == (np.int32, [3, 4], {3})
    assert all(any((die == good).all() for good in GOOD) for die in values[:2])
    missing, wild, few, infinite = values[2:]
    assert np.isfinite(missing).sum() == SCREEN.head.min_present
    assert np.isfinite(few).sum() == SCREEN.head.min_present - 1
    assert np.isinf(infinite).sum() == 1
    u = SCREEN.scaler.standardise(wild[None], SCREEN.scaler.rows(group[:1], 1))
    assert 500 < np.abs(u).max() < MAX_STANDARDISED


@pytest.mark.parametrize(
    "values",
    [
        np.empty((0, 6), np.float32),
        GOOD[:1],
        np.full((4, 6), np.nan, np.float32),
        np.full((4, 6), np.inf, np.float32),
        np.full((4, 6), 3e38, np.float32),
    ],
)
def test_poor_good_dies_still_give_dies_that_are_scored(values):
    dies, group = golden_dies(SCREEN, values, None)
    assert (dies.shape, group.tolist()) == ((6, 6), [-1] * 6)
    assert (np.isfinite(dies[:2]).sum(axis=1) >= SCREEN.head.min_present).all()


def test_golden_scores_are_those_of_the_scorer(tmp_path):
    model = tiny_sealed()
    path = tmp_path / "model.kgd"
    path.write_bytes(encode(model))
    for precision in ("fp32", "int8"):
        scorer = knowngood.load(path, precision=precision, check=False)
        found = scorer.score(model.golden.values, model.golden.group).scores
        bits = model.golden.score_bits[precision]
        np.testing.assert_array_equal(found.view(np.uint32), bits)
        assert np.isfinite(bits.view(np.float32)).tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("engine", EXACT_ENGINES)
def test_every_precision_is_checked(engine):
    model = sealed_file()
    report = check_golden(model, open_engine(model, engine))
    assert [s.precision for s in report.scores[::6]] == ["verified", "int8", "fp32"]
    assert [s.die for s in report.scores] == [0, 1, 2, 3, 4, 5] * 3
    assert report.different == ()
    assert report.engine.startswith(f"{engine} ")


def test_verified_gives_the_fp32_score_within_the_band():
    wide = tuple(Band(0.0, 1e6) for _ in range(3))
    model = sealed_file(bands=wide)
    verified = check_golden(model, open_engine(model)).scores[:6]
    fp32 = model.sealed.golden.score_bits["fp32"].tolist()
    assert [s.expected_bits for s in verified] == [(bits,) for bits in fp32]
    assert all(s.is_equal for s in verified)


def one_weight_edited(precision: str) -> ModelFile:
    """A file in which a weight is another, every digest is right, and golden scores stayed."""
    model = tiny_sealed()
    layers = getattr(model, precision)
    weight = layers[0].weight.copy()
    weight[0, 0] = -weight[0, 0] if weight[0, 0] else 1
    changed = (replace(layers[0], weight=weight), *layers[1:])
    return sealed_file(**{precision: changed})


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("opened", ["fp32", "int8", "verified"])
def test_an_edited_weight_is_found_whatever_precision_is_opened(precision, opened, tmp_path):
    model = one_weight_edited(precision)
    (tmp_path / "m.kgd").write_bytes(model.data)
    for engine in EXACT_ENGINES:
        asked = model.in_precision(opened)
        says = rf"model\.kgd: {engine} .* golden .*0x[0-9A-F]{{8}}"
        with pytest.raises(ModelFileError, match=says):
            require_golden(asked, open_engine(asked, engine))
        with pytest.raises(ModelFileError, match=r"m\.kgd.* golden .*knowngood selftest"):
            knowngood.load(tmp_path / "m.kgd", precision=opened, engine=engine)
    assert knowngood.load(tmp_path / "m.kgd", precision=opened, check=False) is not None


def test_a_single_score_is_told_in_the_singular():
    model = tiny_sealed()
    bits = model.golden.score_bits["int8"].copy()
    bits[0] ^= 1
    golden = replace(model.golden, score_bits={**model.golden.score_bits, "int8": bits})
    edited = sealed_file(golden=golden, bands=(), scale_limits=np.empty(0, np.float32))
    says = r"gives 1 golden score that is not the file's: die 0 in int8"
    with pytest.raises(ModelFileError, match=says):
        require_golden(edited, open_engine(edited))


def test_one_bit_is_enough():
    model = sealed_file().in_precision("int8")
    engine = AlteredEngine(open_engine(model, "reference"), off_by_one_bit)
    with pytest.raises(ModelFileError, match=r"die 0 in int8"):
        require_golden(model, engine)
    different = check_golden(model, engine).different
    assert [(s.precision, s.die) for s in different] == [("int8", die) for die in range(4)]


def test_an_engine_that_promises_no_bits_is_not_asked():
    engine = AlteredEngine(open_engine(sealed_file()), off_by_one_bit, name="onnxruntime")
    require_golden(sealed_file(), engine)


def test_only_sealed_files_have_golden_dies():
    model = parse_model(tiny_onnx(tiny_network()), "model.onnx")
    with pytest.raises(ModelFileError, match=r"model\.onnx has no golden dies"):
        check_golden(model, open_engine(sealed_file()))


def test_with_golden_replaces_what_was_there():
    model = tiny_sealed()
    wrong = Golden(
        model.golden.values,
        model.golden.group,
        {p: np.zeros(6, np.uint32) for p in ("fp32", "int8")},
        dict.fromkeys(("fp32", "int8"), bytes(32)),
    )
    again = with_golden(replace(model, golden=wrong)).golden
    for precision, bits in model.golden.score_bits.items():
        np.testing.assert_array_equal(again.score_bits[precision], bits)
    assert again.reconstruction_digest == model.golden.reconstruction_digest


def test_reconstruction_digests_are_those_of_what_the_scorer_gives(tmp_path):
    model = tiny_sealed()
    path = tmp_path / "model.kgd"
    path.write_bytes(encode(model))
    for precision in ("fp32", "int8"):
        scorer = knowngood.load(path, precision=precision, check=False)
        found = scorer.reconstruct(model.golden.values, model.golden.group)
        assert np.isnan(found).all(axis=1).tolist() == [False] * 5 + [True]
        data = struct.pack("<36f", *found.ravel().tolist())
        assert hashlib.sha256(data).digest() == model.golden.reconstruction_digest[precision]


TENTH = 9


def with_a_single_largest() -> SealedModel:
    """Twelve tests of which each die's score takes one: other tests than the tenth in every die."""
    network = varied_network((12, 4, 12), "relu", "topk", 2)
    head = replace(network.screen.head, k=1)
    return seal_up(replace(network, screen=replace(network.screen, head=head)))


def without_an_output(model: SealedModel, precision: LayerPrecision) -> SealedModel:
    """The tenth output is 0 for every die."""
    first, last = model.layers(precision)
    weight, bias = last.weight.copy(), last.bias.copy()
    weight[TENTH], bias[TENTH] = 0, 0
    return replace(model, **{precision: (first, replace(last, weight=weight, bias=bias))})


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_engine_wrong_in_an_output_that_no_score_shows_is_refused(precision):
    sealed = with_a_single_largest()
    model = parse_model(encode(sealed), "model.kgd").in_precision(precision)
    engine = ReferenceEngine(without_an_output(sealed, precision), precision)
    report = check_golden(model, engine)
    assert (report.different, report.is_equal) == ((), False)
    assert [r.precision for r in report.reconstructed_otherwise] == [precision]
    with pytest.raises(ModelFileError, match=rf"golden reconstructions in {precision} that are"):
        require_golden(model, engine)
    require_golden(model, open_engine(model))


@pytest.mark.parametrize("opened", ["fp32", "int8", "verified"])
@pytest.mark.parametrize("engine", EXACT_ENGINES)
def test_a_weight_edited_where_no_score_shows_it_is_found(engine, opened):
    sealed = without_an_output(with_a_single_largest(), "int8")
    model = parse_model(encode(sealed), "model.kgd").in_precision(opened)
    with pytest.raises(ModelFileError, match=rf"model\.kgd: {engine} .* reconstructions in int8"):
        require_golden(model, open_engine(model, engine))


def test_a_nan_of_other_bits_is_another_reconstruction():
    """An exact engine hands out one NaN; see docs/arithmetic.md, section 1."""
    wanted = np.array([[1.0, np.nan]], np.float32)
    assert wanted.view(np.uint32)[0, 1] == 0x7FC00000
    digest = hashlib.sha256(bytes.fromhex("0000803f0000c07f")).digest()
    assert reconstruction_digest(wanted) == digest
    assert reconstruction_digest(np.asfortranarray(wanted.astype(">f4"))) == digest
    assert reconstruction_digest(-wanted) != digest
