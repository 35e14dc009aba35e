"""Foreign model files around good dies: what ``knowngood import`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import ModelFileError, SchemaMismatchError
from knowngood._forward import reconstruct
from knowngood._good_dies import missing_patterns, select_good_dies
from knowngood._lot import Lot
from knowngood._network import DEFAULT_FPR, MIN_EXCEEDANCES, HeadKind, Network
from knowngood._read_lot import merge_lots, read_lot
from knowngood._schema import Schema
from knowngood_quantize.hold_out import clusters, split_hold_out
from knowngood_quantize.sampling import evenly_spaced

from ._fit import Part, Parts
from ._foreign import (
    Origin,
    Request,
    ScalerChoice,
    in_order_in_words,
    parts_of,
    require_enough,
    split_in_order,
    trained_from_layers,
)
from ._sources import source_of
from ._trained import TrainedModel
from .foreign import ForeignNetwork, read_network, run_in_own_runtime

HOLD_OUT = 0.75
"""Some three fifths of this share are for thresholds: no weights are learnt of the rest."""
COMPARED_DIES = 64
TOLERANCE = 1e-4
"""Of inputs and outputs, in root mean square: what float32 sums explain, large terms cancelling."""
QUANTIZED_TOLERANCE = 0.2
"""The same for a file that computes in integers: crude ones are off by a tenth."""


def import_model(
    path: str | Path,
    good_values: NDArray[np.float32],
    *,
    schema: Schema | None = None,
    group: NDArray[np.int32] | None = None,
    scaler: ScalerChoice = "identity",
    head: HeadKind = "mse",
    k: int = 5,
    fpr: float = DEFAULT_FPR,
) -> TrainedModel:
    """Read a dense autoencoder that was made elsewhere, and calibrate it on good dies.

    The model keeps all its inputs. On some of the dies its layers are compared with what the
    file's own runtime gives (ONNX Runtime, LiteRT): they must agree, or, where the file computes
    in integers, the difference is noted. `export_trained` writes the result.

    Args:
        path: ``.onnx``, ``.tflite`` or Keras HDF5; see `knowngood_export.foreign.read_network`.
        good_values: ``(n_dies, n_tests)`` of good dies that it was not trained on, in raw units,
            in the order of the model's inputs and of the file, NaN where a test is missing.
        schema: names the tests; None numbers them.
        group: int32 ``(n_dies,)``, site of each die; for ``scaler="fit"``.
        scaler: what the model expects to be given. ``"identity"``: values as they are. ``"fit"``:
            robustly standardised tests, centre and scale learnt here; tests that do not vary are
            only centred. A `Scaler`: the one it was trained with. A missing test is given as 0.
        head: how residuals become a score; "mse" is the mean square that such models are used with.
        k: residuals that topk takes.
        fpr: default yield loss.

    Raises:
        ModelFileError: the file is damaged, holds what is not supported, or its layers do not give
            what its runtime gives.
        UsageError: dies or arguments that do not fit.
        NotEnoughDataError: too few good dies.
        MissingExtraError: a package that reads or runs the format is not installed.
    """
    foreign = read_network(path)
    values = np.asarray(good_values)
    if values.ndim == 2:
        _require_width(foreign, values.shape[1], "good_values has")
    parts = split_in_order(values, group, schema)
    request = Request(schema, scaler, head, k, fpr)
    origin = Origin(in_order_in_words(parts))
    return _imported(foreign, parts, request, origin, by_site=group is not None)


def import_on_lots(
    path: str | Path,
    lots: Sequence[str | Path],
    *,
    scaler: ScalerChoice = "identity",
    head: HeadKind = "mse",
    k: int = 5,
    fpr: float = DEFAULT_FPR,
    good_if: str | None = None,
    trim: bool = True,
) -> TrainedModel:
    """`import_model` with the good dies of lots, of which whole ones are held out as in training.

    Args:
        path: of the foreign file.
        lots: STDF, CSV, Parquet or NumPy files; their tests, in order, are the model's inputs.
        scaler, head, k, fpr: as for `import_model`.
        good_if: which dies the tester called good, for files that do not say; see ``read_lot``.
        trim: leave gross outliers out of the good dies.

    Raises:
        InputError: a file cannot be read, or too few good dies.
        SchemaMismatchError: the lots have another number of tests than the model.
        ModelFileError, UsageError, MissingExtraError: as for `import_model`.
    """
    foreign = read_network(path)
    every = [read_lot(name, good_if=good_if) for name in lots]
    lot = merge_lots(every)
    _require_width(foreign, lot.schema.n_tests, f"{_names(lots)}: the lots have")
    parts, origin = _parts_of(lot, trim)
    sources = tuple(source_of(Path(p), one) for p, one in zip(lots, every, strict=True))
    request = Request(lot.schema, scaler, head, k, fpr)
    return _imported(foreign, parts, request, replace(origin, sources=sources), by_site=False)


def _names(lots: Sequence[str | Path]) -> str:
    return ", ".join(Path(name).name for name in lots)


def _require_width(foreign: ForeignNetwork, n_tests: int, found: str) -> None:
    if n_tests != foreign.n_tests:
        raise SchemaMismatchError(
            f"{found} {n_tests} tests, {foreign.path} takes {foreign.n_tests}: give the model's "
            "inputs, all of them and in its order, and no other columns"
        )


def _parts_of(lot: Lot, trim: bool) -> tuple[Parts, Origin]:
    """The good dies of a lot in three parts, and what is to be told of them."""
    chosen = select_good_dies(lot, trim=trim)
    require_enough(int(chosen.rows.sum()), "the lots have good dies:")
    held = split_hold_out(lot.dies, chosen.rows, share=HOLD_OUT)
    fitted, calibration = (
        Part(lot.values[rows], lot.group[rows], clusters(lot.dies, rows)[rows])
        for rows in (held.train | held.validation, held.calibration)
    )
    parts = parts_of(fitted, calibration, missing_patterns(lot))
    parts.require_enough()
    hold_out = f"trained elsewhere; for thresholds: {held.how}"
    return parts, Origin(hold_out, (), chosen.dropped, (*lot.facts.odd, *chosen.notes))


def _imported(
    foreign: ForeignNetwork, parts: Parts, request: Request, origin: Origin, *, by_site: bool
) -> TrainedModel:
    trained = trained_from_layers(foreign.layers, parts, request, origin, by_site=by_site)
    imported = f"imported from {foreign.path.name} ({foreign.describe()}; {foreign.digests()})"
    notes = (imported, *_compare(foreign, trained.network, parts.calibration), *_support(trained))
    provenance = trained.provenance
    return replace(trained, provenance=replace(provenance, notes=(*notes, *provenance.notes)))


def _compare(foreign: ForeignNetwork, network: Network, dies: Part) -> tuple[str, ...]:
    """Hold the layers against the file's own runtime on some dies.

    Raises:
        ModelFileError: a file without integer arithmetic gives something else.
    """
    some = dies.select(evenly_spaced(len(dies), COMPARED_DIES))
    scaler = network.screen.scaler
    u = scaler.standardise(some.values, scaler.rows(some.group, len(some)))
    u = np.where(np.isfinite(u), u, np.float32(0))
    own = run_in_own_runtime(foreign, u)
    if own is None:
        return ("not compared with Keras itself, which knowngood does not use",)
    found = reconstruct(network, u)
    if own.shape != found.shape:
        raise ModelFileError(f"{foreign.path} gives {own.shape[1]} values for {found.shape[1]}")
    difference = _difference(u, own, found)
    tolerance = QUANTIZED_TOLERANCE if foreign.is_quantized else TOLERANCE
    if not difference <= tolerance:
        raise ModelFileError(
            f"{foreign.path}: the layers read do not give what its own runtime gives (on good "
            f"dies they differ by {difference:.1e} of its values, where rounding explains "
            f"{tolerance:g}): the file computes something else, export it anew as plain dense "
            "layers in floats"
        )
    if foreign.is_quantized:
        return (_rounding_in_words(u, own, found),)
    return (f"agrees with its own runtime within {difference:.1e} of its values",)


def _difference(u: NDArray[np.float32], own: NDArray[Any], found: NDArray[Any]) -> float:
    """Root mean square of what differs, over that of inputs and outputs."""
    scale = np.square(u, dtype=np.float64).mean() + np.square(own, dtype=np.float64).mean()
    missed = np.square(own.astype(np.float64) - found).mean()
    return float(np.sqrt(missed / scale)) if scale > 0 else float(np.sqrt(missed))


def _rounding_in_words(u: NDArray[np.float32], own: NDArray[Any], found: NDArray[Any]) -> str:
    of_file, of_layers = (float(np.square(u - y.astype(np.float64)).mean()) for y in (own, found))
    return (
        f"the file computes in integers: on {len(u)} good dies its mean square is {of_file:.5g}, "
        f"that of its dequantised layers {of_layers:.5g}; the original in floats would be nearer "
        "to what was trained"
    )


def _support(trained: TrainedModel) -> tuple[str, ...]:
    """Which operating points the dies do not carry."""
    points = trained.network.screen.operating_points
    weak = [f"{p.fpr:.2%}" for p in points if not p.supported]
    if not weak:
        return ()
    n_dies = points[0].n_dies
    return (
        f"{n_dies} good dies carry no threshold at {', '.join(weak)}: {MIN_EXCEEDANCES} must be "
        "expected above it. These points are extrapolated and marked; give more dies, or score "
        "with --extrapolate",
    )
