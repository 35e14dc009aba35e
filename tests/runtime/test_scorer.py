from __future__ import annotations

import pickle

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_scorers import NETWORK, dies, scorer_of

from knowngood._blocks import BLOCK
from knowngood._errors import ModelFileError, OperatingPointError, UsageError
from knowngood._forward import forward
from knowngood._model_file import parse_model
from knowngood._network import POOLED_GROUP
from knowngood._opening import load, open_scorer
from knowngood._scorer import Scorer
from knowngood._seal import UNSEALED, seal
from knowngood._verdicts import Reason, Verdict
from tiny_models import tiny_network, tiny_onnx

GROUPED = tiny_network(groups=(POOLED_GROUP, 256, 257))


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return scorer_of()


def test_scores_and_verdicts_are_the_oracles(scorer):
    values = dies(400)
    result = scorer.score(values)
    expected = forward(NETWORK, values).scores
    np.testing.assert_allclose(result.scores, expected, rtol=2e-6)
    threshold = np.float32(2.0)
    assert scorer.threshold == threshold
    np.testing.assert_array_equal(
        result.verdicts, np.where(result.scores <= threshold, Verdict.PASS, Verdict.REJECT)
    )
    assert {Verdict.PASS, Verdict.REJECT} == set(result.verdicts.tolist())
    assert not result.reasons.any()
    assert (result.scores.dtype, result.verdicts.dtype, result.reasons.dtype) == (
        np.float32, np.int8, np.int8,
    )  # fmt: skip


def test_a_score_at_the_threshold_passes_and_the_next_float_does_not():
    values = dies(1)
    score = scorer_of().score(values).scores[0]
    at = scorer_of(tiny_network(threshold=float(score))).score(values)
    below = np.nextafter(score, np.float32(0))
    beyond = scorer_of(tiny_network(threshold=float(below))).score(values)
    assert (at.verdicts[0], beyond.verdicts[0]) == (Verdict.PASS, Verdict.REJECT)


def test_every_reason_a_die_can_be_unscored_for(scorer):
    values = dies(8)
    values[0] = np.nan
    values[1, :4] = np.nan  # two present, three needed
    values[2, 0] = np.inf
    values[3, 5] = -np.inf
    values[4, 1] = 1e20
    values[5, :2] = np.nan  # four present: scored
    values[6, 2] = np.finfo(np.float32).max
    result = scorer.score(values)
    assert result.reasons.tolist() == [
        Reason.NO_DATA, Reason.TOO_MANY_MISSING, Reason.NOT_FINITE, Reason.NOT_FINITE,
        Reason.RANGE, Reason.NONE, Reason.RANGE, Reason.NONE,
    ]  # fmt: skip
    unscored = result.reasons != Reason.NONE
    assert (result.verdicts[unscored] == Verdict.UNSCORED).all()
    assert (result.verdicts[~unscored] != Verdict.UNSCORED).all()
    assert set(result.scores[unscored].view(np.uint32).tolist()) == {0x7FC00000}
    alone = [scorer.score(values[i : i + 1]) for i in range(8)]
    assert [r.reasons[0] for r in alone] == result.reasons.tolist()


def test_too_many_missing_counts_before_infinity(scorer):
    values = np.full((1, 6), np.nan, dtype=np.float32)
    values[0, 0] = np.inf
    assert scorer.score(values).reasons.tolist() == [Reason.TOO_MANY_MISSING]


def test_no_dies(scorer):
    result = scorer.score(np.empty((0, 6), dtype=np.float32))
    assert len(result) == 0
    assert result.scores.shape == result.verdicts.shape == result.reasons.shape == (0,)
    assert scorer.reconstruct(np.empty((0, 6), dtype=np.float32)).shape == (0, 6)


def test_more_dies_than_a_block(scorer):
    values = dies(BLOCK + 5)
    values[BLOCK + 1] = np.nan
    result = scorer.score(values)
    np.testing.assert_allclose(result.scores, forward(NETWORK, values).scores, rtol=2e-6)
    assert np.flatnonzero(result.reasons).tolist() == [BLOCK + 1]


@pytest.mark.parametrize(
    "convert",
    [
        lambda v: v.astype(">f4"),
        lambda v: v.astype("<f4"),
        lambda v: v.astype(np.float64),
        lambda v: v.astype(">f8"),
        np.asfortranarray,
        lambda v: np.repeat(v, 2, axis=0)[::2],
        lambda v: np.repeat(v, 3, axis=1)[:, ::3],
        lambda v: v[::-1][::-1],
        lambda v: np.frombuffer(b"_" + v.tobytes(), np.uint8)[1:].view(np.float32).reshape(v.shape),
        lambda v: v.view(type("Sub", (np.ndarray,), {})),
    ],
)
def test_layouts_and_byte_orders_change_nothing(scorer, convert):
    values = dies(20)
    result = scorer.score(convert(values))
    np.testing.assert_array_equal(result.scores, scorer.score(values).scores)


def test_integers_and_halves_are_converted(scorer):
    whole = np.arange(12).reshape(2, 6)
    expected = scorer.score(whole.astype(np.float32)).scores
    for dtype in (np.int8, np.uint16, np.int64, ">i4", np.float16):
        np.testing.assert_array_equal(scorer.score(whole.astype(dtype)).scores, expected)


def test_a_double_beyond_float32_is_unscored(scorer):
    values = dies(2).astype(np.float64)
    values[0, 0] = 1e300
    assert scorer.score(values).reasons.tolist() == [Reason.NOT_FINITE, Reason.NONE]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros(6, np.float32), r"one die is values\[np.newaxis, :\]"),
        (np.zeros((2, 5), np.float32), "5 tests, the model has 6"),
        (np.zeros((2, 6, 1), np.float32), r"\(n_dies, 6\), found \(2, 6, 1\)"),
        (np.zeros((2, 6), bool), "real numbers.*bool"),
        (np.zeros((2, 6), np.complex64), "complex64"),
        (np.zeros((2, 6), object), "object"),
        (np.zeros((2, 6), "U3"), "<U3"),
        (np.zeros((2, 6), "M8[s]"), "datetime64"),
        (np.ma.zeros((2, 6)), r"filled\(np.nan\)"),
        ([[0.0] * 6], "NumPy array.*list"),
        (None, "NoneType"),
    ],
)
def test_what_could_mean_two_things_is_refused(scorer, values, says):
    with pytest.raises(UsageError, match=says):
        scorer.score(values)


def test_a_table_is_refused_because_its_columns_have_names(scorer):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(UsageError, match=r"DataFrame.*read_lot"):
        scorer.score(pandas.DataFrame(dies(3)))


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 6), st.just(6)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
@settings(max_examples=150, deadline=None)
def test_nothing_but_a_finite_score_at_most_the_threshold_passes(scorer, values):
    result = scorer.score(values)
    passes = result.verdicts == Verdict.PASS
    assert (result.scores[passes] <= 2.0).all()
    assert not passes[np.isinf(values).any(axis=1) | np.isnan(values).all(axis=1)].any()
    unscored = result.verdicts == Verdict.UNSCORED
    np.testing.assert_array_equal(unscored, np.isnan(result.scores))
    np.testing.assert_array_equal(unscored, result.reasons != Reason.NONE)
    assert not np.isin(result.reasons, [Reason.TESTER_FAIL, Reason.SCHEMA]).any()


@pytest.mark.parametrize("fault", [np.inf, -np.inf, np.nan])
def test_an_engine_whose_score_is_not_finite_passes_nothing(fault):
    class Odd:
        name = version = "odd"

        def score(self, values, rows):
            return np.full(len(values), fault, np.float32)

        reconstruct = score

    model = parse_model(tiny_onnx(NETWORK), "tiny.onnx")
    result = Scorer(model, Odd(), NETWORK.screen.operating_points[1]).score(dies(3))
    assert result.verdicts.tolist() == [Verdict.UNSCORED] * 3
    assert result.reasons.tolist() == [Reason.NOT_FINITE] * 3


def test_a_result_does_not_change_with_the_callers_buffer(scorer):
    values = dies(3)
    result = scorer.score(values)
    before = result.top_tests(1)
    values[:] = 0
    assert result.top_tests(1) == before


class TestGroups:
    def test_each_die_is_scaled_by_its_group(self):
        values = dies(6, GROUPED)
        group = np.array([256, 257, 256, 257, 256, 257], dtype=np.int32)
        result = scorer_of(GROUPED).score(values, group)
        np.testing.assert_allclose(result.scores, forward(GROUPED, values, group).scores, rtol=2e-6)
        assert result.n_unknown_groups == 0

    def test_unknown_groups_are_pooled_and_counted(self):
        values = dies(4, GROUPED)
        group = np.array([256, 12, 2**40, POOLED_GROUP], dtype=np.int64)
        result = scorer_of(GROUPED).score(values, group)
        pooled = np.array([256, -1, -1, -1], dtype=np.int32)
        np.testing.assert_allclose(
            result.scores, forward(GROUPED, values, pooled).scores, rtol=2e-6
        )
        assert result.n_unknown_groups == 2

    def test_no_group_given_is_unknown(self):
        assert scorer_of(GROUPED).score(dies(4, GROUPED)).n_unknown_groups == 4

    def test_a_model_of_one_group_counts_none(self, scorer):
        assert scorer.score(dies(4), np.arange(4, dtype=np.int32)).n_unknown_groups == 0

    def test_many_dies_keep_their_group_across_blocks(self):
        values = dies(BLOCK + 4, GROUPED)
        group = np.resize([256, 257, 3], len(values)).astype(np.int32)
        result = scorer_of(GROUPED).score(values, group)
        np.testing.assert_allclose(result.scores, forward(GROUPED, values, group).scores, rtol=2e-6)

    @pytest.mark.parametrize(
        "group", [np.zeros(3, np.int32), np.zeros(2), [0, 0], np.zeros((2, 1), np.int32)]
    )
    @pytest.mark.parametrize("network", [NETWORK, GROUPED])
    def test_bad_groups_are_refused(self, group, network):
        with pytest.raises(UsageError, match="group must"):
            scorer_of(network).score(dies(2, network), group)


class TestOperatingPoints:
    def test_default_and_other_points(self, scorer):
        assert (scorer.fpr, scorer.threshold) == (0.005, 2.0)
        other = scorer.at(0.02)
        assert (other.fpr, other.threshold) == (0.02, 1.5)
        values = dies(100)
        np.testing.assert_array_equal(other.score(values).scores, scorer.score(values).scores)
        n_passed = [(s.score(values).verdicts == Verdict.PASS).sum() for s in (scorer, other)]
        assert n_passed[1] < n_passed[0]

    def test_an_unsupported_point_needs_extrapolation(self, scorer):
        with pytest.raises(OperatingPointError, match=r"--extrapolate.*Supported.*0\.005, 0\.02"):
            scorer.at(0.001)
        assert scorer.at(0.001, extrapolate=True).threshold == 3.0

    def test_a_point_that_is_not_in_the_file(self, scorer):
        with pytest.raises(OperatingPointError, match=r"tiny\.onnx.*lists 0\.10%, 0\.50%, 2\.00%"):
            scorer.at(0.1)

    def test_load_takes_the_same_arguments(self, tmp_path):
        path = tmp_path / "model.onnx"
        path.write_bytes(tiny_onnx(NETWORK))
        assert load(path, fpr=0.02, engine="onnxruntime").threshold == 1.5
        assert load(str(path), fpr=0.001, extrapolate=True).threshold == 3.0
        with pytest.raises(OperatingPointError):
            load(path, fpr=0.001)


def test_what_a_scorer_says_of_itself(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx(NETWORK))
    scorer = load(path)
    assert scorer.schema == NETWORK.screen.schema
    assert (scorer.precision, scorer.engine_name, scorer.path) == ("fp32", "onnxruntime", path)
    assert len(scorer.model_digest) == 64
    assert "yield loss 0.50%" in repr(scorer)
    assert "2 dies" in repr(scorer.score(dies(2)))


def test_pickle_brings_the_same_scorer_back(scorer):
    values = dies(10)
    copy = pickle.loads(pickle.dumps(scorer.at(0.02)))
    np.testing.assert_array_equal(copy.score(values).scores, scorer.score(values).scores)
    assert (copy.fpr, copy.model_digest) == (0.02, scorer.model_digest)


def sabotaged(change) -> bytes:
    model = onnx.load_from_string(tiny_onnx(NETWORK))
    change(model.graph)
    for prop in model.metadata_props:
        if prop.key == "knowngood.sha256":
            prop.value = UNSEALED
    return seal(model.SerializeToString())


def test_a_graph_that_scores_empty_dies_is_refused_at_load():
    def skip_the_check(graph):
        where = graph.node[-1]
        del graph.node[-1]
        graph.node.add(op_type="Identity", input=[where.input[1]], output=["score"])

    model = parse_model(sabotaged(skip_the_check), "bad.onnx")
    with pytest.raises(ModelFileError, match=r"bad\.onnx: onnxruntime .* cannot be scored"):
        open_scorer(model)
    assert open_scorer(model, check=False) is not None


def test_a_graph_that_scores_nothing_is_refused_at_load():
    def always_nan(graph):
        where = graph.node[-1]
        where.input[1] = where.input[2]

    with pytest.raises(ModelFileError, match="no finite score"):
        open_scorer(parse_model(sabotaged(always_nan), "bad.onnx"))
