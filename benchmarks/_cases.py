"""Cases as data: what is trained and judged, and how close every answer must be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomllib

FORMS = ("fp32", "int8", "rival")
CASES_FILE = Path(__file__).with_name("cases.toml")


@dataclass(frozen=True)
class ScoreErrors:
    """Relative errors of scores against the float64 oracle: what is allowed, or what was found."""

    good_median: float
    good_worst: float
    defective_worst: float

    def breaches(self, found: ScoreErrors) -> list[str]:
        """What is beyond this, in words; an error that is no number is."""
        limits = asdict(self)
        return [
            f"{name.replace('_', ' dies, ')} relative error {error:.3g}, allowed {limits[name]:.3g}"
            for name, error in asdict(found).items()
            if not error <= limits[name]
        ]


@dataclass(frozen=True)
class Case:
    """One model and the dies it is judged on.

    Attributes:
        n_lots, wafers_per_lot, dies_per_wafer: what it is trained on.
        n_fresh_lots, n_fresh_good, n_fresh_defective: other lots, their passing dies in all, and
            how many of these get a defect, per class.
        expected: errors allowed to each form: "fp32", "int8", "rival".
    """

    name: str
    n_tests: int
    n_lots: int
    wafers_per_lot: int
    dies_per_wafer: int
    n_fresh_lots: int
    n_fresh_good: int
    n_fresh_defective: int
    seed: int
    expected: dict[str, ScoreErrors]

    def training_key(self) -> str:
        """A digest of all that the trained model depends on."""
        names = ("n_tests", "n_lots", "wafers_per_lot", "dies_per_wafer", "seed")
        fields = {name: getattr(self, name) for name in names}
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def read_cases(
    path: Path = CASES_FILE, *, quick: bool = False, only: str | None = None
) -> list[Case]:
    """The cases in a file; ``quick`` takes its small variant, ``only`` one case by name.

    Raises:
        ValueError: there is no such case, or a field is missing or unknown.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    fields = {each["name"]: each for each in document["case"]}
    if quick:
        changed = document["quick"]
        fields = {changed["name"]: {**fields[changed["name"]], **changed}}
    if only is not None:
        if only not in fields:
            raise ValueError(f"{path} has no case {only!r}; there are {', '.join(fields)}")
        fields = {only: fields[only]}
    return [_case(path, each) for each in fields.values()]


def _case(path: Path, fields: dict[str, Any]) -> Case:
    try:
        expected = {form: ScoreErrors(**fields["expected"][form]) for form in FORMS}
        return Case(**{**fields, "expected": expected})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: case {fields['name']!r}: {error}") from error
