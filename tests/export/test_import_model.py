"""Foreign files around good dies: scaler, head, thresholds, comparison with the own runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from foreign.onnx_files import chain_of, onnx_bytes

import knowngood
from knowngood._errors import (
    ModelFileError,
    NotEnoughDataError,
    SchemaMismatchError,
    UsageError,
)
from knowngood._network import Activation, Scaler
from knowngood._schema import Schema
from knowngood_export import _import, import_model, import_on_lots
from knowngood_export._import import read_network
from knowngood_export.export import seal_file

N_TESTS = 12


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A PCA of its dies as an ONNX file, 12-3-12, with its mean inside."""
    rng = np.random.default_rng(0)
    directions, _ = np.linalg.qr(rng.normal(size=(N_TESTS, 3)))
    weight = directions.astype(np.float32)
    constants = {"w0": weight, "w1": weight.T, "b": np.full(N_TESTS, 0.1, np.float32)}
    operators = [("MatMul", ["w0"], {}), ("MatMul", ["w1"], {}), ("Add", ["b"], {})]
    path = tmp_path_factory.mktemp("foreign") / "pca.onnx"
    path.write_bytes(onnx_bytes(chain_of(operators), constants, n_in=[N_TESTS], n_out=[N_TESTS]))
    dies = rng.normal(size=(1200, 3)) @ directions.T * 3 + 0.3 * rng.normal(size=(1200, N_TESTS))
    return path, dies.astype(np.float32)


def test_the_score_is_the_mean_square_that_the_file_gives(foreign, tmp_path):
    path, dies = foreign
    trained = import_model(path, dies, fpr=0.02)
    assert (trained.network.screen.head.kind, trained.network.screen.default_fpr) == ("mse", 0.02)
    seal_file(trained, tmp_path / "pca.kgd")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = np.square(dies - session.run(None, {"x": dies})[0]).mean(axis=1)
    scorer = knowngood.load(tmp_path / "pca.kgd", precision="fp32", fpr=0.05)
    np.testing.assert_allclose(scorer.score(dies).scores, expected, rtol=2e-6)
    int8 = knowngood.load(tmp_path / "pca.kgd", precision="int8", fpr=0.05)
    np.testing.assert_allclose(np.median(int8.score(dies).scores / expected), 1, atol=0.02)
    verdicts = scorer.score(dies[600:]).verdicts
    assert (verdicts == knowngood.Verdict.REJECT).mean() == pytest.approx(0.05, abs=0.02)


def test_every_column_stays_the_constant_ones_too(foreign, tmp_path):
    path, dies = foreign
    dies = dies.copy()
    dies[:, 4], dies[:, 7] = 2.5, np.nan
    for scaler in ("identity", "fit"):
        trained = import_model(path, dies, scaler=scaler)
        found = trained.network.screen.scaler
        assert trained.network.screen.schema.n_tests == N_TESTS
        assert found.inv_scale[0, 4] == found.inv_scale[0, 7] == 1
        assert found.centre[0, 4] == (2.5 if scaler == "fit" else 0)
        seal_file(trained, tmp_path / f"{scaler}.kgd")
        scorer = knowngood.load(tmp_path / f"{scaler}.kgd", precision="fp32", extrapolate=True)
        assert np.isfinite(scorer.score(dies).scores).all()


def test_a_scaler_of_ones_own_goes_before_the_layers(foreign):
    path, dies = foreign
    scaler = Scaler(np.int32([-1]), np.ones((1, N_TESTS)), np.full((1, N_TESTS), 0.5))
    trained = import_model(path, dies * 2 + 1, scaler=scaler, schema=Schema.anonymous(N_TESTS))
    same = import_model(path, dies)
    points = zip(trained.network.screen.operating_points, same.network.screen.operating_points,
                 strict=True)  # fmt: skip
    assert all(one.threshold == pytest.approx(other.threshold, rel=1e-5) for one, other in points)


def test_operating_points_that_few_dies_cannot_carry_are_marked(foreign, tmp_path):
    path, dies = foreign
    trained = import_model(path, dies[:200])
    assert not any(p.supported for p in trained.network.screen.operating_points)
    assert any("100 good dies carry no threshold at" in n for n in trained.provenance.notes)
    report = seal_file(trained, tmp_path / "few.kgd")
    assert any("carry no threshold" in note for note in report.notes)
    with pytest.raises(knowngood.OperatingPointError):
        knowngood.load(tmp_path / "few.kgd")
    knowngood.load(tmp_path / "few.kgd", extrapolate=True)


def test_the_parts_do_not_overlap(foreign):
    path, dies = foreign
    trained = import_model(path, dies)
    int8 = trained.int8_dies
    every = np.concatenate([int8.rounding.values, int8.bands.values, trained.calibration.good])
    assert len(every) == len(dies)
    np.testing.assert_array_equal(np.unique(every, axis=0), np.unique(dies, axis=0))
    assert trained.provenance.n_train + trained.provenance.n_held_out == len(dies)


def test_the_provenance_names_the_file_and_the_comparison(foreign):
    path, dies = foreign
    notes = import_model(path, dies).provenance.notes
    assert notes[0].startswith("imported from pca.onnx (onnx, 12-3-12, linear; sha256 ")
    assert notes[1].startswith("agrees with its own runtime within")


def test_layers_that_do_not_give_what_the_file_gives_are_refused(foreign, monkeypatch):
    path, dies = foreign

    def misread(name):
        network = read_network(name)
        first, *rest = network.layers
        return replace(network, layers=(replace(first, activation=Activation("relu")), *rest))

    monkeypatch.setattr(_import, "read_network", misread)
    with pytest.raises(ModelFileError, match="do not give what its own runtime gives"):
        import_model(path, dies)


def test_lots_are_held_out_whole(foreign, tmp_path):
    path, dies = foreign
    lots = []
    for number, part in enumerate(np.split(dies, 6)):
        lots.append(tmp_path / f"lot{number}.npz")
        np.savez(lots[-1], values=part, lot=np.full(len(part), f"L{number}"),
                 tester_pass=np.ones(len(part), bool))  # fmt: skip
    trained = import_on_lots(path, lots)
    held = {number for number, part in enumerate(np.split(dies, 6))
            if part[0] in trained.calibration.good}  # fmt: skip
    assert len(trained.calibration.good) == 200 * len(held)
    assert 2 <= len(held) <= 4
    assert len(set(trained.calibration.good_lot)) == len(held)
    assert [s.name for s in trained.provenance.sources] == [lot.name for lot in lots]


def test_dies_of_another_width_are_refused(foreign, tmp_path):
    path, dies = foreign
    with pytest.raises(SchemaMismatchError, match=r"11 tests, .*pca\.onnx takes 12"):
        import_model(path, dies[:, :11])
    np.save(tmp_path / "wide.npy", np.zeros((100, 13), np.float32))
    with pytest.raises(SchemaMismatchError, match=r"wide\.npy: the lots have 13 tests"):
        import_on_lots(path, [tmp_path / "wide.npy"])


def test_too_few_dies_are_refused(foreign, tmp_path):
    path, dies = foreign
    with pytest.raises(NotEnoughDataError, match="79 dies: at least 80"):
        import_model(path, dies[:79])
    np.save(tmp_path / "few.npy", dies[:79])
    with pytest.raises(NotEnoughDataError, match="79 dies: at least 80"):
        import_on_lots(path, [tmp_path / "few.npy"])


def test_missing_and_unknown_files_are_refused(foreign, tmp_path):
    with pytest.raises(ModelFileError, match=r"cannot read .*absent\.onnx: No such file"):
        import_model(tmp_path / "absent.onnx", foreign[1])
    with pytest.raises(UsageError, match=r"model\.pb is: expected a name ending in \.onnx"):
        import_model(tmp_path / "model.pb", foreign[1])
