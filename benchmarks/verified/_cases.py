"""Cases as data: which model, and how many fresh dies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomllib

from knowngood._network import HeadKind

CASES_FILE = Path(__file__).with_name("cases.toml")


@dataclass(frozen=True)
class VerifiedCase:
    """One trained network with several heads, and the dies that its verdicts are counted on.

    Attributes:
        process: of the generator, "tight" or "loose".
        seed: of the process, of training, and of the fresh lots.
        n_lots, dies_per_lot: fresh lots, of five wafers each.
        defective_per_lot: of each class of defect.
        disturbed_per_lot: good dies given each disturbance.
        fprs: operating points.
    """

    name: str
    process: Literal["tight", "loose"]
    n_tests: int
    seed: int
    n_lots: int
    dies_per_lot: int
    defective_per_lot: int
    disturbed_per_lot: int
    heads: tuple[HeadKind, ...]
    fprs: tuple[float, ...]


def read_verified_cases(
    path: Path = CASES_FILE, *, quick: bool = False, only: str | None = None
) -> list[VerifiedCase]:
    """The cases in a file; ``quick`` takes its small variant, ``only`` one case by name.

    Raises:
        ValueError: there is no such case, or a field is missing or unknown.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    fields = {each["name"]: each for each in document["case"]}
    if quick:
        changed = document["quick"]
        fields = {changed["name"]: {**fields[changed["name"]], **changed}}
    if only is not None and only not in fields:
        raise ValueError(f"{path} has no case {only!r}; there are {', '.join(fields)}")
    chosen = [each for name, each in fields.items() if only in (None, name)]
    return [_case(path, document, each) for each in chosen]


def _case(path: Path, document: dict[str, Any], fields: dict[str, Any]) -> VerifiedCase:
    try:
        heads, fprs = tuple(document["heads"]), tuple(document["fprs"])
        return VerifiedCase(**fields, heads=heads, fprs=fprs)
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: case {fields['name']!r}: {error}") from error
