"""A trained model and the dies it is judged on, standardised once for everybody."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowngood._forward import score_residual
from knowngood._network import Head, HeadKind, Network
from knowngood_export import AutoencoderDetector, synthetic
from knowngood_export._fit import AutoencoderConfig
from knowngood_export._trained import TrainedModel, load_model, save_model
from knowngood_export._training import TrainingRecipe
from knowngood_export.comparison import join_lots
from knowngood_export.detector import FewDiesWarning
from knowngood_export.train_lots import LotTrainingConfig, train_on_lots
from knowngood_quantize.heads import fit_head
from knowngood_quantize.sampling import evenly_spaced

from .._code_digest import training_code_digest
from .._contestants import DIES_PER_BLOCK, Float32
from ._sets import AnySet, GeneratorSet, TableSet
from ._tables import read_table

Slices = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Dies:
    """Dies in raw units and as the network sees them, each ``(n_dies, n_tests)``.

    Attributes:
        values: float32, NaN where a test is missing.
        standardised: float32, 0 where a test is missing.
        present: bool.
    """

    values: Float32
    standardised: Float32
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, network: Network, values: Float32) -> Dies:
        """Standardise raw values."""
        scaler = network.screen.scaler
        u = scaler.standardise(values, scaler.rows(None, len(values)))
        present = ~np.isnan(u)
        return cls(values, np.where(present, u, np.float32(0)), present)

    def __len__(self) -> int:
        return len(self.values)

    def blocks(self, size: int = DIES_PER_BLOCK) -> Slices:
        """Rows of at most ``size`` dies at a time."""
        return tuple(slice(at, at + size) for at in range(0, len(self), size))

    def score(self, head: Head, reconstruction: Float32, rows: slice) -> Float32:
        """Scores float32 of the dies in ``rows`` by their reconstructions, standardised."""
        residual = self.standardised[rows] - reconstruction
        return score_residual(head, residual, self.present[rows], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Judged:
    """Dies that a set's contestants are judged on: those of thresholds, and fresh ones."""

    calibration: Dies
    good: Dies
    defective: Dies


@dataclass(frozen=True, eq=False)
class Prepared:
    """A set, trained.

    Attributes:
        networks: the same layers with each head.
    """

    trained: TrainedModel
    networks: dict[HeadKind, Network]
    judged: Judged


def model_path(folder: Path, given: Path | None) -> Callable[[AnySet], Path]:
    """Where a set is kept as a trained model: in ``given`` by its name; else in ``folder``, under
    a name that changes with the set and with the code of training.
    """

    def of(case: AnySet) -> Path:
        if given is not None:
            return given / f"{case.name}.pt"
        return folder / f"{case.name}-{training_code_digest(repr(case))}.pt"

    return of


def prepare(case: AnySet, path: Path, data: Path) -> Prepared:
    """Train or load the set's model, and read or make its dies.

    Args:
        path: the trained model is kept here.
        data: folder of real data.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(path, _train(case, data))
    trained = load_model(path)
    good, defective = _dies_of(case, trained, data)
    network = trained.network
    judged = Judged(
        *(Dies.of(network, values) for values in (trained.calibration.good, good, defective))
    )
    return Prepared(trained, {kind: _with_head(trained, kind) for kind in case.heads}, judged)


def _train(case: AnySet, data: Path) -> TrainedModel:
    if isinstance(case, GeneratorSet):
        return _train_on_lots(case)
    table = read_table(case, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewDiesWarning)  # a small table supports no point; shown
        detector = AutoencoderDetector(random_state=0).fit(table.train)
    return detector.to_trained_model()


def _train_on_lots(case: GeneratorSet) -> TrainedModel:
    process = synthetic.process(case.n_tests, case.process, seed=case.seed)
    lots = [
        synthetic.make_lot(
            process, n_wafers=case.wafers_per_lot, dies_per_wafer=case.dies_per_wafer,
            lot=f"LOT{i + 1:03d}", seed=case.seed,
        )
        for i in range(case.n_lots)
    ]  # fmt: skip
    recipe = TrainingRecipe(seed=case.seed, n_threads=1)
    return train_on_lots(
        lots, config=LotTrainingConfig(AutoencoderConfig(recipe=recipe), n_folds=0)
    )


def _dies_of(case: AnySet, trained: TrainedModel, data: Path) -> tuple[Float32, Float32]:
    if isinstance(case, TableSet):
        table = read_table(case, data)
        used = [test.number for test in trained.network.screen.schema.tests]
        return table.good[:, used], table.defective[:, used]
    return fresh_lots(case)


def fresh_lots(case: GeneratorSet) -> tuple[Float32, Float32]:
    """Passing dies of lots of their own, and some of them with each class of defect, each float32
    ``(n, n_tests)``."""
    process = synthetic.process(case.n_tests, case.process, seed=case.seed)
    lots = [
        synthetic.make_lot(
            process, n_wafers=1, dies_per_wafer=-(-case.n_fresh_good // case.n_fresh_lots),
            lot=f"FRESH{i:02d}", seed=case.seed + 1, fail_rate=0.0,
        )
        for i in range(case.n_fresh_lots)
    ]  # fmt: skip
    lot = join_lots(lots)
    lot = lot.select(lot.dies.tester_pass == 1)
    some = lot.select(evenly_spaced(len(lot.values), case.n_fresh_defective))
    defective = [
        synthetic.inject_defects(process, some, kind, seed=case.seed + 1).values
        for kind in synthetic.DefectClass
    ]
    return lot.values, np.concatenate(defective)


def _with_head(trained: TrainedModel, kind: HeadKind) -> Network:
    network, held = trained.network, trained.int8_dies.bands
    head = fit_head(network, held.values, held.group, kind=kind)
    return replace(network, screen=replace(network.screen, head=head))
