"""Our own forms of a network: the native one, as int8 and verified, and the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from knowngood import Scorer
from knowngood._golden import golden_dies, with_golden
from knowngood._kgd import encode
from knowngood._manifest import Manifest
from knowngood._model_file import parse_model
from knowngood._network import HeadKind, Network, QuantizedNetwork
from knowngood._opening import open_scorer
from knowngood._sealed import LAYER_PRECISIONS, Golden, Precision, SealedModel
from knowngood_export._conversions import Conversions
from knowngood_export._fit import Part, score_dies
from knowngood_export._forms import Form
from knowngood_export._trained import TrainedModel
from knowngood_quantize.bands import calibrate_bands
from knowngood_quantize.int8 import Int8Recipe
from knowngood_quantize.thresholds import fit_operating_points, refit_operating_points

from .._contestants import Float32
from ._contestants import Arithmetic, Contestant, OnnxFile, TfliteFile, by_reconstruction
from ._dies import Dies, Prepared

MAKER = "knowngood"
_FILES: tuple[tuple[Form, Arithmetic], ...] = (
    (Form("onnx", "fp32"), "fp32"),
    (Form("tflite", "fp32"), "fp32"),
    (Form("onnx", "int8"), "int8"),
    (Form("tflite", "int8"), "int8"),
    (Form("tflite", "int16x8"), "int16 activations"),
)


@dataclass(frozen=True, eq=False)
class Ours:
    """What is made of a prepared set.

    Attributes:
        files: bytes of each form that is a graph; its head is the first of the set's.
        natives: the sealed model with each head, without bands.
    """

    prepared: Prepared
    files: Mapping[Form, bytes]
    natives: Mapping[HeadKind, SealedModel]

    @classmethod
    def of(cls, prepared: Prepared, fprs: Sequence[float]) -> Ours:
        """Quantise as `export` does, and write every form."""
        trained, networks = prepared.trained, prepared.networks
        first = next(iter(networks.values()))
        conversions = Conversions(replace(trained, network=first), Int8Recipe())
        files = {
            form: form.write_graph(
                conversions.to(form.precision).network, _manifest(first, form.precision, trained)
            )
            for form, _ in _FILES
        }
        int8 = conversions.to("int8").network
        assert isinstance(int8, QuantizedNetwork)
        natives = {k: _sealed(trained, n, int8, fprs) for k, n in networks.items()}
        return cls(prepared, files, natives)

    def contestants(self) -> Iterator[Contestant]:
        """Native int8, then the files."""
        scorers = {kind: _open(model, "int8") for kind, model in self.natives.items()}
        n_bytes = len(encode(next(iter(self.natives.values()))))
        yield Contestant(MAKER, "native int8", "int8", "", n_bytes, lambda d: _all(scorers, d))
        heads = {kind: network.screen.head for kind, network in self.prepared.networks.items()}
        for form, arithmetic in _FILES:
            data = self.files[form]
            opened = OnnxFile(data) if form.format == "onnx" else TfliteFile(data)
            yield Contestant(
                MAKER, str(form), arithmetic, opened.engine, len(data),
                by_reconstruction(opened.reconstruct, heads), opened.score,
            )  # fmt: skip

    def exact(self, dies: Dies) -> dict[HeadKind, Float32]:
        """Native fp32 scores by head: what everybody's verdicts are compared with."""
        return _all({kind: _open(model, "fp32") for kind, model in self.natives.items()}, dies)

    def verified(self, kind: HeadKind) -> Scorer:
        """The native file with bands, calibrated on the dies that are theirs."""
        model, dies = self.natives[kind], self.prepared.trained.int8_dies.bands
        return _open(calibrate_bands(model, dies.values, dies.group).apply(model), "verified")


def _manifest(network: Network, precision: str, trained: TrainedModel) -> Manifest:
    return Manifest(
        network.screen, precision, network.detector, network.widths, network.latent_layer,
        trained.provenance, trained.evaluation,
    )  # fmt: skip


def _sealed(
    trained: TrainedModel, network: Network, int8: QuantizedNetwork, fprs: Sequence[float]
) -> SealedModel:
    """The native model, its fp32 thresholds those of its own fp32 scores."""
    dies = trained.calibration
    screen = replace(network.screen, operating_points=(), default_fpr=fprs[0])
    draft = SealedModel(
        screen=screen,
        detector=network.detector,
        fp32=network.layers,
        int8=int8.layers,
        points={},
        golden=Golden(*golden_dies(screen, dies.good, dies.good_group), {}, {}),
        latent_layer=network.latent_layer,
    )
    part = Part(dies.good, dies.good_group)
    points = fit_operating_points(score_dies(network, part), fprs)
    draft = with_golden(replace(draft, points={"fp32": points, "int8": points}))
    exact, own = (_open(draft, p).score(dies.good).scores for p in LAYER_PRECISIONS)
    points = fit_operating_points(exact, fprs)
    return replace(
        draft, points={"fp32": points, "int8": refit_operating_points(points, exact, own)}
    )


def _open(model: SealedModel, precision: Precision) -> Scorer:
    file = parse_model(encode(model), "model.kgd")
    return open_scorer(file, engine="native", precision=precision, extrapolate=True)


def _all(scorers: Mapping[HeadKind, Scorer], dies: Dies) -> dict[HeadKind, Float32]:
    return {kind: scorer.score(dies.values).scores for kind, scorer in scorers.items()}
