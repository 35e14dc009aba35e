"""Cases as data: what is trained, what it is judged on, and how much it must find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomllib

CASES_FILE = Path(__file__).with_name("cases.toml")


@dataclass(frozen=True)
class DetectionCase:
    """One process and its dies.

    Attributes:
        n_lots, wafers_per_lot, dies_per_wafer: what is trained on.
        n_fresh_lots, n_fresh_good, n_fresh_defective: other lots, their passing dies in all, and
            how many of these get a defect, per class.
        yield_loss: realised on the fresh good dies, the same for everybody.
        expected: least mean detection of the autoencoder.
        may_lose: a correlation class lost to a rival is shown, but fails nothing.
    """

    name: str
    correlation: Literal["tight", "loose"]
    n_tests: int
    n_lots: int
    wafers_per_lot: int
    dies_per_wafer: int
    n_fresh_lots: int
    n_fresh_good: int
    n_fresh_defective: int
    yield_loss: float
    seed: int
    expected: float
    may_lose: bool


def read_detection_cases(
    path: Path = CASES_FILE, *, quick: bool = False, only: str | None = None
) -> list[DetectionCase]:
    """The cases in a file; ``quick`` takes its small one, ``only`` one by name.

    Raises:
        ValueError: there is no such case, or a field is missing or unknown.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    found = [document["quick"]] if quick else document["case"]
    chosen = [each for each in found if only in (None, each["name"])]
    if not chosen:
        names = ", ".join(each["name"] for each in found)
        raise ValueError(f"{path} has no case {only!r}; there are {names}")
    return [_case(path, {**document["defaults"], **each}) for each in chosen]


def _case(path: Path, fields: dict[str, Any]) -> DetectionCase:
    try:
        return DetectionCase(**fields)
    except TypeError as error:
        raise ValueError(f"{path}: case {fields['name']!r}: {error}") from error
