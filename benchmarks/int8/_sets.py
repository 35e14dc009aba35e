"""The sets as data: what is trained, on which dies it is judged, by which heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomllib

from knowngood._network import HeadKind

SETS_FILE = Path(__file__).with_name("sets.toml")


@dataclass(frozen=True)
class GeneratorSet:
    """Lots of a synthetic process.

    Attributes:
        process: "tight" or "loose".
        n_lots, wafers_per_lot, dies_per_wafer: what is trained on.
        n_fresh_lots, n_fresh_good, n_fresh_defective: other lots, their passing dies in all, and
            how many of these get a defect, per class.
    """

    name: str
    heads: tuple[HeadKind, ...]
    process: Literal["tight", "loose"]
    n_tests: int
    seed: int
    n_lots: int
    wafers_per_lot: int
    dies_per_wafer: int
    n_fresh_lots: int
    n_fresh_good: int
    n_fresh_defective: int


@dataclass(frozen=True)
class TableSet:
    """A real table with labelled anomalies.

    Attributes:
        kind: how ``file``, a path under the folder of real data, is read.
        max_train, max_judged: rows at most, the latter of inliers and of anomalies each.
    """

    name: str
    heads: tuple[HeadKind, ...]
    kind: Literal["npz", "tep", "stdf"]
    file: str
    max_train: int
    max_judged: int


AnySet = GeneratorSet | TableSet


@dataclass(frozen=True)
class Sets:
    """All sets, and the operating points they are judged at."""

    fprs: tuple[float, ...]
    generators: tuple[GeneratorSet, ...]
    tables: tuple[TableSet, ...]


def read_sets(path: Path = SETS_FILE, *, quick: bool = False, only: str | None = None) -> Sets:
    """The sets in a file; ``quick`` takes its small variant, ``only`` one set by name.

    Raises:
        ValueError: there is no such set, or a field is missing or unknown.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    generators = [{**document["generators"], **g} for g in document["generator"]]
    tables = [{**document["tables"], **t} for t in document["table"]]
    if quick:
        changed = document["quick"]
        generators = [{**g, **changed} for g in generators if g["name"] == changed["name"]]
        tables = []
    if only is not None:
        names = [each["name"] for each in (*generators, *tables)]
        if only not in names:
            raise ValueError(f"{path} has no set {only!r}; there are {', '.join(names)}")
        generators = [g for g in generators if g["name"] == only]
        tables = [t for t in tables if t["name"] == only]
    return Sets(
        tuple(document["fprs"]),
        tuple(_made(GeneratorSet, path, fields) for fields in generators),
        tuple(_made(TableSet, path, fields) for fields in tables),
    )


def _made(kind: type[Any], path: Path, fields: Mapping[str, Any]) -> Any:
    try:
        return kind(**{**fields, "heads": tuple(fields["heads"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: set {fields.get('name')!r}: {error}") from error
