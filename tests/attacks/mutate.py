"""What becomes of mutated sealed files: ``python -m tests.attacks.mutate N`` judges N of them.

A mutant is *silently accepted* if it loads although a digest does not fit what decides verdicts, or
although more changed than values and texts, or if the model it gives has another encoding than the
mutant itself, so that the file holds something nobody sees. None may be.

What else loads is a legal file of other content, which digests cannot tell from an export (see
SECURITY.md): *annotated* if what decides verdicts is untouched, under the same ``model_id``;
*another model* under another ``model_id`` if not, and the golden dies do not notice.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

sys.path.append(str(Path(__file__).parents[1]))  # as pytest does for the tests beside this folder
sys.path.append(str(Path(__file__).parents[1] / "kgd"))
sys.path.append(str(Path(__file__).parent))

import numpy as np
from mutations import DECIDING, Mutant, Mutator
from numpy.typing import NDArray

from knowngood._errors import ModelFileError
from knowngood._kgd import encode
from knowngood._model_file import ModelFile, parse_model
from knowngood._opening import open_scorer
from knowngood._sealed import SealedModel
from knowngood.engines._reference import score_sealed
from sealed_models import HISTORY, seal_up, varied_network
from traced_memory import MEBIBYTE, beyond_twice_the_file

Outcome = Literal[
    "refused",
    "refused by golden dies",
    "refused at load",
    "annotated",
    "another model",
    "silent",
    "foreign error",
]
EVERY_NTH_MEASURED = 50


def bases() -> dict[str, bytes]:
    """Small files of every section: groups, both precisions, one precision, bands, α."""
    both = seal_up(
        varied_network((10, 5, 3, 5, 10), "relu", "mahalanobis", 3),
        **cast("dict[str, Any]", HISTORY),
        certificate='{"flips":{"good":0,"defective":3}}',
    )
    fp32 = seal_up(varied_network((8, 3, 8), "leaky_relu", "topk", 2), precisions=("fp32",))
    int8 = seal_up(varied_network((8, 4, 8), "elu", "normalized", 1), precisions=("int8",))
    return {"both": encode(both), "fp32": encode(fp32), "int8": encode(int8)}


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        detail: the rule that refused it, or the sections that are others.
        decides_otherwise: of another model: scores or verdicts of probe dies differ.
    """

    outcome: Outcome
    detail: str
    decides_otherwise: bool = False


class Court:
    """Judges the mutants of one file."""

    def __init__(self, base: bytes, seed: int) -> None:
        self.mutator = Mutator(base, seed)
        self._model = parse_model(base, "base.kgd")
        sealed = _sealed(self._model)
        self._probes = _probe_dies(sealed, seed)
        self._decisions = _decisions(sealed, self._probes)

    def judge(self, mutant: Mutant) -> Verdict:
        try:
            model = parse_model(mutant.data, "mutant.kgd")
        except ModelFileError as error:
            return Verdict("refused", _rule(str(error)))
        except Exception as error:
            return Verdict("foreign error", repr(error))
        sections = self.mutator.changed_sections(mutant)
        where = "+".join(sorted(sections)) or "shell"
        if self._is_silent(mutant, model, sections):
            return Verdict("silent", f"{mutant.kind}, digests {mutant.digests}: {where}")
        fields = "+".join(self.mutator.changed_fields(mutant)[:2]) or where
        try:
            open_scorer(model, extrapolate=True)
        except ModelFileError as error:
            is_golden = "not the file's" in str(error)
            return Verdict("refused by golden dies" if is_golden else "refused at load", fields)
        except Exception as error:
            return Verdict("foreign error", f"{fields}: {error!r}")
        return self._accepted(model, sections, fields)

    def _is_silent(self, mutant: Mutant, model: ModelFile, sections: frozenset[str]) -> bool:
        fits = {"left": (), "file digest": ("golden", "manifest", "certificate")}
        if mutant.digests in fits and not sections <= set(fits[mutant.digests]):
            return True
        if mutant.digests == "left" or not sections or self.mutator.is_structural(mutant):
            return True
        return encode(_sealed(model)) != mutant.data

    def _accepted(self, model: ModelFile, sections: frozenset[str], where: str) -> Verdict:
        same_id = model.model_id == self._model.model_id
        if same_id != sections.isdisjoint(DECIDING):
            return Verdict("silent", f"model_id of another content: {where}")
        if same_id:
            return Verdict("annotated", where)
        differs = _decisions(_sealed(model), self._probes) != self._decisions
        return Verdict("another model", where, differs)


@dataclass
class Tally:
    """Counts by outcome and detail, and the mutants that must not be."""

    outcomes: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    largest_excess: int = -(1 << 62)
    seconds: float = 0.0

    @property
    def n_mutants(self) -> int:
        return sum(self.outcomes.values())

    def add(self, mutant: Mutant, verdict: Verdict, base: str) -> None:
        self.outcomes[verdict.outcome] += 1
        self.kinds[f"{mutant.kind}, digests {mutant.digests}"] += 1
        if verdict.outcome == "refused":
            self.rules[verdict.detail] += 1
        elif verdict.outcome in ("silent", "foreign error"):
            self.faults.append(f"{base}: {verdict.outcome}: {verdict.detail}")
        else:
            effect = ", decides otherwise" if verdict.decides_otherwise else ""
            self.accepted[f"{verdict.outcome}: {verdict.detail}{effect}"] += 1

    def to_json(self) -> dict[str, Any]:
        return {
            "mutants": self.n_mutants,
            "seconds": round(self.seconds, 1),
            "ms_per_mutant": round(1e3 * self.seconds / max(self.n_mutants, 1), 3),
            "peak_bytes_beyond_twice_the_file": self.largest_excess,
            "outcomes": dict(self.outcomes.most_common()),
            "refused_by_rule": dict(self.rules.most_common()),
            "others": dict(self.accepted.most_common()),
            "kinds": dict(sorted(self.kinds.items())),
            "faults": self.faults[:50],
        }


def run(n_mutants: int, seed: int = 0, tally: Tally | None = None) -> Tally:
    """Judge so many mutants, of each file in turn; every fiftieth is decoded with memory traced."""
    tally = tally or Tally()
    courts = {name: Court(base, seed + i) for i, (name, base) in enumerate(bases().items())}
    names = list(courts)
    start = time.perf_counter()
    for i in range(n_mutants):
        name = names[i % len(names)]
        mutant = courts[name].mutator.mutant()
        if i % EVERY_NTH_MEASURED == 0:
            tally.largest_excess = max(tally.largest_excess, beyond_twice_the_file(mutant.data))
        tally.add(mutant, courts[name].judge(mutant), name)
        tally.seconds = time.perf_counter() - start
    return tally


def _rule(message: str) -> str:
    return message.rpartition("(rule ")[2].split(" ")[0] if "(rule " in message else "no rule"


def _sealed(model: ModelFile) -> SealedModel:
    assert model.sealed is not None
    return model.sealed


def _probe_dies(sealed: SealedModel, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Forty dies of all groups, around the centre and far out, some results missing."""
    rng = np.random.default_rng(seed)
    scaler, n_dies = sealed.screen.scaler, 40
    group = rng.choice(scaler.groups, n_dies).astype(np.int32)
    rows = scaler.rows(group, n_dies)
    u = rng.normal(size=(n_dies, sealed.screen.schema.n_tests)) * 10.0 ** rng.uniform(-1, 2)
    values = (scaler.centre[rows] + u / scaler.inv_scale[rows]).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values, group


def _decisions(
    sealed: SealedModel, dies: tuple[NDArray[np.float32], NDArray[np.int32]]
) -> tuple[object, ...]:
    """Score bits and verdicts of dies, in each precision and at each operating point."""
    values, group = dies
    rows = sealed.screen.scaler.rows(group, len(values))
    found: list[object] = []
    for precision in sealed.precisions:
        points = sealed.manifest(precision).screen.operating_points
        for point in points:
            scores = score_sealed(sealed, precision, values, rows, fpr=point.fpr).scores
            found += [point.fpr, scores.tobytes(), (scores <= point.threshold).tobytes()]
    return tuple(found)


def _rounds(n_mutants: int, size: int = 10_000) -> Iterator[tuple[int, int]]:
    """(first mutant, how many) of each round, so that a long run can say how far it is."""
    for first in range(0, n_mutants, size):
        yield first, min(size, n_mutants - first)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="mutate small sealed files and judge the mutants")
    parser.add_argument("n_mutants", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the counts there after every round")
    args = parser.parse_args(arguments)
    warnings.simplefilter("error")
    total = Tally()
    for first, n_mutants in _rounds(args.n_mutants):
        before = total.seconds
        run(n_mutants, args.seed + first, total)
        total.seconds += before
        if args.json:
            args.json.write_text(json.dumps(total.to_json(), indent=2), encoding="utf-8")
    sys.stdout.write(json.dumps(total.to_json(), indent=2) + "\n")
    return 1 if total.faults or total.largest_excess > MEBIBYTE else 0


if __name__ == "__main__":
    sys.exit(main())
