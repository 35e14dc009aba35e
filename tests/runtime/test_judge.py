from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knowngood._errors import SchemaMismatchError, UsageError
from knowngood._forward import forward
from knowngood._judge import tally
from knowngood._lot import Dies, Lot
from knowngood._model_file import parse_model
from knowngood._network import POOLED_GROUP, Network
from knowngood._opening import open_scorer
from knowngood._schema import Purpose, Schema
from knowngood._scorer import Scorer
from knowngood._verdicts import Disposition, Reason, Verdict
from tiny_lots import tiny_lot
from tiny_models import tiny_network, tiny_onnx, tiny_schema

NETWORK = tiny_network(threshold=2.5)


def scorer_of(network: Network = NETWORK, **options) -> Scorer:
    return open_scorer(parse_model(tiny_onnx(network), "tiny.onnx"), **options)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return scorer_of()


def fate(result, row):
    return (
        Verdict(result.verdicts[row]).name,
        Reason(result.reasons[row]).name,
        str(result.dispositions[row]),
    )


def test_every_fate_of_a_die(scorer):
    result = scorer.score_lot(tiny_lot(NETWORK))
    assert fate(result, 0) == ("UNSCORED", "TESTER_FAIL", "tester_fail")
    assert fate(result, 1) == ("REJECT", "NONE", "outlier")
    assert fate(result, 2) == ("UNSCORED", "NO_DATA", "hold")
    assert fate(result, 3) == ("UNSCORED", "NOT_FINITE", "hold")
    assert fate(result, 4) == ("PASS", "NONE", "keep")
    assert fate(result, 5) == ("PASS", "NONE", "keep")
    assert np.isnan(result.scores[[0, 2, 3]]).all()
    assert result.n_missing.tolist()[:4] == [0, 0, 6, 0]
    assert all(isinstance(d, Disposition) for d in result.dispositions)


def test_scores_are_the_oracles(scorer):
    lot = tiny_lot(NETWORK)
    expected = forward(NETWORK, lot.values).scores
    expected[0] = np.nan
    np.testing.assert_allclose(scorer.score_lot(lot).scores, expected, rtol=2e-6)


def test_score_fails_gives_scores_but_never_saves_a_die(scorer):
    result = scorer.score_lot(tiny_lot(NETWORK), score_fails=True)
    assert fate(result, 0) == ("PASS", "NONE", "tester_fail")
    assert np.isfinite(result.scores[0])
    assert result.options.score_fails


def test_columns_are_aligned_by_test_and_extra_tests_ignored(scorer):
    lot = tiny_lot(NETWORK)
    extra = replace(lot.schema.tests[0], number=9999, name="EXTRA")
    order = [6, 5, 0, 4, 1, 3, 2]
    schema = Schema((*lot.schema.tests, extra), lot.schema.purpose).select(order)
    values = np.column_stack([lot.values, np.zeros(len(lot.dies), np.float32)])[:, order]
    shuffled = Lot(values, schema, lot.dies)
    result, expected = scorer.score_lot(shuffled), scorer.score_lot(lot)
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert result.lot.schema == scorer.schema


def with_schema(lot: Lot, schema: Schema) -> Lot:
    return Lot(lot.values, schema, lot.dies, lot.facts)


def changed(lot: Lot, index: int, **fields) -> Lot:
    tests = list(lot.schema.tests)
    tests[index] = replace(tests[index], **fields)
    return with_schema(lot, Schema(tuple(tests), lot.schema.purpose))


def test_other_units_part_or_temperature_are_refused(scorer):
    lot = tiny_lot(NETWORK)
    with pytest.raises(SchemaMismatchError, match=r"1000 T0.*units 'V' became 'mV'"):
        scorer.score_lot(changed(lot, 0, units="mV"))
    hot = Schema(lot.schema.tests, Purpose(part_type="KG1", temperature="125"))
    with pytest.raises(SchemaMismatchError, match="temperature"):
        scorer.score_lot(with_schema(lot, hot))


def test_other_limits_are_warned_about_and_refused_if_strict(scorer):
    lot = changed(tiny_lot(NETWORK), 2, high=51.0)
    assert any("1020 T2" in w for w in scorer.score_lot(lot).warnings)
    with pytest.raises(SchemaMismatchError, match="1020 T2"):
        scorer.score_lot(lot, strict=True)


def test_an_absent_test_is_refused_unless_allowed(scorer):
    lot = tiny_lot(NETWORK)
    fewer = Lot(lot.values[:, 1:], lot.schema.select(range(1, 6)), lot.dies)
    with pytest.raises(SchemaMismatchError, match="1000 T0"):
        scorer.score_lot(fewer)
    result = scorer.score_lot(fewer, allow_absent=True)
    assert (result.n_missing >= 1).all()
    assert any("1000 T0" in w for w in result.warnings)


class TestBareArrays:
    def lot(self, n_tests: int) -> Lot:
        values = np.tile(NETWORK.screen.scaler.centre[0].astype(np.float32), (5, 1))
        return Lot(values[:, :n_tests], Schema.anonymous(n_tests), Dies.anonymous(5))

    def test_columns_are_taken_in_order_with_a_warning(self, scorer):
        result = scorer.score_lot(self.lot(6))
        np.testing.assert_array_equal(result.scores, scorer.score(self.lot(6).values).scores)
        assert any("data carry no test names" in w for w in result.warnings)

    def test_width_must_match(self, scorer):
        with pytest.raises(SchemaMismatchError, match="5 tests, the model has 6"):
            scorer.score_lot(self.lot(5))

    def test_strict_refuses_them(self, scorer):
        with pytest.raises(SchemaMismatchError, match="no test names"):
            scorer.score_lot(self.lot(6), strict=True)

    @pytest.mark.parametrize("names", ["model", "nobody"])
    def test_what_they_were_tested_as_must_still_fit(self, names):
        named = tiny_schema()
        tests = named.tests if names == "model" else Schema.anonymous(6).tests
        scorer = scorer_of(tiny_network(schema=Schema(tests, named.purpose)))
        lot = self.lot(6)
        hot = Schema(lot.schema.tests, Purpose(temperature="125"))
        with pytest.raises(SchemaMismatchError, match=r"temperature.*'25'.*'125'"):
            scorer.score_lot(Lot(lot.values, hot, lot.dies))
        other = Schema(lot.schema.tests, Purpose(program="another"))
        warnings = scorer.score_lot(Lot(lot.values, other, lot.dies)).warnings
        assert any("program" in w for w in warnings)

    def test_a_model_without_names_takes_them_silently(self):
        anonymous = scorer_of(tiny_network(schema=Schema.anonymous(6)))
        result = anonymous.score_lot(self.lot(6), strict=True)
        assert result.warnings == ()

    def test_the_models_names_in_another_order_are_no_bare_array(self):
        """A lot in STDF lists its tests as they first come: its columns are found by name."""
        anonymous = scorer_of(tiny_network(schema=Schema.anonymous(6)))
        lot = self.lot(6)
        turned = Lot(lot.values[:, ::-1], lot.schema.select(range(5, -1, -1)), lot.dies)
        expected = anonymous.score_lot(lot)
        assert np.isfinite(expected.scores).any()
        np.testing.assert_array_equal(anonymous.score_lot(turned).scores, expected.scores)


@pytest.mark.parametrize("fate", ["hold", "tester_fail"])
def test_a_die_without_a_score_is_explained_but_not_in_the_table(scorer, fate):
    lot = tiny_lot(NETWORK)
    lot.values[7, [0, 1, 4, 5]] = np.nan
    result = scorer.score_lot(lot)
    row = {"hold": 7, "tester_fail": 0}[fate]
    assert result.dispositions[row] == fate
    assert np.isnan(result.scores[row])
    top = result.top_tests(row, k=6)
    passed = forward(NETWORK, lot.values[[row]])
    weight = NETWORK.screen.head.residual_weight
    z = ((passed.standardised - passed.reconstruction) * weight)[0]
    order = [i for i in np.argsort(-np.abs(z)) if passed.present[0, i]]
    assert [c.test for c in top] == [NETWORK.screen.schema.tests[i] for i in order]
    np.testing.assert_allclose([c.z for c in top], z[order], rtol=1e-4)
    assert result.top_texts()[row] == ""


@pytest.mark.parametrize(
    ("lot", "advice"),
    [
        ("lot7.stdf", "found str: read it with knowngood.read_lot first$"),
        (Path("lot7.stdf"), "read it with knowngood.read_lot first$"),
        (np.zeros((2, 6), np.float32), "read_lot first; bare arrays go to scorer.score$"),
    ],
)
def test_what_is_no_lot_is_refused_with_the_way_to_make_it_one(scorer, lot, advice):
    with pytest.raises(UsageError, match=advice):
        scorer.score_lot(lot)


def test_a_result_prints_one_line(scorer):
    result = scorer.score_lot(tiny_lot(NETWORK))
    counts = result.counts()["dispositions"]
    assert repr(result) == (
        f"<LotResult of 40 test attempts: 2 hold, {counts['keep']} keep, "
        f"{counts['outlier']} outlier, 1 tester_fail>"
    )


def test_groups_are_head_and_site():
    network = tiny_network(groups=(POOLED_GROUP, 65536, 65537), threshold=6.0)
    lot = tiny_lot(network)
    result = scorer_of(network).score_lot(lot)
    group = (65536 + np.arange(40) % 2).astype(np.int32)
    expected = forward(network, lot.values, group).scores
    np.testing.assert_allclose(result.scores[4:], expected[4:], rtol=2e-6)
    assert result.n_unknown_groups == 0
    row = int(np.flatnonzero(result.verdicts == Verdict.REJECT)[0])
    alone = scorer_of(network).score(lot.values[[row]], group[[row]])
    assert result.top_tests(row) == alone.top_tests(0)


def test_unknown_sites_are_warned_about():
    network = tiny_network(groups=(POOLED_GROUP, 65536), threshold=50.0)
    result = scorer_of(network).score_lot(tiny_lot(network))
    assert result.n_unknown_groups == 20  # the odd sites; the tester fail has an even one
    assert any("L1.stdf: 20 dies come from a head and site" in w for w in result.warnings)


def test_an_extrapolated_threshold_is_warned_about():
    result = scorer_of(fpr=0.001, extrapolate=True).score_lot(tiny_lot(NETWORK))
    assert any("extrapolated" in w for w in result.warnings)
    assert result.fpr == 0.001


def test_a_shifted_lot_is_warned_about(scorer):
    lot = tiny_lot(NETWORK, n_dies=200)
    assert scorer.score_lot(lot).warnings == ()
    shifted = Lot(lot.values + np.float32(30), lot.schema, lot.dies)
    assert any("has shifted" in w for w in scorer.score_lot(shifted).warnings)


def test_an_empty_lot(scorer):
    lot = tiny_lot(NETWORK).select(np.zeros(40, dtype=bool))
    result = scorer.score_lot(lot)
    assert len(result) == 0
    assert result.counts()["yield_loss"] is None
    assert result.counts()["by_lot_site"] == []


def test_top_tests_and_their_text(scorer):
    result = scorer.score_lot(tiny_lot(NETWORK))
    top = result.top_tests(1, k=2)
    assert top[0].test.label == "1030 T3"
    texts = result.top_texts(k=2)
    assert texts[1] == f"1030 T3={top[0].z:+.1f}; {top[1].test.label}={top[1].z:+.1f}"
    assert result.top_tests(2) == ()
    assert all(not t for t, v in zip(texts, result.verdicts, strict=True) if v != Verdict.REJECT)


def test_counts_add_up(scorer):
    first, second = tiny_lot(NETWORK), tiny_lot(NETWORK, n_dies=21, lot="L2", seed=8)
    results = [scorer.score_lot(lot) for lot in (first, second)]
    counts = tally(results)
    assert counts["dies"] == 61
    assert counts["dispositions"] == {"hold": 4, "keep": 53, "outlier": 2, "tester_fail": 2}
    assert counts["verdicts"] == {"UNSCORED": 6, "PASS": 53, "REJECT": 2}
    assert counts["reasons"] == {"no data": 2, "not finite": 2, "tester fail": 2}
    assert counts["yield_loss"] == pytest.approx(2 / 55)
    places = {(p["lot"], p["head"], p["site"]): p for p in counts["by_lot_site"]}
    assert list(places) == [("L1", 1, 0), ("L1", 1, 1), ("L2", 1, 0), ("L2", 1, 1)]
    assert places["L1", 1, 1] == {
        "lot": "L1", "head": 1, "site": 1, "judged": 19, "outliers": 1, "yield_loss": 1 / 19,
    }  # fmt: skip
    assert sum(p["judged"] for p in places.values()) == 55
    assert results[0].counts()["dies"] == 40
