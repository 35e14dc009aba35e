"""``knowngood unpack``: a sealed file laid out in a folder, for people to read."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from knowngood._atomic import write_folder, write_together
from knowngood._errors import UsageError

from ._protocol import Command
from ._sealed_facts import golden_digests

if TYPE_CHECKING:
    from knowngood._kgd import Listing
    from knowngood._model_file import ModelFile
    from knowngood._sealed import SealedModel

_TENSORS = "tensors"
"""The folder within the folder."""


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
    files = dict(_files(model, model.sealed, list_contents(model.data)))
    _write(folder, files)
    names = sorted(files)
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


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """All the files, or none. A folder that is there stays itself: someone may stand in it."""
    if not folder.exists():
        write_folder(folder, files)
        return
    with _new_folder(folder / _TENSORS):
        write_together({folder / name: data for name, data in files.items()})


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """A folder that goes again if what is to fill it fails."""
    try:
        folder.mkdir()
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty where only some of the files could be put in place
            folder.rmdir()
        raise


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
        yield f"{_TENSORS}/{i:03d}.{name}.npy", _npy(tensor)


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
    """Values as the shortest text that reads back the same float32, empty where missing.

    "test " before a label begins no formula.
    """
    golden, stream = sealed.golden, io.StringIO()
    bits = {p: golden.score_bits[p] for p in sealed.layer_precisions}
    writer = csv.writer(stream)
    scores = [name for p in bits for name in (f"score_{p}", f"score_bits_{p}")]
    labels = [f"test {test.label}" for test in sealed.screen.schema.tests]
    writer.writerow(["die", "group", *scores, *labels])
    for die, values in enumerate(golden.values):
        of_die = [cell for found in bits.values() for cell in _score_cells(found[die])]
        results = ("" if np.isnan(value) else str(value) for value in values)
        writer.writerow([die, golden.group[die], *of_die, *results])
    return stream.getvalue()


def _score_cells(bits: np.uint32) -> tuple[str, str]:
    return str(bits.view(np.float32)), f"0x{int(bits):08X}"


command = Command("unpack", "lay a .kgd out in a folder, for people to read", _configure, _run)
