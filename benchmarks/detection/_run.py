"""Detection from top to bottom: train, the head chosen; make fresh dies; let everybody score."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowngood._manifest import Evaluation, HeadChoice
from knowngood._network import Scaler
from knowngood_export import synthetic
from knowngood_export._fit import AutoencoderConfig, Part, inject_defects, score_dies
from knowngood_export._trained import TrainedModel, load_model, save_model
from knowngood_export._training import TrainingRecipe
from knowngood_export.comparison import fresh_dies
from knowngood_export.train_lots import LotTrainingConfig, train_on_lots
from knowngood_quantize.thresholds import conformal_thresholds
from knowngood_quantize.yardstick import detection_at, evaluate_scores

from .._code_digest import training_code_digest
from ._cases import DetectionCase
from ._rivals import fit_rivals

Float32 = NDArray[np.float32]
OURS = "autoencoder"
YARDSTICK = "yardstick "
"""Before the names of classes made by ``knowngood train``'s own yardstick."""
CORRELATION_CLASSES = (
    "droop", "timing", "broken_correlation",
    f"{YARDSTICK}block_shift", f"{YARDSTICK}broken_correlation",
)  # fmt: skip
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Shortfall:
    """A class of which a rival finds more than the autoencoder.

    Attributes:
        difference: the autoencoder's share less the rival's.
        standard_error: of it, from the dies that only one of the two finds.
    """

    rival: str
    defect: str
    difference: float
    standard_error: float

    @property
    def is_shown(self) -> bool:
        """Whether it is more than the dies leave to chance."""
        return self.difference < -STANDARD_ERRORS * self.standard_error


@dataclass(frozen=True)
class DetectionResult:
    """What came out of one case.

    Attributes:
        head_choice: the head, and what it was chosen from.
        versions: of each rival's package.
        n_rivals_fitted: training dies that these rivals are fitted on.
        evaluation: detection by detector and class at equal realised yield loss.
        mean_detection: of the autoencoder over the generator's classes.
        shortfalls: of correlation classes, whatever their size.
    """

    case: DetectionCase
    widths: tuple[int, ...]
    head_choice: HeadChoice
    versions: dict[str, str]
    n_rivals_fitted: int
    evaluation: Evaluation
    mean_detection: float
    shortfalls: tuple[Shortfall, ...]

    @property
    def failures(self) -> list[str]:
        """What was expected and not met."""
        failures = [
            f"{s.rival} finds {-s.difference:.1%} more of {s.defect}"
            for s in self.shortfalls
            if s.is_shown and not self.case.may_lose
        ]
        if not self.mean_detection >= self.case.expected:
            found = f"{self.mean_detection:.1%} found, {self.case.expected:.0%} expected"
            failures.append(f"{found} at {self.case.yield_loss:.1%} yield loss")
        return failures


def run_detection_case(
    case: DetectionCase, folder: Path, say: Callable[[str], None]
) -> DetectionResult:
    """Run a case, keeping the trained model in ``folder``; ``say`` is told how far it is."""
    say(f"{case.name}: training")
    trained = _load_or_train(case, folder)
    say(f"{case.name}: {trained.network.screen.head.kind} chosen; fresh dies")
    return judge(trained, case)


def judge(trained: TrainedModel, case: DetectionCase) -> DetectionResult:
    """A trained model beside all rivals on fresh dies of its process."""
    good, defects = _fresh(trained, case)
    scores, versions = _all_scores(trained, case.seed, [good, *defects.values()])
    evaluation = evaluate_scores(
        {name: own[0] for name, own in scores.items()},
        {name: dict(zip(defects, own[1:], strict=True)) for name, own in scores.items()},
        f"{len(good):,} good dies of {case.n_fresh_lots} fresh lots",
    )
    classes = [name for name in defects if not name.startswith(YARDSTICK)]
    found = [detection_at(evaluation, OURS, name, case.yield_loss) for name in classes]
    return DetectionResult(
        case=case,
        widths=trained.network.widths,
        head_choice=trained.evaluation.head_choice,
        versions=versions,
        n_rivals_fitted=len(trained.int8_dies.rounding),
        evaluation=evaluation,
        mean_detection=float(np.mean(found)),
        shortfalls=tuple(_shortfalls(scores, list(defects), case.yield_loss)),
    )


def _fresh(trained: TrainedModel, case: DetectionCase) -> tuple[Part, dict[str, Part]]:
    """Good dies, and dies with defects by class: the generator's, and the yardstick's."""
    process = synthetic.process(case.n_tests, case.correlation, seed=case.seed)
    fresh = fresh_dies(
        process, case.n_fresh_good, case.n_fresh_defective,
        seed=case.seed + 99_991, n_lots=case.n_fresh_lots,
    )  # fmt: skip
    schema = trained.network.screen.schema
    alignment = schema.align(fresh.good.schema)
    good = Part(alignment.apply(fresh.good.values), fresh.good.group)
    defects = {
        s.name: Part(alignment.apply(s.values), good.group[s.source_rows]) for s in fresh.defective
    }
    made = inject_defects(
        good, schema, reference=trained.int8_dies.rounding, n_dies=case.n_fresh_defective
    )
    return good, defects | {YARDSTICK + s.name: dies for s, dies in made}


def _all_scores(
    trained: TrainedModel, seed: int, sets: list[Part]
) -> tuple[dict[str, list[Float32]], dict[str, str]]:
    """By detector, its scores of each set; and the versions of the rivals."""
    scores = {
        network.detector: [score_dies(network, dies, dtype=np.float32) for dies in sets]
        for network in (trained.network, *trained.baselines)
    }
    scaler = trained.network.screen.scaler
    rivals = fit_rivals(_standardised(scaler, trained.int8_dies.rounding), seed)
    u = [_standardised(scaler, dies) for dies in sets]
    scores |= {r.name: [r.score(dies).astype(np.float32) for dies in u] for r in rivals}
    return scores, {rival.name: rival.version for rival in rivals}


def _standardised(scaler: Scaler, dies: Part) -> Float32:
    return np.nan_to_num(scaler.standardise(dies.values, scaler.rows(dies.group, len(dies))))


def _shortfalls(
    scores: dict[str, list[Float32]], defects: list[str], yield_loss: float
) -> list[Shortfall]:
    found = {
        name: [
            own[1:][i] > conformal_thresholds(own[0], [yield_loss])[0] for i in range(len(defects))
        ]
        for name, own in scores.items()
    }
    pairs = (
        _compare(rival, defect, found[OURS][i], found[rival][i])
        for rival in scores
        for i, defect in enumerate(defects)
        if rival != OURS and defect in CORRELATION_CLASSES
    )
    return [pair for pair in pairs if pair.difference < 0]


def _compare(
    rival: str, defect: str, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]
) -> Shortfall:
    """Paired, as McNemar does: dies that both find, or neither, say nothing."""
    difference = float(ours.mean() - theirs.mean())
    return Shortfall(rival, defect, difference, math.sqrt((ours != theirs).sum()) / len(ours))


def _load_or_train(case: DetectionCase, folder: Path) -> TrainedModel:
    own = folder / f"detection-{case.name}-{training_code_digest(repr(case))}"
    own.mkdir(parents=True, exist_ok=True)
    path = own / "model.pt"
    if not path.exists():
        save_model(path, _train(case))
    return load_model(path)


def _train(case: DetectionCase) -> TrainedModel:
    process = synthetic.process(case.n_tests, case.correlation, seed=case.seed)
    lots = [
        synthetic.make_lot(
            process, n_wafers=case.wafers_per_lot, dies_per_wafer=case.dies_per_wafer,
            lot=f"LOT{i + 1:03d}", seed=case.seed,
        )
        for i in range(case.n_lots)
    ]  # fmt: skip
    config = AutoencoderConfig(
        head="auto", fpr=case.yield_loss, recipe=TrainingRecipe(seed=case.seed, n_threads=1)
    )
    return train_on_lots(lots, config=LotTrainingConfig(config, n_folds=0))
