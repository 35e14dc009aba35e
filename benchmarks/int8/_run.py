"""One set from top to bottom: prepare, let everybody score the same dies, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import HeadKind
from knowngood_export._forms import Form
from knowngood_quantize._ranking import roc_auc

from .._contestants import DIES_PER_BLOCK, Float32
from . import _edge_settings, _ort_settings
from ._contestants import Contestant, OnnxFile, TfliteFile, by_own_score, by_reconstruction
from ._dies import Prepared, prepare
from ._measure import Row, Scores, Verified, errors_at, measure_verified, score_errors
from ._ours import MAKER, Ours
from ._sets import AnySet, GeneratorSet, Sets

FP32_ERROR = 1e-4
"""Largest relative error of an fp32 file, and of a file's own score from that of its
reconstruction: beyond, the contestant computes something else."""
N_CHECKED = 200
"""Good dies whose own scores are asked for."""
RivalSettings = tuple[_ort_settings.Setting | _edge_settings.Setting, ...]
ALL_SETTINGS: RivalSettings = (*_ort_settings.SETTINGS, *_edge_settings.SETTINGS)


@dataclass(frozen=True)
class SetResult:
    """What came out of one set.

    Attributes:
        kind: "generator" or "table".
        auc: of native fp32 by head.
        n_rounding: dies that int8 was made with, ours and theirs.
        refused: settings that their maker or the engine refuses for this network, and why.
        not_verified: why there are no verified verdicts, "" if there are.
        failures: answers that cannot be right.
    """

    name: str
    kind: str
    widths: tuple[int, ...]
    n_rounding: int
    n_bands: int
    n_calibration: int
    n_good: int
    n_defective: int
    auc: dict[str, float]
    rows: tuple[Row, ...]
    verified: tuple[Verified, ...]
    refused: tuple[str, ...]
    not_verified: str
    failures: tuple[str, ...]


@dataclass
class _Found:
    rows: list[Row] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    int8: dict[HeadKind, Scores] = field(default_factory=dict)


def run_sets(
    sets: Sets, model_of: Callable[[AnySet], Path], data: Path, say: Callable[[str], None]
) -> Iterator[SetResult]:
    """Run all sets, one after the other.

    Args:
        model_of: the file in which a set's trained model is kept.
        data: folder of real data; without it only the generators are run.
    """
    tables = sets.tables if data.is_dir() else ()
    if len(tables) < len(sets.tables):
        say(f"left out, for {data} is not there: {', '.join(t.name for t in sets.tables)}")
    cases: tuple[AnySet, ...] = (*sets.generators, *tables)
    for case in cases:
        yield run_set(case, sets.fprs, model_of(case), data, say)


def run_set(
    case: AnySet,
    fprs: Sequence[float],
    model: Path,
    data: Path,
    say: Callable[[str], None],
    settings: RivalSettings = ALL_SETTINGS,
) -> SetResult:
    """Run a set, keeping its trained model in the file ``model``; ``say`` is told how far it is."""
    say(f"{case.name}: training, quantising")
    prepared = prepare(case, model, data)
    ours = Ours.of(prepared, fprs)
    exact = _scored(ours.exact, prepared)
    say(f"{case.name}: {len(settings)} settings of rivals")
    found = _Found()
    for contestant in _contestants(ours, settings, found):
        _judge(contestant, prepared, exact, fprs, found)
    verified, why_not = verified_verdicts(ours, exact, found.int8, fprs)
    judged, trained = prepared.judged, prepared.trained
    return SetResult(
        name=case.name,
        kind="generator" if isinstance(case, GeneratorSet) else "table",
        widths=trained.network.widths,
        n_rounding=len(trained.int8_dies.rounding),
        n_bands=len(trained.int8_dies.bands),
        n_calibration=len(judged.calibration),
        n_good=len(judged.good),
        n_defective=len(judged.defective),
        auc={kind: _auc(scores) for kind, scores in exact.items()},
        rows=tuple(found.rows),
        verified=verified,
        refused=tuple(found.refused),
        not_verified=why_not,
        failures=tuple(found.failures),
    )


def _contestants(ours: Ours, settings: RivalSettings, found: _Found) -> Iterator[Contestant]:
    yield from ours.contestants()
    networks = ours.prepared.networks
    heads = {kind: network.screen.head for kind, network in networks.items()}
    dies = ours.prepared.trained.int8_dies.rounding.values
    for setting in settings:
        is_edge = isinstance(setting, _edge_settings.Setting)
        maker = _edge_settings.MAKER if is_edge else _ort_settings.MAKER
        try:
            opened, n_bytes = _open_rival(setting, ours, dies)
        except Exception as error:
            found.refused.append(f"{maker} {setting.name}: {str(error).splitlines()[0][:200]}")
            continue
        block = setting.block if isinstance(setting, _ort_settings.Dynamic) else DIES_PER_BLOCK
        scores = by_reconstruction(opened.reconstruct, heads, block)
        yield Contestant(maker, setting.name, setting.arithmetic, opened.engine, n_bytes, scores)
        if setting.name == _ort_settings.DEFAULT:
            own = by_own_score(opened.score, next(iter(heads)))
            name = _ort_settings.AS_IT_COMES
            yield Contestant(maker, name, setting.arithmetic, opened.engine, n_bytes, own)


def _open_rival(
    setting: _ort_settings.Setting | _edge_settings.Setting, ours: Ours, dies: Float32
) -> tuple[OnnxFile | TfliteFile, int]:
    if isinstance(setting, _edge_settings.Setting):
        data = _edge_settings.quantised(setting, ours.files[Form("tflite", "fp32")], dies)
        return TfliteFile(data), len(data)
    data = _ort_settings.quantised(setting, ours.files[Form("onnx", "fp32")], dies)
    return OnnxFile(data), len(data)


def _scored(
    score: Callable[..., dict[HeadKind, Float32]], prepared: Prepared
) -> dict[HeadKind, Scores]:
    judged = prepared.judged
    parts = [score(dies) for dies in (judged.calibration, judged.good, judged.defective)]
    return {kind: Scores(*(part[kind] for part in parts)) for kind in parts[0]}


def _judge(
    contestant: Contestant,
    prepared: Prepared,
    exact: dict[HeadKind, Scores],
    fprs: Sequence[float],
    found: _Found,
) -> None:
    """Add its rows; a rival that leaves calibration dies unscored has no threshold, and is out."""
    try:
        _add(contestant, prepared, exact, fprs, found)
    except UsageError as error:
        if contestant.maker == MAKER:
            raise
        found.refused.append(f"{contestant.name}: {error}")


def _add(
    contestant: Contestant,
    prepared: Prepared,
    exact: dict[HeadKind, Scores],
    fprs: Sequence[float],
    found: _Found,
) -> None:
    scores = _scored(contestant.scores, prepared)
    found.failures += wrong_answers(contestant, scores, exact, prepared)
    if contestant.maker == MAKER and not contestant.engine:
        found.int8 = scores
    found.rows += [
        Row(
            contestant=contestant.name,
            maker=contestant.maker,
            arithmetic=contestant.arithmetic,
            engine=contestant.engine,
            head=kind,
            n_bytes=contestant.n_bytes,
            n_good=len(own.good),
            n_defective=len(own.defective),
            points=errors_at(exact[kind], own, fprs),
            **asdict(score_errors(exact[kind], own)),
        )
        for kind, own in scores.items()
    ]


def wrong_answers(
    contestant: Contestant,
    scores: dict[HeadKind, Scores],
    exact: dict[HeadKind, Scores],
    prepared: Prepared,
) -> list[str]:
    """What shows that a contestant computes something else than it should.

    An fp32 file, which the rivals' files are made of, must score as native fp32 does; the own score
    of a file of ours must be the head's of its reconstruction, by which all are judged.
    """
    wrong = []
    if contestant.arithmetic == "fp32":
        wrong += [
            f"{contestant.name}, {kind}: {error:.1e} from native fp32"
            for kind, own in scores.items()
            if not (error := _worst(exact[kind].good, own.good)) <= FP32_ERROR
        ]
    if contestant.maker == MAKER and contestant.own_scores is not None:
        own = contestant.own_scores(prepared.judged.good.values[:N_CHECKED])
        error = _worst(own, next(iter(scores.values())).good[:N_CHECKED])
        if not error <= FP32_ERROR:
            wrong.append(f"{contestant.name}: its own score is {error:.1e} from the head's")
    return wrong


def _worst(expected: Float32, found: Float32) -> float:
    """Largest error, relative to a score that is at least the median; NaN where only one is one."""
    either = ~(np.isnan(expected) & np.isnan(found))
    scale = np.maximum(expected, np.nanmedian(expected)).astype(np.float64)
    error = np.abs(found.astype(np.float64) - expected)[either] / scale[either]
    return float(error.max(initial=0.0))


def verified_verdicts(
    ours: Ours,
    exact: dict[HeadKind, Scores],
    int8: dict[HeadKind, Scores],
    fprs: Sequence[float],
) -> tuple[tuple[Verified, ...], str]:
    """Of every head at every point; or why there are none."""
    judged = ours.prepared.judged
    try:
        scorers = {kind: ours.verified(kind) for kind in exact}
    except NotEnoughDataError as error:
        return (), str(error)
    found = tuple(
        measure_verified(kind, scorer, judged, exact[kind], int8[kind], fpr)
        for kind, scorer in scorers.items()
        for fpr in fprs
    )
    return found, ""


def _auc(scores: Scores) -> float:
    return roc_auc(scores.good, scores.defective)
