"""What a certificate on lots of the user's is refused for, or is to be doubted for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from knowngood._errors import InputError, NotEnoughDataError, UsageError
from knowngood._manifest import Manifest, Source

from ._record import Certificate, ReferencePoint
from ._words import share

if TYPE_CHECKING:
    from knowngood._model_file import ModelFile

MIN_GOOD_DIES = 20
"""As many as bands need; of fewer, hardly any number of flips would be more than chance."""
TIMES_NOMINAL = 5.0
"""Lots differ by a few times in yield loss; dies of another product by hundreds."""
_BLOCK = 1 << 20


def require_same_model(reference: ModelFile, model: ModelFile) -> None:
    """Refuse to compare a form with the fp32 of another trained model.

    Raises:
        UsageError: scaler, head, tests or layers' widths are not the same, naming them.
    """
    differing = list(_differing(reference.manifest, model.manifest))
    if differing:
        raise UsageError(
            f"{model.path} is not a form of the model in {reference.path}: "
            f"{', '.join(differing)} differ. Name the file that was exported with it "
            "(--reference model.kgd)"
        )


def _differing(one: Manifest, other: Manifest) -> Iterator[str]:
    a, b = one.screen, other.screen
    if a.schema.digest != b.schema.digest:
        yield f"tests (schemas {a.schema.digest[:12]} and {b.schema.digest[:12]})"
    if one.widths != other.widths:
        yield f"widths ({_joined(one.widths)} and {_joined(other.widths)})"
    scaler = ("groups", "centre", "inv_scale")
    if not all(np.array_equal(getattr(a.scaler, n), getattr(b.scaler, n)) for n in scaler):
        yield "scalers"
    if (a.head.kind, a.head.k) != (b.head.kind, b.head.k):
        yield f"heads ({a.head.kind} and {b.head.kind}, k {a.head.k} and {b.head.k})"
    elif not np.array_equal(a.head.residual_weight, b.head.residual_weight):
        yield "weights of the head"


def _joined(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))


def require_enough_dies(certificate: Certificate) -> None:
    """Refuse to certify on a handful of dies, which no gate could fail.

    Raises:
        NotEnoughDataError: the reference scores fewer than ``MIN_GOOD_DIES`` good dies.
    """
    good = sum(d.n for d in certificate.dies if d.kind == "good")
    n = good - certificate.reference.unscored_good
    if n < MIN_GOOD_DIES:
        raise NotEnoughDataError(
            f"{n} good dies with a score are too few to certify on: at least {MIN_GOOD_DIES} are "
            "needed, thousands are worth having. Name more lots (--good INPUT...)"
        )


def doubts(certificate: Certificate, sources: Sequence[Source], paths: Iterable[str]) -> list[str]:
    """Notes on dies that the model does not call good, and on files that it was trained on.

    Args:
        certificate: measured on these dies.
        sources: what the model was trained on.
        paths: the files of the dies.

    Raises:
        InputError: a file cannot be read.
    """
    known = {s.sha256 for s in sources}
    beyond = [p for p in certificate.reference.points if _is_beyond(p, certificate)]
    found = [_of_good_dies(beyond[0])] if beyond else []
    for path in paths:
        digest = _digest(path) if known else ""
        if digest in known:
            found.append(
                f"{Path(path).name} was used to train the model: on dies that it has seen, scores "
                "and flips say less than on others"
            )
    return found


def _is_beyond(point: ReferencePoint, certificate: Certificate) -> bool:
    gates = certificate.gates
    is_gated = point.supported and gates.fpr_low <= point.fpr <= gates.fpr_high
    return is_gated and point.rejected.low > TIMES_NOMINAL * point.fpr


def _of_good_dies(point: ReferencePoint) -> str:
    return (
        f"these dies are not what the model calls good: at a yield loss of {share(point.fpr)} it "
        f"rejects {share(point.rejected.share)} of them. The process has moved, or they are of "
        "another product or program"
    )


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()
