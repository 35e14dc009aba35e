"""What training leaves behind and every export starts from: ``model.pt``, in memory and as a file.

The file is a torch checkpoint of plain tensors and one JSON text: it is read with
``weights_only=True``, so that opening a model runs no code of its maker.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from knowngood._atomic import write_bytes
from knowngood._errors import ModelFileError
from knowngood._manifest import Evaluation, Manifest, Provenance
from knowngood._network import Activation, Dense, Network
from knowngood_quantize.injection import DEFECTS, InjectedSet
from knowngood_quantize.sampling import evenly_spaced

from ._fit import Part

_DAMAGE = (
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    EOFError,
    TypeError,
    ValueError,
)
"""What torch and zipfile raise on a file whose bytes were changed."""
FILE_VERSION = 2
MAX_INT8_DIES = 8192
"""Of a kind: enough for the extremes of each layer, and quickly done."""


@dataclass(frozen=True)
class CalibrationSet:
    """Held-out dies in raw units; thresholds are fitted and every form is certified on them.

    Attributes:
        good: float32 ``(n_good, n_tests)``, held-out good dies, NaN where a test is missing.
        good_group: int32 ``(n_good,)``.
        defective: float32 ``(n_defective, n_tests)``, held-out dies with injected defects.
        defective_group: int32 ``(n_defective,)``.
        defect: int32 ``(n_defective,)``, the class of each as an index into
            `knowngood_quantize.injection.DEFECTS`.
        good_lot: int32 ``(n_good,)``, which good dies are of one lot; all 0 where nothing is known.
    """

    good: NDArray[np.float32]
    good_group: NDArray[np.int32]
    defective: NDArray[np.float32]
    defective_group: NDArray[np.int32]
    defect: NDArray[np.int32]
    good_lot: NDArray[np.int32]

    @classmethod
    def of(cls, good: Part, injected: Sequence[tuple[InjectedSet, Part]]) -> CalibrationSet:
        """Good dies, and their like with defects, as `inject_defects` makes them."""
        none = good.select(np.zeros(len(good), dtype=np.bool_))
        parts = [none, *(dies for _, dies in injected)]
        codes = [np.full(len(dies), DEFECTS.index(s.name)) for s, dies in injected]
        return cls(
            good.values,
            good.group,
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.group for part in parts]),
            np.concatenate([np.empty(0), *codes]).astype(np.int32),
            np.zeros(len(good), dtype=np.int32) if good.lot is None else good.lot,
        )

    def by_defect(self) -> dict[str, Part]:
        """The defective dies of each class that there is."""
        dies = Part(self.defective, self.defective_group)
        found = {name: dies.select(self.defect == code) for code, name in enumerate(DEFECTS)}
        return {name: part for name, part in found.items() if len(part)}


@dataclass(frozen=True, eq=False)
class Int8Dies:
    """Good dies that the int8 forms are made with; no threshold and no certificate rests on them.

    Attributes:
        rounding: training dies, spread evenly: weights are rounded, and static ranges set, on them.
        bands: held-out dies, those of the score head: they say where verdicts need fp32.
    """

    rounding: Part
    bands: Part

    @classmethod
    def of(cls, train: Part, held_out: Part) -> Int8Dies:
        """At most ``MAX_INT8_DIES`` of each, spread evenly."""
        return cls(_spread(train), _spread(held_out))


def _spread(dies: Part) -> Part:
    return dies.select(evenly_spaced(len(dies), MAX_INT8_DIES))


@dataclass(frozen=True)
class TrainedModel:
    """A trained autoencoder with all that is needed to export and judge it.

    Attributes:
        network: fp32, with head and operating points fitted on ``calibration.good``.
        baselines: PAT, T² and PCA residual fitted on the same dies, with their own thresholds.
        calibration: dies for thresholds and certificates.
        int8_dies: dies for int8 weights, ranges and bands.
    """

    network: Network
    baselines: tuple[Network, ...]
    calibration: CalibrationSet
    int8_dies: Int8Dies
    provenance: Provenance
    evaluation: Evaluation


def save_model(path: str | Path, model: TrainedModel) -> None:
    """Write ``model.pt``; an older file stays as it was if anything fails.

    Raises:
        UsageError: the folder does not exist or cannot be written, or the disk is full.
    """
    write_bytes(path, model_bytes(model))


def model_bytes(model: TrainedModel) -> bytes:
    """What ``save_model`` writes."""
    tensors = {f"calibration/{name}": a for name, a in vars(model.calibration).items()}
    for use, dies in vars(model.int8_dies).items():
        tensors |= {f"int8/{use}/values": dies.values, f"int8/{use}/group": dies.group}
    networks = (model.network, *model.baselines)
    for index, network in enumerate(networks):
        tensors |= _layer_tensors(index, network)
    description = {
        "knowngood_trained_model": FILE_VERSION,
        "networks": [_describe(network, model) for network in networks],
    }
    text = json.dumps(description, allow_nan=False)
    checkpoint: dict[str, Any] = {name: torch.from_numpy(a) for name, a in tensors.items()}
    checkpoint |= {"description": text, "sha256": _digest(tensors, text)}
    stream = io.BytesIO()  # torch answers an error of the disk with one of its own
    torch.save(checkpoint, stream)
    return stream.getvalue()


def load_model(path: str | Path) -> TrainedModel:
    """Read what ``save_model`` wrote.

    Raises:
        ModelFileError: the file is missing, damaged, or not a model of knowngood's training.
    """
    checkpoint = _load_checkpoint(Path(path))
    try:
        return _read(checkpoint, str(path))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"{path} is damaged or was not written by knowngood train ({error!r}); train again"
        ) from error


def _layer_tensors(index: int, network: Network) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for number, layer in enumerate(network.layers):
        tensors[f"{index}/{number}/weight"] = np.ascontiguousarray(layer.weight)
        tensors[f"{index}/{number}/bias"] = np.ascontiguousarray(layer.bias)
    return tensors


def _describe(network: Network, model: TrainedModel) -> dict[str, Any]:
    manifest = Manifest(
        screen=network.screen,
        precision="fp32",
        detector=network.detector,
        widths=network.widths,
        latent_layer=network.latent_layer,
        provenance=model.provenance,
        evaluation=model.evaluation,
    )
    activations = [[la.activation.kind, la.activation.alpha] for la in network.layers]
    return {"manifest": manifest.to_json(), "activations": activations}


def _digest(tensors: dict[str, NDArray[Any]], description: str) -> str:
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _load_checkpoint(path: Path) -> dict[str, Any]:
    damaged = ModelFileError(
        f"{path} is no model.pt: it is damaged, or not a file of knowngood train. "
        "Copy it again, or train again."
    )
    try:
        with open(path, "rb") as stream:
            if not _is_whole_zip(stream):  # torch's older formats are bare pickles, and not ours
                raise damaged
            stream.seek(0)
            checkpoint = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
    except ModelFileError:
        raise
    except _DAMAGE as error:
        raise damaged from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("description"), str):
        raise ModelFileError(
            f"{path} is a torch file, but not a model of knowngood train; a torch autoencoder "
            "trained elsewhere is exported from Python with knowngood_export.export_model"
        )
    return checkpoint


def _is_whole_zip(stream: BinaryIO) -> bool:
    """Whether it is a zip archive whose members all fit their checksums."""
    try:
        with zipfile.ZipFile(stream) as archive:
            return archive.testzip() is None
    except _DAMAGE:
        return False


def _read(checkpoint: dict[str, Any], name: str) -> TrainedModel:
    text, sha256 = checkpoint.pop("description"), checkpoint.pop("sha256")
    description = json.loads(text)
    version = description["knowngood_trained_model"]
    if version != FILE_VERSION:
        raise ModelFileError(
            f"{name} has version {version}, this knowngood reads {FILE_VERSION}: "
            + ("train again" if version < FILE_VERSION else "update knowngood")
        )
    tensors = {key: tensor.numpy() for key, tensor in checkpoint.items()}
    if _digest(tensors, text) != sha256:
        raise ModelFileError(f"{name} is damaged: it does not fit its digest. Copy it again.")
    manifests = [Manifest.from_json(n["manifest"]) for n in description["networks"]]
    networks = [
        _read_network(index, manifest, described["activations"], tensors)
        for index, (manifest, described) in enumerate(
            zip(manifests, description["networks"], strict=True)
        )
    ]
    prefix = "calibration/"
    calibration = {k.removeprefix(prefix): a for k, a in tensors.items() if k.startswith(prefix)}
    calibration.setdefault("good_lot", np.zeros(len(calibration["good"]), dtype=np.int32))
    return TrainedModel(
        network=networks[0],
        baselines=tuple(networks[1:]),
        calibration=CalibrationSet(**calibration),
        int8_dies=Int8Dies(*(_part(tensors, f"int8/{use}") for use in ("rounding", "bands"))),
        provenance=manifests[0].provenance,
        evaluation=manifests[0].evaluation,
    )


def _part(tensors: dict[str, NDArray[Any]], name: str) -> Part:
    return Part(tensors[f"{name}/values"], tensors[f"{name}/group"])


def _read_network(
    index: int, manifest: Manifest, activations: list[Any], tensors: dict[str, NDArray[Any]]
) -> Network:
    layers = tuple(
        Dense(
            tensors[f"{index}/{number}/weight"],
            tensors[f"{index}/{number}/bias"],
            Activation(kind, alpha),
        )
        for number, (kind, alpha) in enumerate(activations)
    )
    return Network(manifest.screen, layers, manifest.latent_layer, manifest.detector)
