"""The manifest: everything a model file says of itself, as JSON in the file's own metadata.

It carries the screen in full (schema, scaler, head, operating points), so that a verdict can be
explained wherever the graph can be run, and where the model comes from.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ._errors import ModelFileError
from ._network import Head, HeadKind, LowRank, OperatingPoint, Scaler, Screen
from ._schema import Schema

MANIFEST_VERSION = 1


@dataclass(frozen=True)
class Source:
    """A data file that a model was trained on or verdicts were given for."""

    name: str
    sha256: str
    n_dies: int


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    Attributes:
        created: UTC, ISO 8601.
        versions: of knowngood, torch, NumPy … by name.
        dropped: dies left out of training, by reason.
        hold_out: in words, how the held-out dies were chosen and what that can show.
        learning_curve: (epoch, training loss, held-out loss), masked mean square of u − y.
        notes: what the user was told: dropped constant tests, small held-out sets …
    """

    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    sources: tuple[Source, ...] = ()
    n_train: int = 0
    n_held_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    hold_out: str = ""
    learning_curve: tuple[tuple[int, float, float], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DetectionCurve:
    """Detection of one class of injected defects by one detector, at equal yield loss."""

    detector: str
    defect: str
    n_defective: int
    detection: tuple[float, ...]


@dataclass(frozen=True)
class HeadTrial:
    """A score head, or a classical screen, in the comparison of heads.

    Attributes:
        kind: of the head, or the name of the screen.
        k: of topk, else 0.
        detection: share found of each class of injected defects.
        missing_loss: share rejected of good dies with missing tests of others; 0 if none known.
        merit: what the choice went by, see ``knowngood_quantize.head_choice``; 0 for a screen.
    """

    kind: str
    k: int = 0
    detection: dict[str, float] = field(default_factory=dict)
    missing_loss: float = 0.0
    merit: float = 0.0


@dataclass(frozen=True)
class HeadChoice:
    """How the score head came to be.

    Attributes:
        asked: the kind asked for, or "auto"; empty where it is not known.
        kind, k: the head.
        n_axes: shared directions that mahalanobis takes off.
        n_held_out: held-out good dies that it was fitted on.
        n_training: training dies, of which a sample told of tails and shared directions.
        fpr_asked, fpr: yield loss asked for, and the one that heads were compared at; 0 where they
            were not.
        n_defective: dies with an injected defect, by class.
        trials: the heads compared.
        classical: the classical screens on the same dies.
        too_few: the held-out dies were too few to choose by, so the first candidate was taken.
    """

    asked: str = ""
    kind: str = ""
    k: int = 0
    n_axes: int = 0
    n_held_out: int = 0
    n_training: int = 0
    fpr_asked: float = 0.0
    fpr: float = 0.0
    n_defective: dict[str, int] = field(default_factory=dict)
    trials: tuple[HeadTrial, ...] = ()
    classical: tuple[HeadTrial, ...] = ()
    too_few: bool = False


@dataclass(frozen=True)
class Evaluation:
    """The yardstick: defects injected into held-out passing dies, detectors side by side.

    Attributes:
        how: in words, what was held out.
        n_good: held-out good dies.
        yield_loss: grid of yield losses; ``DetectionCurve.detection`` has one value for each.
        facts: other figures by name: fail-die AUC, limit check AUC, missing-count AUC, coverage.
        head_choice: how the autoencoder's head came to be.
    """

    how: str = ""
    n_good: int = 0
    yield_loss: tuple[float, ...] = ()
    curves: tuple[DetectionCurve, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)
    head_choice: HeadChoice = HeadChoice()


@dataclass(frozen=True)
class Drift:
    """An exported form against torch fp32, on the same dies, at the default operating point.

    Attributes:
        form: "onnx fp32", "tflite int8" …, with the engine that ran it.
        error_median, error_worst: |score − reference| / reference over good dies.
        flips_good, flips_defective: verdicts that differ, each form at its own threshold.
        flips_good_unchanged, flips_defective_unchanged: the same at fp32's threshold.
    """

    form: str
    n_good: int
    n_defective: int
    error_median: float
    error_worst: float
    flips_good: int
    flips_defective: int
    flips_good_unchanged: int
    flips_defective_unchanged: int


@dataclass(frozen=True)
class Manifest:
    """What a model file says of itself.

    Attributes:
        precision: as in the names of the files written.
        certificate: JSON text, what this form changed of fp32's verdicts; empty if there is none.
    """

    screen: Screen
    precision: str
    detector: str
    widths: tuple[int, ...]
    latent_layer: int | None = None
    provenance: Provenance = Provenance()
    evaluation: Evaluation = Evaluation()
    drift: tuple[Drift, ...] = ()
    certificate: str = ""

    def __repr__(self) -> str:
        layers = " → ".join(map(str, self.widths))
        return (
            f"<Manifest {self.detector} {self.precision}, {self.screen.schema.n_tests} tests, "
            f"layers {layers}>"
        )

    def to_json(self) -> str:
        """Compact JSON text with sorted keys; arrays as base64 of little-endian bytes."""
        data = {
            "knowngood_manifest": MANIFEST_VERSION,
            "schema": self.screen.schema.to_json(),
            "schema_digest": self.screen.schema.digest,
            "scaler": pack_record(self.screen.scaler),
            "head": pack_record(self.screen.head),
            "operating_points": [pack_record(p) for p in self.screen.operating_points],
            "default_fpr": self.screen.default_fpr,
            "precision": self.precision,
            "detector": self.detector,
            "widths": list(self.widths),
            "latent_layer": self.latent_layer,
            "provenance": pack_record(self.provenance),
            "evaluation": pack_record(self.evaluation),
            "drift": [pack_record(d) for d in self.drift],
        }
        if self.certificate:
            data["certificate"] = json.loads(self.certificate)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read what ``to_json`` wrote.

        Raises:
            ModelFileError: not a manifest, another version, or a field that cannot be read.
        """
        try:
            data = json.loads(text)
            version = data["knowngood_manifest"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFileError("the model's manifest is not a knowngood manifest") from error
        if version != MANIFEST_VERSION:
            raise ModelFileError(
                f"the model's manifest has version {version}, this knowngood reads "
                f"{MANIFEST_VERSION}: export the model again, or update knowngood"
            )
        try:
            return _read(data)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ModelFileError(f"the model's manifest is damaged: {error!r}") from error


def pack_array(array: NDArray[Any]) -> dict[str, Any]:
    """An array as JSON: dtype, shape and base64 of its little-endian bytes."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    text = base64.b64encode(little.tobytes()).decode()
    return {"dtype": little.dtype.str, "shape": list(array.shape), "base64": text}


def unpack_array(data: dict[str, Any]) -> NDArray[Any]:
    """The array written by ``pack_array``, in native byte order."""
    raw = base64.b64decode(data["base64"], validate=True)
    stored = np.frombuffer(raw, dtype=np.dtype(data["dtype"])).reshape(data["shape"])
    return stored.astype(stored.dtype.newbyteorder("="))


def pack_record(record: Any) -> dict[str, Any]:
    """A dataclass as JSON, field by field, arrays by ``pack_array``."""
    return {f.name: _pack_value(getattr(record, f.name)) for f in dataclasses.fields(record)}


def _pack_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return pack_array(value)
    if dataclasses.is_dataclass(value):
        return pack_record(value)
    if isinstance(value, (list, tuple)):
        return [_pack_value(v) for v in value]
    return value


def _read(data: dict[str, Any]) -> Manifest:
    schema = Schema.from_json(data["schema"])
    if data["schema_digest"] != schema.digest:
        raise ValueError("the schema does not fit its digest")
    screen = Screen(
        schema=schema,
        scaler=Scaler(**{k: unpack_array(v) for k, v in data["scaler"].items()}),
        head=_read_head(data["head"]),
        operating_points=tuple(OperatingPoint(**p) for p in data["operating_points"]),
        default_fpr=data["default_fpr"],
    )
    _check_screen(screen)
    provenance, evaluation, drift = read_history(data)
    return Manifest(
        screen=screen,
        precision=data["precision"],
        detector=data["detector"],
        widths=tuple(data["widths"]),
        latent_layer=data["latent_layer"],
        provenance=provenance,
        evaluation=evaluation,
        drift=drift,
        certificate=_read_certificate(data),
    )


def _read_certificate(data: dict[str, Any]) -> str:
    if "certificate" not in data:
        return ""
    if not isinstance(data["certificate"], dict):
        raise ValueError(f"the certificate is {type(data['certificate']).__name__}, no object")
    return json.dumps(data["certificate"], sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_history(data: dict[str, Any]) -> tuple[Provenance, Evaluation, tuple[Drift, ...]]:
    """What ``pack_record`` made of a provenance, an evaluation and drifts, each under its name."""
    return (
        _read_provenance(data["provenance"]),
        _read_evaluation(data["evaluation"]),
        tuple(Drift(**d) for d in data["drift"]),
    )


def _check_screen(screen: Screen) -> None:
    n_tests, n_groups = screen.schema.n_tests, len(screen.scaler.groups)
    shapes: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "scaler.centre": (screen.scaler.centre, (n_groups, n_tests)),
        "scaler.inv_scale": (screen.scaler.inv_scale, (n_groups, n_tests)),
        "head.residual_weight": (screen.head.residual_weight, (n_tests,)),
        "head.expected_square": (screen.head.expected_square, (n_tests,)),
        "head.present_gain": (screen.head.present_gain, (n_tests + 1,)),
        "head.present_offset": (screen.head.present_offset, (n_tests + 1,)),
    }
    shapes |= _low_rank_shapes(screen.head, n_tests)
    for name, (array, shape) in shapes.items():
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite {shape}, found {array.shape}")
    if screen.head.present_offset.min() < 0 or screen.head.present_offset[-1] != 0:
        raise ValueError("head.present_offset: expected 0 or more, and 0 for a complete die")


def _low_rank_shapes(head: Head, n_tests: int) -> dict[str, tuple[NDArray[Any], tuple[int, ...]]]:
    if (head.low_rank is None) == (head.kind == "mahalanobis"):
        raise ValueError(f"head.low_rank: expected for mahalanobis alone, found with {head.kind}")
    if head.low_rank is None:
        return {}
    rank = max(1, len(head.low_rank.project))
    return {
        "head.low_rank.project": (head.low_rank.project, (rank, n_tests)),
        "head.low_rank.subtract": (head.low_rank.subtract, (n_tests, rank)),
    }


def _read_head(data: dict[str, Any]) -> Head:
    return Head(
        kind=_one_of(data["kind"], get_args(HeadKind)),
        residual_weight=unpack_array(data["residual_weight"]),
        expected_square=unpack_array(data["expected_square"]),
        present_gain=unpack_array(data["present_gain"]),
        present_offset=unpack_array(data["present_offset"]),
        min_present=int(data["min_present"]),
        k=int(data["k"]),
        low_rank=_read_low_rank(data.get("low_rank")),
    )


def _read_low_rank(data: dict[str, Any] | None) -> LowRank | None:
    """None for the other heads, and in manifests older than this one."""
    if data is None:
        return None
    return LowRank(unpack_array(data["project"]), unpack_array(data["subtract"]))


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {allowed}")
    return value


def _read_provenance(data: dict[str, Any]) -> Provenance:
    curve = tuple((int(e), float(t), float(h)) for e, t, h in data["learning_curve"])
    sources = tuple(Source(**s) for s in data["sources"])
    notes = tuple(data["notes"])
    return Provenance(**{**data, "learning_curve": curve, "sources": sources, "notes": notes})


def _read_evaluation(data: dict[str, Any]) -> Evaluation:
    curves = tuple(
        DetectionCurve(**{**c, "detection": tuple(c["detection"])}) for c in data["curves"]
    )
    choice = _read_head_choice(data.get("head_choice", {}))
    yield_loss = tuple(data["yield_loss"])
    return Evaluation(**{**data, "curves": curves, "yield_loss": yield_loss, "head_choice": choice})


def _read_head_choice(data: dict[str, Any]) -> HeadChoice:
    """An empty one in manifests older than this."""
    trials = {
        name: tuple(HeadTrial(**t) for t in data.get(name, ())) for name in ("trials", "classical")
    }
    return HeadChoice(**{**data, **trials})
