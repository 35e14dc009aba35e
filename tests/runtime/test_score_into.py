"""The call of a test program: verdicts in its own arrays, none of an earlier touchdown."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_scorers import NETWORK, dies, scorer_of

from knowngood._blocks import BLOCK
from knowngood._errors import UsageError
from knowngood._model_file import parse_model
from knowngood._scorer import Scorer
from knowngood._verdicts import Reason, Verdict
from tiny_models import tiny_onnx


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return scorer_of()


def test_score_into_fills_the_callers_arrays(scorer):
    values = dies(30)
    values[4] = np.nan
    whole = np.full(60, 9, np.float32), np.full(60, 9, np.int8), np.full(60, 9, np.int8)
    scores, verdicts, reasons = (a[::2] for a in whole)
    scorer.score_into(values, scores, verdicts, reasons)
    expected = scorer.score(values)
    np.testing.assert_array_equal(scores, expected.scores)
    np.testing.assert_array_equal(verdicts, expected.verdicts)
    np.testing.assert_array_equal(reasons, expected.reasons)
    assert all((a[1::2] == 9).all() for a in whole)


def test_score_into_refuses_arrays_it_cannot_fill(scorer):
    values, good = dies(2), (np.empty(2, np.float32), np.empty(2, np.int8), np.empty(2, np.int8))
    locked = np.empty(2, np.int8)
    locked.flags.writeable = False
    for place, name, bad, found in (
        (0, "scores", np.empty(2, np.float64), r"float64 \(2,\)"),
        (0, "scores", np.empty(3, np.float32), r"float32 \(3,\)"),
        (0, "scores", np.empty(2, ">f4"), r">f4 \(2,\)"),
        (1, "verdicts", np.empty((2, 1), np.int8), r"int8 \(2, 1\)"),
        (1, "verdicts", [0, 0], "list"),
        (2, "reasons", locked, "a read-only array"),
    ):
        arrays = [*good]
        arrays[place] = bad
        with pytest.raises(UsageError, match=f"{name} must be a writable.*, found {found}$"):
            scorer.score_into(values, *arrays)


@pytest.mark.parametrize(
    ("values", "n_scores", "group"),
    [
        (np.zeros((4, 5), np.float32), 4, None),  # a test too few
        (dies(4).astype(object), 4, None),
        (dies(4), 3, None),
        (dies(4), 4, np.zeros(3, np.int32)),
    ],
)
def test_a_refused_touchdown_leaves_no_old_verdict(scorer, values, n_scores, group):
    verdicts = np.full(4, Verdict.PASS, np.int8)
    with pytest.raises(UsageError):
        scorer.score_into(
            values, np.empty(n_scores, np.float32), verdicts, np.empty(4, np.int8), group
        )
    assert verdicts.tolist() == [Verdict.UNSCORED] * 4


def test_a_reason_is_never_read_as_a_verdict(scorer):
    """NO_DATA and PASS are both 1: in one array an empty die would pass."""
    values = dies(4)
    values[0] = np.nan
    record = np.zeros(4, [("score", np.float32), ("verdict", np.int8), ("reason", np.int8)])
    both = record["verdict"]
    with pytest.raises(UsageError, match="verdicts and reasons share memory"):
        scorer.score_into(values, record["score"], both, both)
    scorer.score_into(values, record["score"], record["verdict"], record["reason"])
    assert (record["verdict"][0], record["reason"][0]) == (Verdict.UNSCORED, Reason.NO_DATA)
    scores = np.empty(4, np.float32)
    with pytest.raises(UsageError, match="verdicts and scores share memory"):
        scorer.score_into(values, scores, scores.view(np.int8)[:4], record["reason"])


def test_an_engine_that_fails_later_takes_back_the_verdicts_before():
    class Tired:
        name = version = "tired"

        def score(self, values, rows):
            if len(values) < BLOCK:
                raise RuntimeError("engine fault")
            return np.zeros(len(values), np.float32)

        reconstruct = score

    model = parse_model(tiny_onnx(NETWORK), "tiny.onnx")
    tired = Scorer(model, Tired(), NETWORK.screen.operating_points[1])
    n_dies = BLOCK + 1
    verdicts = np.full(n_dies, Verdict.PASS, np.int8)
    with pytest.raises(RuntimeError, match="engine fault"):
        tired.score_into(
            dies(n_dies), np.empty(n_dies, np.float32), verdicts, np.empty(n_dies, np.int8)
        )
    assert not verdicts.any()


def test_an_engine_that_fails_leaves_no_old_verdict(scorer):
    class Broken:
        name = version = "broken"

        def score(self, values, rows):
            raise RuntimeError("engine fault")

        reconstruct = score

    model = parse_model(tiny_onnx(NETWORK), "tiny.onnx")
    broken = Scorer(model, Broken(), NETWORK.screen.operating_points[1])
    verdicts = np.full(2, Verdict.PASS, np.int8)
    with pytest.raises(RuntimeError, match="engine fault"):
        broken.score_into(dies(2), np.empty(2, np.float32), verdicts, np.empty(2, np.int8))
    assert verdicts.tolist() == [Verdict.UNSCORED, Verdict.UNSCORED]
