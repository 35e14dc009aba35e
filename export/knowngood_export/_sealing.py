"""A trained model as a ``.kgd``: built, scored, given thresholds and bands, sealed, read back.

Scores are the exact ones of docs/arithmetic.md, from a provisional file in the engine that testers
run; thresholds are fitted on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._golden import golden_dies, require_golden, with_golden
from knowngood._kgd import encode, list_contents
from knowngood._model_file import parse_model
from knowngood._network import Network, OperatingPoint, QuantizedDense, QuantizedNetwork
from knowngood._sealed import LAYER_PRECISIONS, Golden, LayerPrecision, SealedModel
from knowngood.engines._reference import ReferenceEngine
from knowngood_quantize.bands import BandEvidence, calibrate_bands

from ._judge_forms import Judged
from ._trained import TrainedModel

MUCH_RESCORED = 0.25
"""Share of good dies from which a file's user is told."""
_NO_LIMITS = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ExactModel:
    """A model with thresholds, and with bands where it has both precisions and dies for them.

    Attributes:
        evidence: what the bands rest on; None without bands.
        notes: why there are none, if they were wanted.
    """

    model: SealedModel
    evidence: BandEvidence | None = None
    notes: tuple[str, ...] = ()

    def only(self, precisions: Sequence[str]) -> SealedModel:
        """The model as a file of these precisions holds it, with its golden dies."""
        model = self.model
        kept = [p for p in model.layer_precisions if p in precisions]
        if kept != list(model.layer_precisions):
            kept_drift = zip(model.layer_precisions, model.drift, strict=True)
            model = replace(
                model,
                fp32=model.fp32 if "fp32" in kept else None,
                int8=model.int8 if "int8" in kept else None,
                points={p: model.points[p] for p in kept},
                bands=(),
                scale_limits=_NO_LIMITS,
                drift=tuple(drift for precision, drift in kept_drift if precision in kept),
            )
        return with_golden(model)


def unsealed(
    trained: TrainedModel, fp32: Network, int8: Network | QuantizedNetwork | None, fpr: float
) -> SealedModel:
    """The model as it is to be scored; thresholds and golden bits are still empty.

    Raises:
        UsageError: int8 layers with static ranges, which the format does not have.
    """
    dies = trained.calibration
    screen = replace(trained.network.screen, operating_points=(), default_fpr=fpr)
    values, group = golden_dies(screen, dies.good, dies.good_group)
    return SealedModel(
        screen=screen,
        detector=trained.network.detector,
        fp32=fp32.layers,
        int8=_per_die(int8) if isinstance(int8, QuantizedNetwork) else None,
        points={},
        golden=Golden(values, group, {}, {}),
        latent_layer=trained.network.latent_layer,
        provenance=trained.provenance,
        evaluation=trained.evaluation,
    )


def _per_die(network: QuantizedNetwork) -> tuple[QuantizedDense, ...]:
    if any(layer.static_input is not None for layer in network.layers):
        raise UsageError(
            "static int8 activations are written to ONNX only: leave the .kgd out, or choose the "
            "recipe's per_die activations"
        )
    return network.layers


def provisional(model: SealedModel, fprs: Sequence[float]) -> bytes:
    """A file that scores are taken from, to fit the thresholds on that it does not have yet."""
    points = tuple(OperatingPoint(fpr, 0.0, 0.0, 0.0, 0, False) for fpr in fprs)
    return encode(with_golden(replace(model, points=dict.fromkeys(model.layer_precisions, points))))


def with_thresholds(model: SealedModel, judged: Mapping[LayerPrecision, Judged]) -> SealedModel:
    """The model with the thresholds and drift of each of its precisions."""
    ordered = [p for p in LAYER_PRECISIONS if p in judged]
    points = {precision: judged[precision].points for precision in ordered}
    return replace(model, points=points, drift=tuple(judged[p].drift for p in ordered))


def with_bands(model: SealedModel, trained: TrainedModel) -> ExactModel:
    """The model offering "verified", if the dies kept for bands are enough."""
    if not (model.fp32 and model.int8):
        return ExactModel(model)
    dies = trained.int8_dies.bands
    try:
        bands = calibrate_bands(model, dies.values, dies.group)
    except NotEnoughDataError as error:
        return ExactModel(model, notes=(f"the .kgd offers no verified verdicts: {error}",))
    return ExactModel(bands.apply(model), bands.evidence, _notes(bands.evidence, model))


def _notes(evidence: BandEvidence, model: SealedModel) -> tuple[str, ...]:
    fpr = model.screen.default_fpr
    rescored = next(p.expected_rescoring for p in evidence.points if p.fpr == fpr)
    if rescored <= MUCH_RESCORED:
        return ()
    return (
        f"verified is to score {rescored:.0%} of good dies again in fp32 at a yield loss of "
        f"{fpr:.2%}: int8 saves little time on this model, and fp32 gives the same verdicts",
    )


def check_sealed(data: bytes, file_name: str) -> None:
    """Read a file back and let it compute its golden scores.

    Raises:
        ModelFileError: it breaks a rule of the format, or a score differs by a bit.
    """
    model = parse_model(data, file_name)
    require_golden(model, ReferenceEngine.open(model))


def n_bytes_graph(data: bytes) -> int:
    """What program and tensors take of a file, without the section table and padding."""
    n_bytes = list_contents(data).section_bytes
    return n_bytes["program"] + n_bytes["tensors"]
