"""A trained model as a ``.kgd``: built, scored, sealed, read back.

Scores are the exact ones of docs/arithmetic.md, from a provisional file in the engine that testers
run; thresholds are fitted on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from knowngood._errors import UsageError
from knowngood._golden import golden_dies, require_golden, with_golden
from knowngood._kgd import encode, list_contents
from knowngood._model_file import parse_model
from knowngood._network import Network, OperatingPoint, QuantizedDense, QuantizedNetwork
from knowngood._sealed import Golden, LayerPrecision, SealedModel
from knowngood.engines._reference import ReferenceEngine

from ._judge_forms import Judged
from ._trained import TrainedModel


def unsealed(
    trained: TrainedModel, networks: Iterable[Network | QuantizedNetwork], fpr: float
) -> SealedModel:
    """The model to be scored; thresholds and golden bits are still empty.

    Raises:
        UsageError: int8 layers with static ranges, which the format does not have.
    """
    networks = tuple(networks)
    dies = trained.calibration
    screen = replace(trained.network.screen, operating_points=(), default_fpr=fpr)
    values, group = golden_dies(screen, dies.good, dies.good_group)
    return SealedModel(
        screen=screen,
        detector=trained.network.detector,
        fp32=next((n.layers for n in networks if isinstance(n, Network)), None),
        int8=next((_per_die(n) for n in networks if isinstance(n, QuantizedNetwork)), None),
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


def seal(model: SealedModel, judged: Mapping[LayerPrecision, Judged]) -> SealedModel:
    """The model with the thresholds and drift of each precision, and with golden bits."""
    points = {precision: j.points for precision, j in judged.items()}
    drift = tuple(j.drift for j in judged.values())
    return with_golden(replace(model, points=points, drift=drift))


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
