"""From lots to a trained model, in Python and by command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knowngood._commands import main
from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import forward
from knowngood._lot import Lot
from knowngood_export import AutoencoderConfig, TrainedModel, TrainingRecipe, load_model, synthetic
from knowngood_export._trained import save_model
from knowngood_export._training_summary import summarise, training_record
from knowngood_export.train_lots import LotTrainingConfig, train_on_lots
from knowngood_quantize.yardstick import detection_at

QUICK = AutoencoderConfig(fpr=0.02, recipe=TrainingRecipe(epochs=8, n_threads=1))
DETECTORS = ("autoencoder", "pat", "t2", "pca")
DEFECTS = ("single_test", "block_shift", "broken_correlation")


def make_lots(n_lots: int, dies_per_wafer: int = 250) -> list[Lot]:
    process = synthetic.process(n_tests=64, correlation="tight", seed=1)
    return [
        synthetic.make_lot(process, n_wafers=2, dies_per_wafer=dies_per_wafer, lot=f"LOT{i}")
        for i in range(n_lots)
    ]


@pytest.fixture(scope="module")
def lots() -> list[Lot]:
    return make_lots(5)


@pytest.fixture(scope="module")
def model(lots: list[Lot]) -> TrainedModel:
    spoiled = lots[0].values.copy()
    spoiled[:, 10] = 3.5
    first = replace(lots[0], values=spoiled)
    others = [replace(lot, values=_with_column(lot.values, 10, 3.5)) for lot in lots[1:]]
    return train_on_lots([first, *others], config=LotTrainingConfig(QUICK, n_folds=0))


def _with_column(values: np.ndarray, column: int, value: float) -> np.ndarray:
    values = values.copy()
    values[:, column] = value
    return values


def test_every_die_is_accounted_for(model: TrainedModel, lots: list[Lot]) -> None:
    provenance = model.provenance
    n_read = sum(len(lot.dies) for lot in lots)
    n_good = provenance.n_train + provenance.n_held_out
    assert n_good + sum(provenance.dropped.values()) == n_read
    n_fail = sum(int(((lot.dies.tester_pass == 0) & lot.dies.is_final).sum()) for lot in lots)
    assert provenance.dropped["tester fail"] == n_fail
    assert "whole lots" in provenance.hold_out


def test_a_constant_test_is_dropped_and_told(model: TrainedModel, lots: list[Lot]) -> None:
    label = lots[0].schema.tests[10].label
    assert f"test {label} dropped: constant at 3.5" in model.provenance.notes
    assert model.network.screen.schema.n_tests == 63
    assert "constant at 3.5" in summarise(model)


def test_all_detectors_are_judged_on_the_same_defects(model: TrainedModel) -> None:
    curves = {(c.detector, c.defect): c for c in model.evaluation.curves}
    assert set(curves) == {(d, defect) for d in DETECTORS for defect in DEFECTS}
    for defect in DEFECTS:
        assert len({curves[d, defect].n_defective for d in DETECTORS}) == 1
    assert {b.detector for b in model.baselines} == {"pat", "t2", "pca"}


def test_broken_correlation_is_seen_where_pat_is_blind(model: TrainedModel) -> None:
    found = {d: detection_at(model.evaluation, d, "broken_correlation", 0.02) for d in DETECTORS}
    assert found["autoencoder"] > 0.6
    assert found["pat"] < 0.06


def test_thresholds_reject_the_share_of_calibration_dies_they_name(model: TrainedModel) -> None:
    good = model.calibration
    for network in (model.network, *model.baselines):
        scores = forward(network, good.good, good.good_group).scores
        point = network.screen.operating_point(0.02, extrapolate=True)
        assert (scores > point.threshold).mean() == pytest.approx(0.02, abs=2 / len(scores))


def test_the_summary_says_what_matters(model: TrainedModel) -> None:
    text = summarise(model)
    for part in (
        "left out: tester fail", "whole lots", "63 used", "head topk (k = 5)", "yield loss",
        "unsupported", "Hotelling T²", "broken correlation", "best classical screen",
        "limit check", "count of missing tests", "missing tests of fail dies",
    ):  # fmt: skip
        assert part in text, part


def test_the_record_says_what_the_head_had_and_what_the_autoencoder_adds(
    model: TrainedModel,
) -> None:
    record = training_record(model)
    head = record["head"]
    assert (head["kind"], head["k"], head["n_axes"]) == ("topk", 5, 0)
    assert head["n_training"] == model.provenance.n_train
    n_held_out = model.provenance.n_held_out - len(model.calibration.good)
    assert head["n_held_out"] == n_held_out
    assert f"fitted on {n_held_out:,} held-out good dies" in summarise(model)
    assert [added["yield_loss"] for added in record["added_value"]] == [0.005, 0.02]
    for added in record["added_value"]:
        best = max(added["detection"][other] for other in ("pat", "t2", "pca"))
        difference = added["detection"]["autoencoder"] - best
        assert added["difference"] == pytest.approx(difference)
        assert added["detection"][added["best_classical"]] == best


def test_auto_is_told_with_its_table_and_kept_in_the_file(lots: list[Lot], tmp_path: Path) -> None:
    config = replace(QUICK, head="auto", recipe=TrainingRecipe(epochs=2, n_threads=1))
    model = train_on_lots(lots, config=LotTrainingConfig(config, n_folds=2))
    choice, head = model.evaluation.head_choice, model.network.screen.head
    assert model.evaluation.how.startswith("cross-validated")
    assert (choice.asked, choice.kind, choice.k) == ("auto", head.kind, head.k)
    assert choice.fpr_asked == 0.02
    assert choice.n_held_out * choice.fpr >= 10
    assert [screen.kind for screen in choice.classical] == ["pat", "t2", "pca"]
    text = summarise(model)
    assert f"at {choice.fpr:.2%} yield loss" in text
    save_model(tmp_path / "model.pt", model)
    assert load_model(tmp_path / "model.pt").evaluation.head_choice == choice


def test_small_lots_are_cross_validated(lots: list[Lot]) -> None:
    config = LotTrainingConfig(replace(QUICK, recipe=TrainingRecipe(epochs=2, n_threads=1)))
    model = train_on_lots(lots[:3], config=replace(config, n_folds=3))
    n_good = model.provenance.n_train + model.provenance.n_held_out
    assert model.evaluation.how.startswith(f"cross-validated: {n_good} good dies in 3 folds")
    assert model.evaluation.n_good == n_good
    assert model.network.screen.operating_points[0].n_dies == len(model.calibration.good)


def test_the_same_seed_gives_the_same_model(lots: list[Lot]) -> None:
    config = LotTrainingConfig(
        replace(QUICK, recipe=TrainingRecipe(epochs=2, n_threads=1)), n_folds=0
    )
    first, again = (train_on_lots(lots[:3], config=config) for _ in range(2))
    assert first.network.screen.operating_points == again.network.screen.operating_points
    assert first.evaluation == again.evaluation
    for a, b in zip(first.network.layers, again.network.layers, strict=True):
        assert a.weight.tobytes() == b.weight.tobytes()


def test_too_few_dies_and_tests_are_refused_with_their_numbers(lots: list[Lot]) -> None:
    with pytest.raises(NotEnoughDataError, match="good dies"):
        train_on_lots([lots[0].select(np.arange(60))])
    fails = lots[0].select(lots[0].dies.tester_pass == 0)
    with pytest.raises(NotEnoughDataError, match=r"none of the \d+ dies is a good one"):
        train_on_lots([fails])
    constant = replace(lots[0], values=np.ones_like(lots[0].values))
    with pytest.raises(NotEnoughDataError, match=r"0 tests can be learnt from.*constant at 1"):
        train_on_lots([constant])
    with pytest.raises(UsageError, match="folds"):
        LotTrainingConfig(n_folds=1)


@pytest.fixture
def csv_lot(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((900, 3)) @ rng.standard_normal((3, 8))
    values += 0.1 * rng.standard_normal(values.shape)
    lines = ["result," + ",".join(f"VDD_{i}" for i in range(8))]
    for row, die in enumerate(values):
        word = "fail" if row % 20 == 0 else "pass"
        lines.append(word + "," + ",".join(f"{x:.5f}" for x in die))
    path = tmp_path / "lot.csv"
    path.write_text("\n".join(lines))
    return path


def test_the_command_writes_a_model_and_a_record(
    csv_lot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder"
    command = ["train", str(csv_lot), "-o", str(out), "--good-if", "result == 'pass'"]
    command += ["--epochs", "3", "--folds", "0", "--hidden", "12,10", "--latent", "3"]
    assert main([*command, "--threads", "1", "--seed", "4"]) == 0
    text = capsys.readouterr().out
    assert "900 read from 1 files" in text
    assert "45 left out: tester fail" in text
    record = json.loads((out / "training.json").read_text())
    assert record["widths"] == [8, 12, 10, 3, 10, 12, 8]
    assert record["provenance"]["seed"] == 4
    assert record["provenance"]["sources"][0]["name"] == "lot.csv"
    assert [point[0] for point in record["provenance"]["learning_curve"]] == [0, 1, 2, 3]
    model = load_model(out / "model.pt")
    assert model.network.widths == (8, 12, 10, 3, 10, 12, 8)


def test_the_command_prints_json_or_nothing(
    csv_lot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(csv_lot), "-o", str(tmp_path), "--good-if", "result == 'pass'"]
    command += ["--epochs", "1", "--folds", "0", "--threads", "1"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["knowngood_training"] == 1
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("extra", "code", "named"),
    [
        (["--hidden", "12;10"], 2, "--hidden"),
        (["--good-if", "bin == 1"], 3, "bin"),
        (["--latent", "0"], 2, "latent"),
        (["--fpr", "2"], 2, "yield loss"),
        (["--noise", "masking", "--noise-level", "3"], 2, "noise"),
    ],
)
def test_wrong_use_ends_with_its_exit_code_and_no_file(
    csv_lot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    extra: list[str], code: int, named: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert main(["train", str(csv_lot), "-o", str(out), "--folds", "0", *extra]) == code
    assert named in capsys.readouterr().err
    assert not list(out.glob("*")) if out.exists() else True


def test_missing_and_foreign_files_end_with_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "no.stdf"), "-o", str(tmp_path / "o")]) == 3
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    assert main(["train", str(tmp_path / "picture.csv"), "-o", str(tmp_path / "o")]) == 3
    assert "picture.csv" in capsys.readouterr().err
