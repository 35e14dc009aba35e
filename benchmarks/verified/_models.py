"""The model of a case with each score head, quantised, its bands calibrated, opened natively."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from knowngood import Scorer
from knowngood._golden import golden_dies, with_golden
from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._network import (
    OPERATING_POINTS,
    HeadKind,
    Network,
    OperatingPoint,
    QuantizedNetwork,
)
from knowngood._opening import open_scorer
from knowngood._sealed import Golden, LayerPrecision, SealedModel
from knowngood_export import synthetic
from knowngood_export._fit import AutoencoderConfig
from knowngood_export._trained import CalibrationSet, TrainedModel, load_model, save_model
from knowngood_export._training import TrainingRecipe
from knowngood_export.train_lots import LotTrainingConfig, train_on_lots
from knowngood_quantize import TrainingDies, fit_head, fit_operating_points, quantize
from knowngood_quantize.bands import BandEvidence, calibrate_bands

from .._code_digest import training_code_digest
from ._cases import VerifiedCase

N_LOTS, WAFERS_PER_LOT, DIES_PER_WAFER = 10, 2, 600


@dataclass(frozen=True, eq=False)
class HeadScorers:
    """A network with one head.

    Attributes:
        verified: by the operating points of the case; the model has those of an export as well.
    """

    head: HeadKind
    fp32: Scorer
    int8: Scorer
    verified: tuple[Scorer, ...]
    evidence: BandEvidence


def model_path(case: VerifiedCase, folder: Path, models: Path | None) -> Path:
    """Where the network of a case is kept: in ``models`` by the case's name, else in ``folder``.

    In ``folder`` the name changes with the case and with the source of training.
    """
    if models is not None:
        return models / f"{case.name}.pt"
    key = f"{case.process} {case.n_tests} {case.seed}"
    return folder / f"{case.name}-{training_code_digest(key)}.pt"


def load_or_train(case: VerifiedCase, path: Path) -> TrainedModel:
    """The network of a case, kept at ``path``."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(path, _train(case))
    return load_model(path)


def _train(case: VerifiedCase) -> TrainedModel:
    process = synthetic.process(case.n_tests, case.process, seed=case.seed)
    lots = [
        synthetic.make_lot(
            process, n_wafers=WAFERS_PER_LOT, dies_per_wafer=DIES_PER_WAFER,
            lot=f"LOT{i + 1:03d}", seed=case.seed,
        )
        for i in range(N_LOTS)
    ]  # fmt: skip
    recipe = TrainingRecipe(seed=case.seed, n_threads=1)
    config = LotTrainingConfig(AutoencoderConfig(recipe=recipe), n_folds=0)
    return train_on_lots(lots, config=config)


def with_each_head(trained: TrainedModel, case: VerifiedCase) -> list[HeadScorers]:
    """The network with every head of the case; all share their int8 weights."""
    rounding = trained.int8_dies.rounding
    int8 = quantize(trained.network, rounding.values, rounding.group)
    return [_with_head(trained, int8, head, case.fprs) for head in case.heads]


def _with_head(
    trained: TrainedModel, int8: QuantizedNetwork, head: HeadKind, fprs: Sequence[float]
) -> HeadScorers:
    dies = trained.int8_dies.bands
    points = tuple(sorted({*OPERATING_POINTS, *fprs}))
    model = _with_thresholds(_sealed(trained, int8, head), trained.calibration, points)
    calibrated = calibrate_bands(model, dies.values, dies.group)
    model = calibrated.apply(model)
    verified = _open(model, "verified", fprs[0])
    return HeadScorers(
        head=head,
        fp32=_open(model, "fp32", fprs[0]),
        int8=_open(model, "int8", fprs[0]),
        verified=tuple(verified.at(fpr, extrapolate=True) for fpr in fprs),
        evidence=calibrated.evidence,
    )


def _sealed(trained: TrainedModel, int8: QuantizedNetwork, head: HeadKind) -> SealedModel:
    network: Network = trained.network
    if network.screen.head.kind != head:
        dies, rounding = trained.int8_dies.bands, trained.int8_dies.rounding
        training = TrainingDies(rounding.values, rounding.group)
        fitted = fit_head(network, dies.values, dies.group, kind=head, training=training)
        network = replace(network, screen=replace(network.screen, head=fitted))
    values, group = golden_dies(network.screen, trained.calibration.good[:1])
    return SealedModel(
        screen=replace(network.screen, operating_points=()),
        detector=network.detector,
        fp32=network.layers,
        int8=int8.layers,
        points={},
        golden=Golden(values, group, {}, {}),
        latent_layer=network.latent_layer,
    )


def _with_thresholds(
    model: SealedModel, dies: CalibrationSet, fprs: Sequence[float]
) -> SealedModel:
    """Thresholds of each precision are those of its own scores."""
    precisions: tuple[LayerPrecision, ...] = ("fp32", "int8")
    model = replace(model, screen=replace(model.screen, default_fpr=fprs[0]))
    placeholder = tuple(OperatingPoint(fpr, 0.0, 0.0, 0.0, 0, False) for fpr in fprs)
    model = with_golden(replace(model, points=dict.fromkeys(precisions, placeholder)))
    points = {}
    for precision in precisions:
        scores = _open(model, precision, fprs[0]).score(dies.good, dies.good_group).scores
        points[precision] = fit_operating_points(scores, fprs)
    return replace(model, points=points)


def _open(model: SealedModel, precision: str, fpr: float) -> Scorer:
    file = parse_model(encode(model), "model.kgd")
    return open_scorer(file, precision=precision, fpr=fpr, extrapolate=True)
