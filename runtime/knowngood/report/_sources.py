"""The files behind a report: the verdict table, and the model and lots that its record names.

What the record names may have moved or changed since. Then the parts that need it are left out and
the report says why; a file that the user names himself must be the right one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import KnowngoodError, MissingExtraError, ModelFileError, UsageError
from .._judge import LotResult
from .._manifest import Manifest
from .._model_file import ModelFile, read_model
from .._opening import open_scorer
from .._read_lot import read_lot
from .._run_record import file_sha256, record_path
from .._scorer import Scorer
from .._verdict_table import VerdictTable, read_verdicts
from .._verdicts import Reason
from ._dies import DieRows
from ._facts import LeftOut, ModelUsed, Run
from ._rescored import Contribution, Rescored

NEEDS_MODEL = (
    "thresholds of the other operating points, detection curves, dies dropped in training, "
    "what int8 changes, where the model comes from"
)
NEEDS_LOTS = "values and limits of flagged dies, the die that PAT passes"
NEEDS_RECORD = "which model, engine and operating point gave the verdicts"


FORMS = (
    "model.kgd",
    "model.onnx",
    "model.int8.onnx",
    "model.tflite",
    "model.int8.tflite",
    "model.int16x8.tflite",
    "model.int8-full.tflite",
)
"""The names that export gives to the forms of one model."""


@dataclass(frozen=True)
class Sources:
    """All that a report is made from; ``left_out`` says what is not at hand."""

    rows: DieRows
    run: Run
    manifest: Manifest | None
    rescored: Rescored | None
    left_out: tuple[LeftOut, ...]


def open_sources(
    verdicts: str | Path, *, model: str | Path | None = None, lots: Sequence[str | Path] = ()
) -> Sources:
    """Read the verdict table and what belongs to it.

    Args:
        verdicts: ``.csv`` or ``.parquet`` of ``knowngood score``.
        model: instead of the model file that the run record names.
        lots: instead of the lot files that it names, in the order of the table's rows.

    Raises:
        InputError: the verdict table cannot be read.
        UsageError: ``model`` or ``lots`` are not those of the verdicts.
        ModelFileError, SchemaMismatchError: ``model`` or ``lots`` cannot be used.
    """
    table = read_verdicts(verdicts)
    folder = Path(verdicts).parent
    left_out = []
    if table.run is None:
        why = f"there is no run record {record_path(verdicts).name} beside the verdict table"
        left_out.append(LeftOut(NEEDS_RECORD, why))
    opened = _open_model(table, model, folder)
    manifest = _with_siblings(opened) if isinstance(opened, ModelFile) else None
    if isinstance(opened, LeftOut):
        left_out.append(opened)
    rescored = _rescore(table, opened, lots, folder)
    if isinstance(rescored, LeftOut):
        left_out.append(rescored)
    return Sources(
        rows=_rows(table),
        run=_run(table, manifest),
        manifest=manifest,
        rescored=rescored if isinstance(rescored, Rescored) else None,
        left_out=tuple(left_out),
    )


def _rows(table: VerdictTable) -> DieRows:
    return DieRows(
        row=np.arange(len(table)),
        lot=table.lot,
        wafer=table.wafer,
        part_id=table.part_id,
        x=table.x,
        y=table.y,
        head=table.head,
        site=table.site,
        score=table.score,
        disposition=np.array([str(d) for d in table.disposition], dtype=object),
        reason=np.array([Reason(r).text for r in table.reason], dtype=object),
        top_tests=table.top_tests,
    )


def _run(table: VerdictTable, manifest: Manifest | None) -> Run:
    threshold = float(table.threshold[0]) if len(table) else math.nan
    if table.run is None:
        return _run_of_threshold(threshold, manifest)
    run = table.run
    model = {key: str(run["model"].get(key, "")) for key in _MODEL_FIELDS}
    facts = run.get("facts", [])
    return Run(
        created=str(run["created"]),
        model=ModelUsed(name=Path(run["model"]["path"]).name, **model),
        inputs=tuple(str(item["name"]) for item in run["inputs"]),
        n_dies=tuple(item["n_dies"] for item in run["inputs"]),
        fpr=float(run["fpr"]),
        threshold=float(run["threshold"]),
        warnings=tuple(run["warnings"]),
        odd=tuple(f"{Path(f['path']).name}: {odd}" for f in facts for odd in f["odd"]),
    )


_MODEL_FIELDS = ("sha256", "model_id", "detector", "precision", "engine", "engine_version")


def _run_of_threshold(threshold: float, manifest: Manifest | None) -> Run:
    """What can be known without a run record: the operating point with the table's threshold."""
    if manifest is None:
        return Run(threshold=threshold)
    points = [p for p in manifest.screen.operating_points if p.threshold == threshold]
    model = ModelUsed(detector=manifest.detector, precision=manifest.precision)
    if not points:
        warning = f"the threshold {threshold:.6g} is none of the model's: is it the right model?"
        return Run(model=model, threshold=threshold, warnings=(warning,))
    warnings = () if points[0].supported else ("too few held-out dies support the threshold",)
    return Run(model=model, fpr=points[0].fpr, threshold=threshold, warnings=warnings)


def _open_model(table: VerdictTable, named: str | Path | None, folder: Path) -> ModelFile | LeftOut:
    """The model in the precision that gave the verdicts: each has thresholds of its own."""
    recorded = table.run["model"] if table.run else {}
    path = Path(named) if named is not None else _find(recorded.get("path"), folder)
    if path is None:
        missing = recorded.get("path", "the model, which is not recorded,")
        return LeftOut(NEEDS_MODEL, f"{missing} was not found; name it with --model")
    try:
        model = read_model(path)
        _check_model(model, recorded.get("sha256", model.digest))
        return model.in_precision(recorded.get("precision"))
    except KnowngoodError as error:
        if named is not None:
            raise
        return LeftOut(NEEDS_MODEL, str(error))


def _check_model(model: ModelFile, expected: str) -> None:
    if model.digest != expected:
        raise UsageError(
            f"{model.path} is not the model of these verdicts: digest {model.digest}, "
            f"expected {expected}"
        )


def _with_siblings(model: ModelFile) -> Manifest:
    """The manifest with the drift of every form exported beside it from the same training."""
    drift = list(model.manifest.drift)
    for name in FORMS:
        path = model.path.parent / name
        if not path.is_file():
            continue
        try:
            other = read_model(path).manifest
        except ModelFileError:  # a file of that name that is not ours says nothing of this model
            continue
        if other.provenance == model.manifest.provenance:
            drift += [d for d in other.drift if d not in drift]
    return replace(model.manifest, drift=tuple(drift))


def _find(recorded: str | None, folder: Path) -> Path | None:
    """A file where the record says, or of the same name beside the verdict table."""
    if not recorded:
        return None
    candidates = (Path(recorded), folder / recorded, folder / Path(recorded).name)
    return next((path for path in candidates if path.is_file()), None)


def _rescore(
    table: VerdictTable,
    model: ModelFile | LeftOut,
    named: Sequence[str | Path],
    folder: Path,
) -> Rescored | LeftOut:
    if isinstance(model, LeftOut):
        return LeftOut(NEEDS_LOTS, "the model is not at hand")
    try:
        paths = [Path(p) for p in named] or _recorded_lots(table, folder)
        _check_digests(table, paths)
        scorer = _open_scorer(table, model)
        options = dict(table.run["options"]) if table.run else {}
        good_if = options.pop("good_if", None)
        results = [scorer.score_lot(read_lot(p, good_if=good_if), **options) for p in paths]
        _check_rows(table, results, paths)
    except KnowngoodError as error:
        if named:
            raise
        return LeftOut(NEEDS_LOTS, str(error))
    return _rescored(scorer, results)


def _recorded_lots(table: VerdictTable, folder: Path) -> list[Path]:
    recorded = [str(item["path"]) for item in table.run["inputs"]] if table.run else []
    found = [_find(path, folder) for path in recorded]
    missing = [path for path, at in zip(recorded, found, strict=True) if at is None]
    if missing or not found:
        names = ", ".join(missing) or "the lots, which are not recorded,"
        raise UsageError(f"{names} could not be found; name the lots with --lot")
    return [path for path in found if path is not None]


def _check_digests(table: VerdictTable, paths: Sequence[Path]) -> None:
    inputs = table.run["inputs"] if table.run else []
    if inputs and len(inputs) != len(paths):
        raise UsageError(f"the verdicts are of {len(inputs)} lot files, {len(paths)} were given")
    for path, item in zip(paths, inputs, strict=False):
        if item["sha256"] and path.is_file() and file_sha256(path) != item["sha256"]:
            raise UsageError(f"{path} is not the file that was scored: its digest differs")


def _open_scorer(table: VerdictTable, model: ModelFile) -> Scorer:
    """The model in the engine of the run, or in another one where that is not installed."""
    run: dict[str, Any] = table.run or {}
    engine = run.get("model", {}).get("engine")
    fpr = _run(table, model.manifest).fpr
    wanted = None if math.isnan(fpr) else fpr
    try:
        return open_scorer(model, engine=engine, fpr=wanted, extrapolate=True)
    except MissingExtraError:
        return open_scorer(model, fpr=wanted, extrapolate=True)


def _check_rows(table: VerdictTable, results: Sequence[LotResult], paths: Sequence[Path]) -> None:
    found = [np.concatenate([getattr(r.lot.dies, name) for r in results]) for name in _PLACE]
    if any(
        len(column) != len(table) or (column != getattr(table, name)).any()
        for name, column in zip(_PLACE, found, strict=True)
    ):
        names = ", ".join(path.name for path in paths)
        raise UsageError(
            f"the dies of {names} are not those of the verdict table ({len(found[0])} rows, the "
            f"table has {len(table)}): give the lots in the order in which they were scored"
        )


_PLACE = ("lot", "wafer", "x", "y", "head", "site", "part_id")
"""Columns that must agree between the lots and the verdict table, row by row."""


def _rescored(scorer: Scorer, results: Sequence[LotResult]) -> Rescored:
    starts = np.cumsum([0, *(len(result) for result in results)])
    group = np.concatenate([result.lot.group for result in results])

    def top_tests(row: int) -> Sequence[Contribution]:
        place = int(np.searchsorted(starts, row, side="right")) - 1
        return results[place].top_tests(row - int(starts[place]))

    return Rescored(
        screen=scorer.screen,
        values=np.concatenate([result.lot.values for result in results]),
        scaler_rows=scorer.screen.scaler.rows(group, len(group)),
        dispositions=np.concatenate(
            [np.array([str(d) for d in r.dispositions], dtype=object) for r in results]
        ),
        top_tests=top_tests,
    )
