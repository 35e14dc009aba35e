"""The section ``points``: operating points of each precision, bands, and limits of layer scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._network import OperatingPoint
from knowngood._sealed import Band, LayerPrecision, SealedModel

from ._reader import Reader
from ._refusal import Rule
from ._writer import Writer

MAX_POINTS = 64
_BYTES_PER_PROGRAM = 4 + 8 + 8 + 4 + 4


@dataclass(frozen=True, eq=False)
class Points:
    """What the section holds; see ``SealedModel``."""

    default_fpr: float
    points: Mapping[LayerPrecision, tuple[OperatingPoint, ...]]
    bands: tuple[Band, ...]
    scale_limits: NDArray[np.float32]


def encode_points(model: SealedModel) -> bytes:
    """The section's bytes.

    Raises:
        UsageError: precisions with different yield losses, or bands that do not fit them.
    """
    columns = [model.points[precision] for precision in model.layer_precisions]
    _check_alike(model, columns)
    writer = Writer("points")
    writer.f64("default yield loss", model.screen.default_fpr)
    writer.u32("number of points", len(columns[0]))
    writer.u32("number of programs", len(columns))
    writer.u32("number of scale limits", len(model.scale_limits))
    writer.array("scale limits", model.scale_limits, "<f4")
    for i, point in enumerate(columns[0]):
        writer.f64("yield loss", point.fpr)
        for column in columns:
            _write_point(writer, column[i])
        if model.bands:
            writer.f32(f"low end of band {i}", model.bands[i].lo)
            writer.f32(f"high end of band {i}", model.bands[i].hi)
    return writer.getvalue()


def _check_alike(model: SealedModel, columns: list[tuple[OperatingPoint, ...]]) -> None:
    losses = [[point.fpr for point in column] for column in columns]
    if any(found != losses[0] for found in losses):
        raise UsageError(f"points: every precision needs the same yield losses, found {losses}")
    expected = (len(losses[0]), len(model.widths) - 1) if model.bands else (0, 0)
    if (len(model.bands), len(model.scale_limits)) != expected:
        raise UsageError(
            f"points: expected {expected[0]} bands and {expected[1]} scale limits, "
            f"found {len(model.bands)} and {len(model.scale_limits)}"
        )


def _write_point(writer: Writer, point: OperatingPoint) -> None:
    name = f"at {point.fpr:g}"
    writer.f32(f"threshold {name}", point.threshold)
    writer.f64(f"low end {name}", point.low)
    writer.f64(f"high end {name}", point.high)
    writer.u32(f"dies {name}", point.n_dies)
    writer.u32(f"supported {name}", point.supported)


def decode_points(
    section: memoryview, precisions: tuple[LayerPrecision, ...], n_layers: int
) -> Points:
    """The points of a file with these precisions and layers."""
    reader = Reader(section, "points")
    default_fpr = reader.f64("default yield loss")
    n_points = reader.count("number of points", 1, MAX_POINTS, 8 + _BYTES_PER_PROGRAM)
    n_programs = reader.u32("number of programs")
    if n_programs != len(precisions):
        raise reader.refusal("number of programs", Rule.POINTS, len(precisions), n_programs)
    limits = _read_limits(reader, n_layers if n_programs == 2 else 0)
    columns: tuple[list[OperatingPoint], ...] = tuple([] for _ in precisions)
    bands: list[Band] = []
    for i in range(n_points):
        reader.where = f"points: point {i}"
        fpr = reader.f64("yield loss")
        for column in columns:
            column.append(_read_point(reader, fpr))
        if len(limits):
            bands.append(_read_band(reader, columns[0][i].threshold))
    reader.where = "points"
    reader.end()
    _check_losses(reader, [point.fpr for point in columns[0]], default_fpr)
    points = {p: tuple(column) for p, column in zip(precisions, columns, strict=True)}
    return Points(default_fpr, points, tuple(bands), limits)


def _read_limits(reader: Reader, n_layers: int) -> NDArray[np.float32]:
    n_limits = reader.u32("number of scale limits")
    if n_limits not in (0, n_layers):
        expected = f"0 or {n_layers}" if n_layers else "0"
        raise reader.refusal("number of scale limits", Rule.POINTS, expected, n_limits)
    limits = reader.array("scale limits", "<f4", (n_limits,))
    if not (np.isfinite(limits) & (limits > 0)).all():
        raise reader.refusal("scale limits", Rule.POINTS, "finite numbers above 0", limits.tolist())
    return limits


def _read_point(reader: Reader, fpr: float) -> OperatingPoint:
    threshold = reader.f32("threshold")
    low, high = reader.f64("low end"), reader.f64("high end")
    n_dies, supported = reader.u32("dies"), reader.u32("supported")
    if supported > 1:
        raise reader.refusal("supported", Rule.CODES, "0 or 1", supported)
    return OperatingPoint(fpr, threshold, low, high, n_dies, bool(supported))


def _read_band(reader: Reader, threshold: float) -> Band:
    band = Band(reader.f32("low end of the band"), reader.f32("high end of the band"))
    if not band.lo <= threshold <= band.hi:
        found = f"{band.lo} to {band.hi}"
        raise reader.refusal("band", Rule.BANDS, f"one around the threshold {threshold}", found)
    return band


def _check_losses(reader: Reader, losses: list[float], default_fpr: float) -> None:
    if not all(0 < loss < 1 for loss in losses) or sorted(set(losses)) != losses:
        raise reader.refusal("yield losses", Rule.YIELD_LOSSES, "ascending within (0, 1)", losses)
    if default_fpr not in losses:
        raise reader.refusal(
            "default yield loss", Rule.YIELD_LOSSES, f"one of {losses}", default_fpr
        )
