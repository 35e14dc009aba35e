"""Model files that are damaged, foreign, or no models: refused by every verb that takes one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from workplace import MODEL_NAMES, Desk, Workplace

from knowngood._errors import ModelFileError
from knowngood._seal import UNSEALED, seal
from knowngood_export._trained import load_model

Write = Callable[[Path, Workplace], object]


@dataclass(frozen=True)
class BadModel:
    """A file ``name`` that ``write`` makes; the refusal names it and says ``says``."""

    name: str
    write: Write
    says: tuple[str, ...]


def holding(data: bytes) -> Write:
    return lambda path, place: path.write_bytes(data)


def copied(source: Callable[[Workplace], Path]) -> Write:
    return lambda path, place: shutil.copy(source(place), path)


def changed(name: str, change: Callable[[bytearray], object]) -> Write:
    """An exported file with some of its bytes changed."""

    def write(path: Path, place: Workplace) -> None:
        data = bytearray(place.model.with_name(name).read_bytes())
        change(data)
        path.write_bytes(data)

    return write


def cut_at(share: float) -> Callable[[bytearray], object]:
    def cut(data: bytearray) -> None:
        del data[int(len(data) * share) :]

    return cut


def flip(place: float) -> Callable[[bytearray], object]:
    def flip_bit(data: bytearray) -> None:
        data[int(len(data) * place)] ^= 0x10

    return flip_bit


def foreign_onnx(path: Path, place: Workplace) -> None:
    """The same graph without what knowngood wrote beside it."""
    model = onnx.load(place.model)
    del model.metadata_props[:]
    onnx.save(model, path)


DAMAGE = {
    **{f"cut at {share:.0%}": cut_at(share) for share in (0.001, 0.01, 0.3, 0.6, 0.9, 0.999)},
    **{f"bit flipped at {place:.0%}": flip(place) for place in (0, 0.05, 0.3, 0.6, 0.95, 0.9999)},
    "bytes appended": lambda data: data.extend(b"more"),
    "a part zeroed": lambda data: data.__setitem__(slice(4096, 4608), bytes(512)),
}
NO_MODELS = (
    BadModel("empty.onnx", holding(b""), ("empty",)),
    BadModel("empty.tflite", holding(b""), ("empty",)),
    BadModel("folder.onnx", lambda path, place: path.mkdir(), ("Is a directory",)),
    BadModel("absent.onnx", lambda path, place: None, ("No such file",)),
    BadModel("native.kgd", holding(b"KGD1" + bytes(64)), ("magic", "rule 1 ")),
    BadModel("text.kgd", holding(b"\x89KGD\n\x1a\n" + bytes(400)), ("line ends", "rule 1 ")),
    BadModel("short.kgd", holding(b"\x89KGD\r\n\x1a\n\x01\0\0\0"), ("truncated", "rule 2 ")),
    BadModel("noise.onnx", holding(np.random.default_rng(3).bytes(5000)), ("knowngood export",)),
    BadModel("noise.tflite", holding(b"1234TFL3" + bytes(5000)), ("knowngood export",)),
    BadModel("page.onnx", holding(b"<!DOCTYPE html><html>"), ("HTML",)),
    BadModel("pointer.onnx", holding(b"version https://git-lfs.github.com/spec/v1"), ("Git LFS",)),
    BadModel("packed.onnx", holding(b"\x1f\x8b" + bytes(50)), ("gzip",)),
    BadModel("trained.onnx", copied(lambda place: place.trained), ("knowngood export",)),
    BadModel("lot.onnx", copied(lambda place: place.new_lot), ("STDF lot",)),
    BadModel("misnamed.tflite", copied(lambda place: place.model), ("onnx", "tflite")),
    BadModel(
        "misnamed.onnx",
        copied(lambda place: place.model.with_name("model.tflite")),
        ("onnx", "tflite"),
    ),
    BadModel("foreign.onnx", foreign_onnx, ("not exported by knowngood",)),
    BadModel("table.onnx", copied(lambda place: place.verdicts), ("knowngood export",)),
)


def refused_everywhere(desk: Desk, name: str, says: tuple[str, ...]) -> None:
    lot, verdicts = desk.workplace.new_lot, desk.workplace.verdicts
    desk.refuses(3, (name, *says), "score", name, lot, "-o", "v.csv")
    desk.refuses(3, (name, *says), "inspect", name)
    desk.refuses(3, (name, *says), "bench", name, "--json", "b.json", "--batches", "1")
    desk.refuses(3, (name, *says), "report", verdicts, "-o", "r.html", "--model", name)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in NO_MODELS])
def test_what_is_no_model(desk: Desk, case: BadModel) -> None:
    case.write(desk.folder / case.name, desk.workplace)
    refused_everywhere(desk, case.name, case.says)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_damaged_models(desk: Desk, name: str, damage: str) -> None:
    changed(name, DAMAGE[damage])(desk.folder / name, desk.workplace)
    refused_everywhere(desk, name, ())


@pytest.mark.parametrize("damage", [d for d in DAMAGE if d != "bytes appended"])  # zip allows them
def test_damaged_training_results_are_not_exported(desk: Desk, damage: str) -> None:
    data = bytearray(desk.workplace.trained.read_bytes())
    DAMAGE[damage](data)
    (desk.folder / "model.pt").write_bytes(data)
    (desk.folder / "out").mkdir()
    desk.refuses(3, ("model.pt",), "export", "model.pt", "-o", "out")


@pytest.mark.slow
def test_every_changed_byte_of_a_training_result_is_harmless(desk: Desk) -> None:
    """Zip says many things twice: a change is either refused, or changes nothing that is read."""
    data, whole = bytearray(desk.workplace.trained.read_bytes()), desk.folder / "model.pt"
    expected = load_model(desk.workplace.trained).network
    n_refused = 0
    for place in (*range(0, 1000, 3), *range(len(data) - 3000, len(data), 3)):
        damaged = bytearray(data)
        damaged[place] ^= 0x04
        whole.write_bytes(damaged)
        try:
            found = load_model(whole).network
        except ModelFileError:
            n_refused += 1
            continue
        assert found.screen.schema == expected.screen.schema
        assert found.screen.operating_points == expected.screen.operating_points
        np.testing.assert_array_equal(found.screen.scaler.centre, expected.screen.scaler.centre)
        for ours, theirs in zip(found.layers, expected.layers, strict=True):
            np.testing.assert_array_equal(ours.weight, theirs.weight)
    assert n_refused > 500


class _OpensAShell:
    """Unpickled carelessly, this would run a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch broken_into",)


FOREIGN_PT = {
    "empty": lambda path, place: path.write_bytes(b""),
    "absent": lambda path, place: None,
    "folder": lambda path, place: path.mkdir(),
    "text": lambda path, place: path.write_text("model"),
    "an exported file": lambda path, place: shutil.copy(place.model, path),
    "a lot": lambda path, place: shutil.copy(place.new_lot, path),
    "a state dict": lambda path, place: torch.save({"weight": torch.ones(2)}, path),
    "a tensor": lambda path, place: torch.save(torch.ones(2), path),
    "a description alone": lambda path, place: torch.save({"description": "{}"}, path),
    "a description of nothing": lambda path, place: torch.save({"description": "[]"}, path),
    "a pickle that runs code": lambda path, place: torch.save(_OpensAShell(), path),
}


@pytest.mark.parametrize("what", FOREIGN_PT)
def test_foreign_training_results_are_not_exported(desk: Desk, what: str) -> None:
    FOREIGN_PT[what](desk.folder / "model.pt", desk.workplace)
    (desk.folder / "out").mkdir()
    desk.refuses(3, ("model.pt",), "export", "model.pt", "-o", "out")


def test_a_sealed_file_of_a_newer_version(desk: Desk) -> None:
    """The seal fits, so it is no damage: the version must be what is named."""
    model = onnx.load(desk.workplace.model)
    entries = {entry.key: entry for entry in model.metadata_props}
    manifest = entries["knowngood.manifest"]
    assert '"knowngood_manifest":1' in manifest.value.replace(" ", "")
    manifest.value = manifest.value.replace(
        '"knowngood_manifest":1', '"knowngood_manifest":99'
    ).replace('"knowngood_manifest": 1', '"knowngood_manifest": 99')
    entries["knowngood.sha256"].value = UNSEALED
    (desk.folder / "newer.onnx").write_bytes(seal(model.SerializeToString()))
    refused_everywhere(desk, "newer.onnx", ("version 99",))
