"""``load``: a model file opened in an engine and checked, as a ``Scorer``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ._errors import ModelFileError
from ._golden import require_golden
from ._model_file import ModelFile, parse_model, read_model
from ._scorer import Scorer
from .engines import open_engine


def load(
    path: str | Path,
    *,
    engine: str | None = None,
    precision: str | None = None,
    fpr: float | None = None,
    extrapolate: bool = False,
    check: bool = True,
    cpu_path: str | None = None,
) -> Scorer:
    """Load a model file.

    Args:
        path: a ``.kgd``, ``.onnx`` or ``.tflite`` exported by knowngood.
        engine: "native" or "reference" for a ``.kgd``, "onnxruntime", "litert" or "tflite"; if None
            "native" for a ``.kgd``, else the first installed one that runs the file.
        precision: of a ``.kgd`` that has several: "verified", "int8" or "fp32"; the first of these
            that it offers if None.
        fpr: operating point, the nominal yield loss on good dies; the file's default if None.
        extrapolate: take an operating point that too few dies support.
        check: score the file's golden dies first, or a few made-up ones where it has none, and
            refuse an engine that does not behave.
        cpu_path: the kernels of "native", one of ``cpu_paths()``; if None those that the
            environment variable KNOWNGOOD_CPU_PATH names, else the fastest. The bits are the same.

    Raises:
        ModelFileError: the file is missing, damaged or foreign, or the engine refuses it.
        OperatingPointError: the file has no such operating point, or does not support it.
        UsageError: the engine does not exist or does not run this kind of file, or this machine
            does not have the path.
        MissingExtraError: the engine's package is not installed; the message names the extra.
    """
    model = read_model(path)
    return open_scorer(
        model,
        engine=engine,
        precision=precision,
        fpr=fpr,
        extrapolate=extrapolate,
        check=check,
        cpu_path=cpu_path,
    )


def open_scorer(
    model: ModelFile,
    *,
    engine: str | None = None,
    precision: str | None = None,
    fpr: float | None = None,
    extrapolate: bool = False,
    check: bool = True,
    cpu_path: str | None = None,
) -> Scorer:
    """``load`` for a model that was read already."""
    model = model.in_precision(precision)
    point = model.operating_point(fpr, extrapolate=extrapolate)
    opened = open_engine(model, engine, cpu_path=cpu_path, check=check)
    if check and model.sealed is not None and opened.name != "native":  # which did it while opening
        require_golden(model, opened)
    scorer = Scorer(model, opened.at(point.fpr), point)
    if check:
        check_behaviour(scorer)
    return scorer


def check_behaviour(scorer: Scorer) -> None:
    """Score dies whose verdict is certain: one at every centre, one empty, one with an infinity.

    Raises:
        ModelFileError: the graph breaks a promise that verdicts rest on.
    """
    values = np.tile(scorer.screen.scaler.centre[0].astype(np.float32), (3, 1))
    values[1] = np.nan
    values[2, 0] = np.inf
    result = scorer.score(values)
    reconstruction = scorer.reconstruct(values[:1])
    if not np.isfinite(result.scores[0]) or not np.isfinite(reconstruction).all():
        raise ModelFileError(
            f"{scorer.path}: {scorer.engine_name} {scorer.engine_version} gives no finite score "
            f"for a die whose every test lies at its centre: {result.scores[0]}. "
            "Use another engine, or export the model again."
        )
    if np.isfinite(result.scores[1:]).any():
        raise ModelFileError(
            f"{scorer.path}: {scorer.engine_name} {scorer.engine_version} scores dies that cannot "
            f"be scored (no data, an infinity): {result.scores[1:]}. "
            "Use another engine, or export the model again."
        )


def reopen(
    data: bytes, path: str, engine: str, precision: str, fpr: float, cpu_path: str | None
) -> Scorer:
    """A pickled scorer: its file is verified again, and the engine found here is checked."""
    return open_scorer(
        parse_model(data, path),
        engine=engine,
        precision=precision,
        fpr=fpr,
        extrapolate=True,
        cpu_path=cpu_path,
    )
