"""Cases as data: what is trained, timed and compared, and how close every answer must be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tomllib

CASES_FILE = Path(__file__).with_name("cases.toml")


@dataclass(frozen=True)
class Case:
    """One model, the dies it is judged on and the batches it is timed with.

    Attributes:
        n_lots, wafers_per_lot, dies_per_wafer: what it is trained on.
        n_fresh_good, n_fresh_defective: dies of other lots; the latter per class of defect.
        batches: dies per call.
        seconds: of timing per contestant and batch.
    """

    name: str
    n_tests: int
    n_lots: int
    wafers_per_lot: int
    dies_per_wafer: int
    n_fresh_good: int
    n_fresh_defective: int
    batches: tuple[int, ...]
    seconds: float
    seed: int

    def training_key(self) -> str:
        """A digest of all that the trained model depends on."""
        names = ("n_tests", "n_lots", "wafers_per_lot", "dies_per_wafer", "seed")
        fields = {name: getattr(self, name) for name in names}
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


@dataclass(frozen=True)
class ScoreErrors:
    """Largest relative errors of a form's scores against the float64 oracle."""

    good_median: float
    good_worst: float
    defective_worst: float

    def breaches(self, found: ScoreErrors) -> list[str]:
        """What is beyond this, in words; errors that are no numbers are."""
        limits = asdict(self)
        return [
            f"{name.replace('_', ' dies, ')} relative error {error:.3g}, allowed {limits[name]:.3g}"
            for name, error in asdict(found).items()
            if not error <= limits[name]
        ]


@dataclass(frozen=True)
class Plan:
    """The cases to run and what is expected of each form: "fp32", "int8" or "rival"."""

    cases: tuple[Case, ...]
    expected: dict[str, ScoreErrors]


def read_plan(path: Path = CASES_FILE, *, quick: bool = False, only: str | None = None) -> Plan:
    """The plan in a file; ``quick`` takes its small variant, ``only`` one case by name.

    Raises:
        ValueError: there is no such case, or a field is missing or unknown.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    cases = {fields["name"]: _case(path, fields) for fields in document["case"]}
    if quick:
        changed = {**document["quick"], "batches": tuple(document["quick"]["batches"])}
        cases = {changed["name"]: replace(cases[changed["name"]], **changed)}
    if only is not None:
        if only not in cases:
            raise ValueError(f"{path} has no case {only!r}; there are {', '.join(cases)}")
        cases = {only: cases[only]}
    expected = {form: ScoreErrors(**limits) for form, limits in document["expected"].items()}
    return Plan(tuple(cases.values()), expected)


def _case(path: Path, fields: dict[str, Any]) -> Case:
    try:
        return Case(**{**fields, "batches": tuple(fields["batches"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: case {fields.get('name')!r}: {error}") from error
