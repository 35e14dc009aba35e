"""Outputs that cannot be written: exit code 2, older files as they were, nothing half done."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from workplace import MODEL_NAMES, QUICK, Desk

from knowngood import _atomic

VERBS: dict[str, tuple[str, ...]] = {
    "train": ("train", "LOT", "-o", "out", *QUICK),
    "export": ("export", "TRAINED", "-o", "out", "--quiet"),
    "export of baselines": (
        *("export", "TRAINED", "-o", "out", "--quiet", "--formats", "kgd", "--baselines"),
    ),
    "score as csv": ("score", "MODEL", "NEW", "-o", "out/verdicts.csv"),
    "score as parquet": ("score", "MODEL", "NEW", "-o", "out/verdicts.parquet"),
    "report": ("report", "VERDICTS", "-o", "out/report.html"),
    "bench": (
        *("bench", "MODEL", "--json", "out/bench.json"),
        *("--batches", "1", "--seconds", "0.01", "--quiet"),
    ),
    "demo": ("demo", "-o", "out", "--quick", "--quiet"),
}
WRITTEN = {
    "train": ("model.pt", "training.json"),
    "export": MODEL_NAMES,
    "export of baselines": ("pat.kgd", "t2.kgd", "pca.kgd", "model.kgd"),
    "score as csv": ("verdicts.csv", "verdicts.csv.run.json"),
    "score as parquet": ("verdicts.parquet", "verdicts.parquet.run.json"),
    "report": ("report.html",),
    "bench": ("bench.json",),
}


def arguments(desk: Desk, verb: str) -> list[object]:
    place = desk.workplace
    names = {
        "MODEL": place.model,
        "LOT": place.lots[0],
        "NEW": place.new_lot,
        "TRAINED": place.trained,
        "VERDICTS": place.verdicts,
    }
    return [names.get(word, word) for word in VERBS[verb]]


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """Writing beyond ``n_bytes`` of any file fails with an error of the operating system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_below_a_file(desk: Desk, verb: str) -> None:
    (desk.folder / "out").write_text("a file where the folder should be")
    desk.refuses(2, ("out",), *arguments(desk, verb))


@pytest.mark.parametrize("n_bytes", [0, 200])
@pytest.mark.parametrize("verb", WRITTEN)
def test_a_full_disk(desk: Desk, verb: str, n_bytes: int) -> None:
    older = desk.folder / "out"
    older.mkdir()
    for name in WRITTEN[verb]:
        (older / name).write_bytes(b"an older file")
    with full_disk(n_bytes):
        desk.refuses(2, ("cannot write", "free some space"), *arguments(desk, verb))


@pytest.mark.parametrize("verb", [v for v in WRITTEN if v not in ("bench", "report")])
def test_a_disk_that_fills_up_between_two_files(
    desk: Desk, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second file finds no room: the first one, of the same set, must not be replaced."""
    older = desk.folder / "out"
    older.mkdir()
    for name in WRITTEN[verb]:
        (older / name).write_bytes(b"an older file")
    n_synced = 0

    def fsync(descriptor: int) -> None:
        nonlocal n_synced
        n_synced += 1
        if n_synced > 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_atomic.os, "fsync", fsync)
    desk.refuses(2, ("No space left on device",), *arguments(desk, verb))
    assert n_synced == 2


@pytest.mark.parametrize(("verb", "name"), [(v, n) for v, names in WRITTEN.items() for n in names])
def test_a_folder_in_the_place_of_a_file(desk: Desk, verb: str, name: str) -> None:
    (desk.folder / "out" / name).mkdir(parents=True)
    (desk.folder / "out" / name / "kept").write_text("not ours")
    desk.refuses(2, (name,), *arguments(desk, verb))


def test_an_interrupted_score_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_atomic.os, "fsync", interrupted)
    (desk.folder / "out").mkdir()
    desk.refuses(130, ("interrupted",), *arguments(desk, "score as csv"))


def test_the_older_files_of_a_set_are_replaced_together(desk: Desk) -> None:
    older = desk.folder / "out"
    older.mkdir()
    for name in WRITTEN["score as csv"]:
        (older / name).write_bytes(b"an older file")
    assert desk.run(*arguments(desk, "score as csv")).code == 0
    assert sorted(p.name for p in older.iterdir()) == sorted(WRITTEN["score as csv"])
    expected = desk.workplace.verdicts.read_bytes()
    assert (older / "verdicts.csv").read_bytes() == expected
