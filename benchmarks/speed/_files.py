"""What the contestants of a case are given: a model in every form, and dies with their scores.

The dies are complete ones of lots that training has not seen: a die with a missing test costs the
host of a bare network more. Who cannot score one at all is found out on some that are not timed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowngood._forward import forward
from knowngood._golden import with_golden
from knowngood._kgd import decode, encode
from knowngood._network import Network, Screen
from knowngood._sealed import Band, Precision, SealedModel
from knowngood.engines._reference import score_sealed
from knowngood_export import synthetic
from knowngood_export._trained import TrainedModel
from knowngood_export.comparison import fresh_dies
from knowngood_export.export import export_trained
from knowngood_quantize.heads import fit_head
from knowngood_quantize.int8 import Int8Recipe, quantize
from knowngood_quantize.static_ranges import with_static_ranges

from .._cases import Case
from .._prepare import REFUSE_NOTHING
from ._cases import SpeedCase
from ._lean_onnx import lean_onnx
from ._lean_tflite import lean_tflite

Float32 = NDArray[np.float32]
FORMATS = ("kgd", "onnx", "tflite")
PRECISIONS: tuple[Precision, ...] = ("int8", "fp32", "verified")
N_RESCORED = 2
"""Of the timed dies the band of `verified` holds so many: 0.2 % of 1,000."""
N_INCOMPLETE = 20
FRESH_LOTS, DIES_FOR_EACH = 5, 6
"""A fresh die in six is complete, and more: on 512 tests a third are."""


@dataclass(frozen=True, eq=False)
class Dies:
    """Dies in raw units and what each must score.

    Attributes:
        values: float32 ``(n_dies, n_tests)``.
        oracle: scores in float64 arithmetic, float32 ``(n_dies,)``.
        exact: scores of the reference engine by precision: what knowngood must give, to the bit.
    """

    values: Float32
    oracle: Float32
    exact: dict[str, Float32]

    def first(self, n_dies: int) -> Dies:
        """Some of them."""
        exact = {precision: scores[:n_dies] for precision, scores in self.exact.items()}
        return Dies(self.values[:n_dies], self.oracle[:n_dies], exact)


@dataclass(frozen=True, eq=False)
class SpeedFiles:
    """A case's folder and dies.

    Attributes:
        complete: dies to time with; incomplete: dies that miss tests, to be scored as well.
        n_macs: multiply-accumulates of the layers for one die.
    """

    folder: Path
    widths: tuple[int, ...]
    complete: Dies
    incomplete: Dies

    @property
    def n_macs(self) -> int:
        return sum(a * b for a, b in zip(self.widths, self.widths[1:], strict=False))


def make_files(case: SpeedCase, model: Case, trained: TrainedModel, folder: Path) -> SpeedFiles:
    """Write the files of a case.

    Args:
        model: what ``trained`` was made by.
        folder: made if it does not exist; what other code left there is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = _with_head(trained, case)
    export_trained(trained, folder, FORMATS, gates=REFUSE_NOTHING)
    write_lean_files(trained.network, trained.calibration.good, folder)
    write_job(trained.network, folder)
    complete, incomplete = _choose_dies(case, model)
    sealed = _with_bands(_read(folder / "model.kgd"), complete)
    (folder / "model.kgd").write_bytes(encode(with_golden(sealed)))
    network = trained.network
    return SpeedFiles(
        folder,
        network.widths,
        _scored(network, sealed, complete),
        _scored(network, sealed, incomplete),
    )


def _with_head(trained: TrainedModel, case: SpeedCase) -> TrainedModel:
    screen = trained.network.screen
    if screen.head.kind == case.head:
        return trained
    dies = trained.calibration
    head = fit_head(trained.network, dies.good, dies.good_group, kind=case.head)
    return replace(trained, network=replace(trained.network, screen=replace(screen, head=head)))


def write_lean_files(network: Network, good: Float32, folder: Path) -> None:
    """``lean`` and ``bare`` in every form, int8 with the ranges of these good dies."""
    static = quantize(network, good, None, Int8Recipe("static"))
    ranged = with_static_ranges(static, good)
    for form, is_bare in (("bare", True), ("lean", False)):
        for suffix, data in (
            ("fp32.onnx", lean_onnx(network, is_bare=is_bare)),
            ("int8.onnx", lean_onnx(static, is_bare=is_bare)),
            ("fp32.tflite", lean_tflite(network, is_bare=is_bare)),
            ("int8.tflite", lean_tflite(ranged, is_bare=is_bare)),
        ):
            (folder / f"{form}.{suffix}").write_bytes(data)


def write_job(network: Network, folder: Path) -> None:
    """For `benchmarks.rivals`, whose Python may have nothing but NumPy."""
    screen, head = network.screen, network.screen.head
    centre = screen.scaler.centre[0]
    high = centre.astype(np.float32)
    np.savez(
        folder / "job.npz",
        high=high,
        low=(centre - high).astype(np.float32),
        inv_scale=screen.scaler.inv_scale[0].astype(np.float32),
        residual_weight=head.residual_weight,
        expected_square=head.expected_square,
        present_gain=head.present_gain,
        present_offset=head.present_offset,
        is_topk=np.bool_(head.kind == "topk"),
        k=np.int64(head.k),
        min_present=np.int64(head.min_present),
        threshold=np.float32(_threshold(screen)),
    )
    arrays = {f"weight_{i}": layer.weight for i, layer in enumerate(network.layers)}
    arrays |= {f"bias_{i}": layer.bias for i, layer in enumerate(network.layers)}
    is_relu = np.array([layer.activation.kind == "relu" for layer in network.layers])
    np.savez(folder / "layers.npz", allow_pickle=False, is_relu=is_relu, **arrays)


def _threshold(screen: Screen) -> float:
    return screen.operating_point(screen.default_fpr, extrapolate=True).threshold


def _choose_dies(case: SpeedCase, model: Case) -> tuple[Float32, Float32]:
    process = synthetic.process(model.n_tests, "tight", seed=model.seed)
    n_dies = DIES_FOR_EACH * case.n_dies
    fresh = fresh_dies(process, n_dies, 1, seed=model.seed + 1, n_lots=FRESH_LOTS).good.values
    n_missing = np.isnan(fresh).sum(axis=1)
    complete = fresh[n_missing == 0]
    if len(complete) < case.n_dies:
        raise ValueError(f"{case.name}: {len(complete)} fresh dies are complete of {len(fresh)}")
    rows = np.linspace(0, len(complete) - 1, case.n_dies).astype(int)
    return complete[rows], fresh[n_missing > 0][:N_INCOMPLETE]


def _read(path: Path) -> SealedModel:
    return decode(path.read_bytes(), str(path)).model


def _with_bands(model: SealedModel, dies: Float32) -> SealedModel:
    """The model with bands that hold ``N_RESCORED`` of the dies at each operating point."""
    scores = score_sealed(model, "int8", dies, model.screen.scaler.rows(None, len(dies))).scores
    bands = []
    for point in model.points["fp32"]:
        distances = np.sort(np.abs(scores.astype(np.float64) - point.threshold))
        reach = distances[N_RESCORED - 1 : N_RESCORED + 1].mean()
        low, high = np.float32(point.threshold - reach), np.float32(point.threshold + reach)
        bands.append(Band(float(low), float(high)))
    limits = np.full(len(model.int8 or ()), np.finfo(np.float32).max, np.float32)
    return replace(model, bands=tuple(bands), scale_limits=limits)


def _scored(network: Network, model: SealedModel, values: Float32) -> Dies:
    rows = model.screen.scaler.rows(None, len(values))
    exact: dict[str, Float32] = {p: score_sealed(model, p, values, rows).scores for p in PRECISIONS}
    return Dies(values, forward(network, values).scores, exact)
