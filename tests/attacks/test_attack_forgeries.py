"""What digests cannot tell from an export: files of other content, sealed again with care.

Each test shows what does happen: the file loads, under another ``model_id`` if verdicts may differ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forged_files import DATA, ByHand, edited, fields, manifest

from altered_engine import AlteredEngine, flushing_subnormals
from knowngood._errors import ModelFileError
from knowngood._golden import require_golden, with_golden
from knowngood._kgd import decode, encode
from knowngood._model_file import ModelFile, parse_model
from knowngood._opening import open_scorer
from knowngood._schema import Schema, Test
from knowngood._scorer import Scorer
from knowngood._sealed import Golden, SealedModel
from knowngood.engines import open_engine
from sealed_models import tiny_sealed
from tiny_models import tiny_schema

MODEL = decode(DATA, "base").model


def loaded(data: bytes, precision: str | None = None) -> Scorer:
    return open_scorer(parse_model(data, "m.kgd"), precision=precision)


BASE = loaded(DATA)


def test_a88_a_threshold_edited_with_both_digests_right():
    highest = float(np.finfo(np.float32).max)
    forged = {f"points__1__{name}": highest for name in ("fp32__threshold", "hi")}
    scorer = loaded(edited(fields(**forged)))
    assert scorer.threshold == highest
    assert scorer.model_id != BASE.model_id


def test_a89_golden_scores_made_right_for_edited_weights():
    weight = -MODEL.fp32[0].weight
    layers = (replace(MODEL.fp32[0], weight=weight), *MODEL.fp32[1:])
    scorer = loaded(encode(with_golden(replace(MODEL, fp32=layers))))
    assert scorer.model_id != BASE.model_id


def test_a90_a_scaler_of_a_group_that_no_golden_die_has():
    unused = next(i for i, g in enumerate(MODEL.screen.scaler.groups) if g not in golden_groups())

    def edit(hand: ByHand) -> None:
        hand.operand("program.fp32.op0", 1)[unused] += 100

    scorer = loaded(edited(edit))
    values = MODEL.screen.scaler.centre[unused : unused + 1].astype(np.float32)
    group = MODEL.screen.scaler.groups[unused : unused + 1]
    assert scorer.score(values, group).scores != BASE.score(values, group).scores
    assert scorer.model_id != BASE.model_id


def golden_groups() -> list[int]:
    return MODEL.golden.group.tolist()


def test_a91_two_tests_with_each_others_names():
    names = {"schema__0__name": b"T3", "schema__3__name": b"T0"}
    numbers = {"schema__0__number": 1030, "schema__3__number": 1000}
    scorer = loaded(edited(fields(**names, **numbers)))
    assert [scorer.schema.tests[i].label for i in (0, 3)] == ["1030 T3", "1000 T0"]
    assert scorer.model_id != BASE.model_id


def test_a92_a_note_for_people_edited():
    scorer = loaded(manifest(b"test 5 is constant", b"all is well"))
    assert scorer.model_id == BASE.model_id
    assert scorer.model_digest != BASE.model_digest


def test_a93_golden_dies_left_out():
    golden = Golden(MODEL.golden.values[:1], MODEL.golden.group[:1], {}, {})
    scorer = loaded(encode(with_golden(replace(MODEL, golden=golden))))
    assert scorer.model_id == BASE.model_id
    assert scorer.model_digest != BASE.model_digest


def test_a94_thresholds_that_differ_by_precision():
    data = edited(fields(points__1__int8__threshold=2.125))
    thresholds = {p: loaded(data, p).threshold for p in ("fp32", "int8", "verified")}
    assert thresholds == {"fp32": 2, "int8": 2.125, "verified": 2}


def with_subnormal_weights() -> SealedModel:
    model = tiny_sealed()
    head = model.screen.head
    weight = np.full_like(head.residual_weight, 1e-42)
    screen = replace(model.screen, head=replace(head, residual_weight=weight))
    offset = np.zeros_like(head.present_offset)
    screen = replace(screen, head=replace(screen.head, present_offset=offset))
    return with_golden(replace(model, screen=screen))


def test_a95_subnormal_weights_and_an_engine_that_flushes_them():
    model: ModelFile = parse_model(encode(with_subnormal_weights()), "m.kgd").in_precision("fp32")
    engine = open_engine(model)
    require_golden(model, engine)
    with pytest.raises(ModelFileError, match="golden scores that are not the file's"):
        require_golden(model, AlteredEngine(engine, flushing_subnormals))


def test_a96_keys_of_tests_whose_hashes_collide():
    assert hash(-1) == hash(-2)
    tests = list(tiny_schema().tests)
    tests[0], tests[1] = Test(-1, "VDD"), Test(-2, "VDD")
    screen = replace(MODEL.screen, schema=Schema(tuple(tests)))
    found = decode(encode(replace(MODEL, screen=screen)), "m.kgd").model.screen.schema
    assert [test.number for test in found.tests[:2]] == [-1, -2]
