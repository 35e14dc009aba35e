"""What a ``.kgd`` file holds, in memory: one screen, its layers in one or both precisions.

`docs/format.md` says how it is encoded (`_kgd`), `docs/arithmetic.md` what its scores are
(`engines._reference`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._errors import OperatingPointError, UsageError
from ._manifest import Drift, Evaluation, Manifest, Provenance
from ._network import Dense, OperatingPoint, QuantizedDense, Screen

LayerPrecision = Literal["fp32", "int8"]
Precision = Literal["fp32", "int8", "verified"]
LAYER_PRECISIONS: tuple[LayerPrecision, ...] = ("fp32", "int8")
_Name = TypeVar("_Name", bound=str)
MAX_WIDTH = 66_000
"""Inputs of a layer: up to here no int32 accumulator can overflow, 255 · 127 · 66,000 < 2³¹ − 1."""


def as_one_of(name: str, precisions: Sequence[_Name], owner: str = "the model") -> _Name:
    """``name`` as the one of ``precisions`` that it is; ``owner`` has them, for the message.

    Raises:
        UsageError: it is none of them.
    """
    for precision in precisions:
        if precision == name:
            return precision
    raise UsageError(
        f"{owner} offers no precision {name!r}: it has {', '.join(precisions)} "
        "(precision=, --precision)"
    )


@dataclass(frozen=True)
class Band:
    """int8 scores from ``lo`` to ``hi``, both float32, are scored again in fp32."""

    lo: float
    hi: float


@dataclass(frozen=True, eq=False)
class Golden:
    """Raw dies with the bits that every exact engine gives them.

    Attributes:
        values: float32 ``(n_dies, n_tests)``, raw units, NaN where a test is missing.
        group: int32 ``(n_dies,)``.
        score_bits: uint32 ``(n_dies,)`` for each precision in the file.
        reconstruction_digest: for each precision in the file, SHA-256 over the reconstructions of
            all dies; 32 bytes, see `knowngood._golden.reconstruction_digest`.
    """

    values: NDArray[np.float32]
    group: NDArray[np.int32]
    score_bits: Mapping[LayerPrecision, NDArray[np.uint32]]
    reconstruction_digest: Mapping[LayerPrecision, bytes]


@dataclass(frozen=True, eq=False)
class SealedModel:
    """A detector as a ``.kgd`` holds it.

    Attributes:
        screen: schema, scaler, head and default yield loss; its operating points are empty, since
            each precision has its own.
        detector: "autoencoder", "pat", "t2" or "pca".
        fp32: layers in float32, empty for a model without layers; None if the file has none.
        int8: layers in int8, None if the file has none.
        points: operating points of each precision in the file, by ascending yield loss.
        golden: see there.
        latent_layer: index of the layer whose output is the latent code, or None.
        bands: one for each operating point in a file that offers "verified", else empty.
        scale_limits: float32 ``(n_layers,)``, the largest input magnitude of each layer for which
            the bands hold; empty without bands.
        provenance, evaluation, drift: for people.
        certificate: JSON text, empty if there is none.
    """

    screen: Screen
    detector: str
    fp32: tuple[Dense, ...] | None
    int8: tuple[QuantizedDense, ...] | None
    points: Mapping[LayerPrecision, tuple[OperatingPoint, ...]]
    golden: Golden
    latent_layer: int | None = None
    bands: tuple[Band, ...] = ()
    scale_limits: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    provenance: Provenance = field(default_factory=Provenance)
    evaluation: Evaluation = field(default_factory=Evaluation)
    drift: tuple[Drift, ...] = ()
    certificate: str = ""

    @property
    def layer_precisions(self) -> tuple[LayerPrecision, ...]:
        """Precisions whose layers the file holds, "fp32" before "int8"."""
        return tuple(p for p in LAYER_PRECISIONS if self.layers(p) is not None)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What it can be scored in, the default first: verified, else int8, else fp32."""
        offered: list[Precision] = ["verified"] if self.bands else []
        offered += [p for p in ("int8", "fp32") if p in self.layer_precisions]
        return tuple(offered)

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of the input and of each layer's output."""
        layers = self.layers(self.layer_precisions[0]) or ()
        return (self.screen.schema.n_tests, *(len(layer.bias) for layer in layers))

    def layers(
        self, precision: LayerPrecision
    ) -> tuple[Dense, ...] | tuple[QuantizedDense, ...] | None:
        """The layers of a precision, None if the file has none."""
        return self.fp32 if precision == "fp32" else self.int8

    def band(self, fpr: float) -> Band:
        """The band of the operating point at exactly ``fpr``.

        Raises:
            OperatingPointError: there is no such point, or the file has no bands.
        """
        for point, band in zip(self.points["fp32"], self.bands, strict=False):
            if point.fpr == fpr:
                return band
        raise OperatingPointError(f"the file has no band at a yield loss of {fpr:.4%}")

    def manifest(self, precision: str) -> Manifest:
        """What the file says of itself in a precision: verified verdicts are those of fp32.

        Raises:
            UsageError: the file does not offer it.
        """
        precision = as_one_of(precision, self.precisions)
        points = self.points["int8" if precision == "int8" else "fp32"]
        return Manifest(
            screen=replace(self.screen, operating_points=points),
            precision=precision,
            detector=self.detector,
            widths=self.widths,
            latent_layer=self.latent_layer,
            provenance=self.provenance,
            evaluation=self.evaluation,
            drift=self.drift,
            certificate=self.certificate,
        )
