"""``knowngood unpack``: a sealed file laid out in a folder, for people to read."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from knowngood._atomic import write_together
from knowngood._errors import UsageError

from ._protocol import Command
from ._sealed_facts import golden_digests

if TYPE_CHECKING:
    from knowngood._kgd import Listing
    from knowngood._model_file import ModelFile
    from knowngood._sealed import SealedModel


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .kgd")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="a new or empty folder"
    )
    parser.add_argument("--json", action="store_true", help="print the names of the files as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def _run(args: argparse.Namespace) -> int:
    from knowngood._kgd import list_contents
    from knowngood._model_file import read_model

    folder = Path(args.output)
    _check_folder(folder)
    model = read_model(args.model)
    if model.sealed is None:
        raise UsageError(f"{model.path} is a .{model.kind}; unpack takes a .kgd")
    names = _write_folder(folder, dict(_files(model, model.sealed, list_contents(model.data))))
    if args.json:
        print(json.dumps({"output": str(folder), "files": names}))
    elif not args.quiet:
        print("\n".join(str(folder / name) for name in names))
    return 0


def _check_folder(folder: Path) -> None:
    if not folder.resolve().parent.is_dir():
        raise UsageError(f"cannot write {folder}: the folder {folder.parent} does not exist")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not an empty folder: name another")


def _write_folder(folder: Path, files: dict[str, bytes]) -> list[str]:
    """Fill a folder beside it and put that in its place: all the files, or none."""
    target = folder.resolve()
    with (
        _naming(folder),
        tempfile.TemporaryDirectory(
            prefix=f".{target.name}.", dir=target.parent, ignore_cleanup_errors=True
        ) as beside,
    ):
        staged = Path(beside) / target.name
        for name in files:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
        write_together({staged / name: data for name, data in files.items()})
        if target.exists():
            target.rmdir()
        os.replace(staged, target)
    return sorted(files)


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Say which folder an error of the operating system is about."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from error


def _files(model: ModelFile, sealed: SealedModel, listing: Listing) -> Iterator[tuple[str, bytes]]:
    """Names are the format's own: nothing that the file says becomes part of a path."""
    yield "schema.json", _json(sealed.screen.schema.to_json())
    yield "program.txt", "\n".join([*_program_lines(model, listing), ""]).encode()
    yield "points.json", _json(_points(sealed))
    yield "golden.csv", _golden_csv(sealed).encode()
    yield "golden.json", _json({"reconstruction_sha256": golden_digests(sealed)})
    yield "manifest.json", _json(_history(sealed))
    if sealed.certificate:
        yield "certificate.json", _json(json.loads(sealed.certificate))
    for i, (name, tensor) in enumerate(listing.tensors.items()):
        yield f"tensors/{i:03d}.{name}.npy", _npy(tensor)


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _npy(tensor: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, tensor, allow_pickle=False)
    return stream.getvalue()


def _program_lines(model: ModelFile, listing: Listing) -> Iterator[str]:
    yield f"model_id    {model.model_id}"
    yield f"file_digest {model.digest}"
    for precision, operations in listing.operations.items():
        yield f"\n{precision}"
        yield from (f"  {operation}" for operation in operations)


def _points(sealed: SealedModel) -> dict[str, Any]:
    return {
        "default_fpr": sealed.screen.default_fpr,
        "points": {p: [asdict(point) for point in sealed.points[p]] for p in sealed.points},
        "bands": [asdict(band) for band in sealed.bands],
        "scale_limits": sealed.scale_limits.tolist(),
    }


def _history(sealed: SealedModel) -> dict[str, Any]:
    return {
        "provenance": asdict(sealed.provenance),
        "evaluation": asdict(sealed.evaluation),
        "drift": [asdict(drift) for drift in sealed.drift],
    }


def _golden_csv(sealed: SealedModel) -> str:
    """Values as the shortest text that reads back the same float32; "test " begins no formula."""
    golden, stream = sealed.golden, io.StringIO()
    bits = {p: golden.score_bits[p] for p in sealed.layer_precisions}
    writer = csv.writer(stream)
    scores = [name for p in bits for name in (f"score_{p}", f"score_bits_{p}")]
    labels = [f"test {test.label}" for test in sealed.screen.schema.tests]
    writer.writerow(["die", "group", *scores, *labels])
    for die, values in enumerate(golden.values):
        of_die = [cell for found in bits.values() for cell in _score_cells(found[die])]
        writer.writerow([die, golden.group[die], *of_die, *(str(value) for value in values)])
    return stream.getvalue()


def _score_cells(bits: np.uint32) -> tuple[str, str]:
    return str(bits.view(np.float32)), f"0x{int(bits):08X}"


command = Command("unpack", "lay a .kgd out in a folder, for people to read", _configure, _run)
