"""What ``knowngood inspect`` says of a ``.kgd`` beyond what every model says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from knowngood._model_file import ModelFile
    from knowngood._sealed import SealedModel


def sealed_facts(model: ModelFile, sealed: SealedModel) -> dict[str, Any]:
    """JSON-ready facts; keys are added to those of every model."""
    from knowngood._kgd import list_contents

    listing = list_contents(model.data)
    return {
        "cpu_paths": _cpu_paths(),
        "sections": dict(listing.section_bytes),
        "programs": {precision: list(lines) for precision, lines in listing.operations.items()},
        "thresholds": {p: [asdict(point) for point in sealed.points[p]] for p in sealed.points},
        "bands": [asdict(band) for band in sealed.bands],
        "scale_limits": sealed.scale_limits.tolist(),
        "golden": {
            "n_dies": len(sealed.golden.values),
            "scores": _golden_scores(sealed),
            "reconstruction_sha256": golden_digests(sealed),
        },
    }


def _cpu_paths() -> list[str]:
    """What this machine can run the file on; nothing where the compiled engine is not installed."""
    from knowngood._errors import MissingExtraError
    from knowngood.engines import cpu_paths

    try:
        return list(cpu_paths())
    except MissingExtraError:  # whoever scores with it is told why
        return []


def _golden_scores(sealed: SealedModel) -> dict[str, list[str]]:
    bits = sealed.golden.score_bits
    return {precision: [f"0x{b:08X}" for b in bits[precision].tolist()] for precision in bits}


def golden_digests(sealed: SealedModel) -> dict[str, str]:
    """SHA-256 over the reconstructions of the golden dies in each precision, in hexadecimal."""
    digests = sealed.golden.reconstruction_digest
    return {precision: digests[precision].hex() for precision in digests}


def sealed_lines(facts: dict[str, Any]) -> Iterable[str]:
    """The same for people, less the thresholds that every model's lines have."""
    sizes = ", ".join(f"{name} {n:,}" for name, n in facts["sections"].items())
    yield f"  cpu paths   {', '.join(facts['cpu_paths']) or 'none without engine native'}"
    yield f"  sections    {sizes} bytes"
    yield f"  golden      {facts['golden']['n_dies']} dies"
    for precision, digest in facts["golden"]["reconstruction_sha256"].items():
        yield f"              {precision} reconstruction {digest}"
    shown = "int8" if facts["precision"] == "int8" else "fp32"  # verified has fp32's thresholds
    others = {p: points for p, points in facts["thresholds"].items() if p != shown}
    for precision, points in others.items():
        yield f"  thresholds  {precision}: " + ", ".join(
            f"{point['fpr']:.2%} {point['threshold']:.6g}" for point in points
        )
    if facts["bands"]:
        yield "  bands       int8 scores that are scored again in fp32: " + ", ".join(
            f"{band['lo']:.6g} to {band['hi']:.6g}" for band in facts["bands"]
        )
        limits = ", ".join(_describe_limit(limit) for limit in facts["scale_limits"])
        yield f"  limits      inputs of layers above which a die is scored again in fp32: {limits}"
    for precision, operations in facts["programs"].items():
        yield f"  program     {precision}"
        for operation in operations:
            yield f"                {operation}"


def _describe_limit(limit: float) -> str:
    """The largest float32 limits nothing."""
    return "none" if limit >= np.finfo(np.float32).max else f"{limit:.4g}"
