"""Before anything is timed: a trained model, its exported files, and dies that neither has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from knowngood_export import synthetic
from knowngood_export._fit import AutoencoderConfig
from knowngood_export._trained import TrainedModel, load_model, save_model
from knowngood_export._training import TrainingRecipe
from knowngood_export.comparison import FreshDies, fresh_dies
from knowngood_export.export import ExportReport, export_trained
from knowngood_export.train_lots import LotTrainingConfig, train_on_lots
from knowngood_quantize.certificate import CertificateGates, FormLimits

from ._cases import Case
from ._code_digest import training_code_digest

FORMATS = ("onnx", "tflite")
"""Those with an engine made for speed; the reference engine is a specification."""
REFUSE_NOTHING = CertificateGates(
    verified_flips=10**9,
    rescoring=1.0,
    fp32_flips=10**9,
    weight_steps=0.0,
    noise_bias=1e9,
    limits=tuple(
        FormLimits(p, flips_good=1e9, flips_defective=1.0, bias=1e9, spearman=-1.0, auc_change=1.0)
        for p in ("int8", "int16x8", "int8-full")
    ),
)
"""A form that drifts far is to be shown here; the case's own expectations fail it."""


@dataclass(frozen=True)
class Prepared:
    """What the contestants of a case are made of, and the dies they are given."""

    trained: TrainedModel
    exported: ExportReport
    fresh: FreshDies


def prepare(case: Case, folder: Path) -> Prepared:
    """Train or load the model, export it, and make fresh dies."""
    trained, own = load_or_train(case, folder)
    exported = export_trained(trained, own, FORMATS, gates=REFUSE_NOTHING)
    process = synthetic.process(case.n_tests, "tight", seed=case.seed)
    fresh = fresh_dies(
        process, case.n_fresh_good, case.n_fresh_defective,
        seed=case.seed + 1, n_lots=case.n_fresh_lots,
    )  # fmt: skip
    return Prepared(trained, exported, fresh)


def load_or_train(case: Case, folder: Path) -> tuple[TrainedModel, Path]:
    """The trained model, and the folder of its own that it is kept in.

    The folder's name changes with the case and with the source of training, so that no figure can
    come from a model of other code.
    """
    own = folder / f"{case.name}-{training_code_digest(case.training_key())}"
    own.mkdir(parents=True, exist_ok=True)
    path = own / "model.pt"
    if not path.exists():
        save_model(path, _train(case))
    return load_model(path), own


def _train(case: Case) -> TrainedModel:
    process = synthetic.process(case.n_tests, "tight", seed=case.seed)
    lots = [
        synthetic.make_lot(
            process, n_wafers=case.wafers_per_lot, dies_per_wafer=case.dies_per_wafer,
            lot=f"LOT{i + 1:03d}", seed=case.seed,
        )
        for i in range(case.n_lots)
    ]  # fmt: skip
    recipe = TrainingRecipe(seed=case.seed, n_threads=1)
    config = LotTrainingConfig(AutoencoderConfig(recipe=recipe), n_folds=0)
    return train_on_lots(lots, config=config)
