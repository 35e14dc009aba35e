"""Lots, a trained model, its exported files and verdicts; and a desk to run the command at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from knowngood._commands import main
from knowngood._lot import Lot
from knowngood.stdf import read_stdf, write_lot
from knowngood_export import synthetic

N_TESTS = 24
MODEL_NAMES = ("model.kgd", "model.onnx", "model.int8.onnx", "model.tflite", "model.int8.tflite")
QUICK = ("--epochs", "10", "--folds", "0", "--fpr", "0.02", "--quiet")
"""Options of ``train`` with which the product below takes a second and still survives int8."""


@dataclass(frozen=True)
class Workplace:
    """What was made once; nobody writes here.

    Attributes:
        lots: three STDF lots that were trained on.
        new_lot: an STDF lot that was not, of few dies.
    """

    folder: Path
    lots: tuple[Path, ...]
    new_lot: Path

    @property
    def trained(self) -> Path:
        return self.folder / "trained" / "model.pt"

    @property
    def model(self) -> Path:
        return self.folder / "exported" / "model.onnx"

    @property
    def models(self) -> tuple[Path, ...]:
        return tuple(self.model.with_name(name) for name in MODEL_NAMES)

    @property
    def verdicts(self) -> Path:
        return self.folder / "verdicts.csv"

    def read_new_lot(self) -> Lot:
        return read_stdf(self.new_lot)


def furnish(folder: Path) -> Workplace:
    torch.set_num_threads(1)
    process = synthetic.process(N_TESTS, correlation="loose", seed=1)
    lots = tuple(folder / f"lot{i}.stdf" for i in range(3))
    for seed, path in enumerate(lots):
        lot = synthetic.make_lot(
            process, n_wafers=2, dies_per_wafer=700, lot=path.stem.upper(), seed=seed
        )
        write_lot(path, lot)
    few = synthetic.make_lot(process, n_wafers=1, dies_per_wafer=60, lot="NEW", seed=9)
    place = Workplace(folder, lots, folder / "new.stdf")
    write_lot(place.new_lot, few)
    for arguments in (
        ["train", *map(str, lots), "-o", str(place.trained.parent), *QUICK],
        ["export", str(place.trained), "-o", str(place.model.parent), "--quiet"],
        ["score", str(place.model), str(place.new_lot), "-o", str(place.verdicts), "--quiet"],
    ):
        code = main(arguments)
        assert code == 0, f"knowngood {' '.join(arguments)}: exit code {code}"
    return place


@dataclass(frozen=True)
class Answer:
    """What one run of the command said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """Runs the command in an empty folder, and looks at what it leaves there."""

    workplace: Workplace
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: object) -> Answer:
        """``knowngood`` with ``arguments``; an error that it does not expect comes through."""
        self.capsys.readouterr()
        code = main([str(a) for a in arguments])
        captured = self.capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    def refuses(self, code: int, says: tuple[str, ...], *arguments: object) -> Answer:
        """The command fails with ``code``, says ``says``, and leaves the folder as it was."""
        before = self.listing()
        answer = self.run(*arguments)
        assert answer.code == code, answer
        assert answer.out == ""
        assert "Traceback" not in answer.err
        assert answer.err.startswith(("knowngood: ", "usage: knowngood "))
        for words in says:
            assert words in answer.err, answer.err
        assert self.listing() == before
        return answer

    def listing(self) -> dict[str, str]:
        """Every file and folder below the desk, with the digest of its bytes."""
        return {str(p.relative_to(self.folder)): _digest(p) for p in self.folder.rglob("*")}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
