"""Mutated sealed files, judged by the engine's reader and by the Python one.

The one thing that no engine reads is JSON: whether manifest and certificate are in canonical form
(rule 25), and how deep they nest (a part of rule 26). A file that is wrong in nothing else opens.

A long run: ``python tests/engine/two_readers.py 300000 libknowngood.so [SEED]`` (mutants), which
prints what became of them.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "kgd"))
sys.path.append(str(Path(__file__).parents[1] / "attacks"))

from kgd_by_hand import build, read_sections
from mutate import bases
from mutations import TEXTS, Mutant, Mutator

from engine import PRECISIONS, load, try_to_open
from knowngood._errors import ModelFileError
from knowngood._kgd import encode
from knowngood._model_file import ModelFile, parse_model
from knowngood._opening import open_scorer
from sealed_models import seal_up, tiny_sealed, varied_network

OK, MEMORY, FORMAT, DAMAGED, GOLDEN = 0, 2, 4, 6, 7
"""Statuses of knowngood.h."""
ROUND = 10_000


def judged(lib: ctypes.CDLL, data: bytes) -> tuple[int, str]:
    """Status and message."""
    status, message, handle = try_to_open(lib, data)
    lib.kg_close(handle)
    return status, message


def rule_of(message: str) -> int | None:
    """Number of the rule that a message names."""
    found = re.search(r"\(rule (\d+) of the \.kgd format\)", message)
    return int(found[1]) if found else None


class TwoReaders:
    """Judge the mutants of one file; an outcome is what became of it and by which rules."""

    def __init__(self, lib: ctypes.CDLL, base: bytes, seed: int) -> None:
        self._lib = lib
        self.mutator = Mutator(base, seed)

    def judge(self, mutant: Mutant) -> tuple[str, str]:
        """What became of it; "disagree" must not be."""
        status, message, handle = try_to_open(self._lib, mutant.data)
        try:
            return self._compare(mutant, status, message, handle)
        finally:
            self._lib.kg_close(handle)

    def _compare(
        self, mutant: Mutant, status: int, message: str, handle: ctypes.c_void_p
    ) -> tuple[str, str]:
        if status != OK and not message:
            return "disagree", f"{mutant.kind}: status {status} without a message"
        try:
            model = parse_model(mutant.data, "m.kgd")
        except ModelFileError as error:
            return self._refused_by_python(mutant, status, message, str(error))
        if status not in (OK, GOLDEN):
            return "disagree", f"{mutant.kind}: only the engine refuses it: {message}"
        return self._compare_loaded(mutant, model, status, handle)

    def _compare_loaded(
        self, mutant: Mutant, model: ModelFile, status: int, handle: ctypes.c_void_p
    ) -> tuple[str, str]:
        try:
            open_scorer(model, engine="reference", extrapolate=True)
        except ModelFileError as error:
            is_same = status == GOLDEN and "golden" in str(error)
            if is_same:
                return "refused by golden dies", ""
            return "disagree", f"{mutant.kind}: only Python's golden dies differ: {error}"
        if status == GOLDEN:
            return "disagree", f"{mutant.kind}: only the engine's golden dies differ"
        if handle and told(model) != told_by_engine(self._lib, handle):
            return "disagree", f"{mutant.kind}: told otherwise"
        return "accepted", ""

    def _refused_by_python(
        self, mutant: Mutant, status: int, message: str, error: str
    ) -> tuple[str, str]:
        ours, theirs = rule_of(message), rule_of(error) or 1
        if status not in (OK, GOLDEN):
            is_same = ours == theirs
            how = "by the same rule" if is_same else f"by rule {theirs} in Python, {ours} here"
            return "refused", how
        if theirs in (25, 26) and re.search(r"m\.kgd: (manifest|certificate)", error):
            return self._wrong_for_people_only(mutant, status)
        return "disagree", f"{mutant.kind}: only Python refuses it: {error}"

    def _wrong_for_people_only(self, mutant: Mutant, status: int) -> tuple[str, str]:
        """With texts that are in order, Python is of the engine's opinion."""
        texts = {name: text for name, text in self.mutator.sections.items() if name in TEXTS}
        sections = {**read_sections(mutant.data), "manifest": texts["manifest"]}
        if "certificate" in sections:
            sections["certificate"] = texts.get("certificate", b"{}")
        repaired = Mutant(build(sections), mutant.kind, mutant.digests)
        again = self._compare(repaired, status, "-", ctypes.c_void_p())
        expected = "accepted" if status == OK else "refused by golden dies"
        return ("wrong for people only", "") if again[0] == expected else again


def told(model: ModelFile) -> list[object]:
    """What a host is told of a file."""
    sealed = model.sealed
    assert sealed is not None
    latent = sealed.latent_layer
    found: list[object] = [model.model_id, model.digest, sealed.screen.schema.n_tests]
    found.append(0 if latent is None else sealed.widths[latent + 1])
    for precision in sealed.precisions:
        points = sealed.manifest(precision).screen.operating_points
        found += [(precision, p.fpr, p.threshold, p.supported) for p in points]
    return found


def told_by_engine(lib: ctypes.CDLL, handle: ctypes.c_void_p) -> list[object]:
    """The same by the engine."""
    digests = [ctypes.create_string_buffer(32) for _ in range(2)]
    lib.kg_digests(handle, *digests)
    found: list[object] = [d.raw.hex() for d in digests]
    found += [lib.kg_n_tests(handle), lib.kg_n_latent(handle)]
    fpr, threshold, supported = ctypes.c_double(), ctypes.c_float(), ctypes.c_int32()
    outputs = [ctypes.byref(output) for output in (fpr, threshold, supported)]
    for precision in ("verified", "int8", "fp32"):
        code = PRECISIONS[precision]
        for i in range(lib.kg_n_points(handle) if lib.kg_has_precision(handle, code) else 0):
            lib.kg_point(handle, code, i, *outputs)
            found.append((precision, fpr.value, threshold.value, bool(supported.value)))
    return found


@cache
def files() -> dict[str, bytes]:
    """Those of the attacks, one of each other kind."""
    others = {
        "tiny": tiny_sealed(),
        "mse": seal_up(varied_network((5, 3, 5), "tanh", "mse", 2), with_bands=False),
        "no layers": seal_up(varied_network((9,), "linear", "topk", 2), precisions=("fp32",)),
    }
    return {**bases(), **{name: encode(model) for name, model in others.items()}}


def run(lib: ctypes.CDLL, n_mutants: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Counts by what became of them, and the mutants that the readers do not agree on."""
    readers = [TwoReaders(lib, data, seed + i) for i, data in enumerate(files().values())]
    counts: Counter[str] = Counter()
    disagreements = []
    for i in range(n_mutants):
        both = readers[i % len(readers)]
        outcome, detail = both.judge(both.mutator.mutant())
        counts[f"{outcome} {detail}".strip() if outcome != "disagree" else outcome] += 1
        if outcome == "disagree":
            disagreements.append(detail)
    return counts, disagreements


def main(n_mutants: int, library: Path, seed: int = 0) -> int:
    """Rounds, so that a long run can say how far it is; 1 if the readers disagreed."""
    lib, total = load(library.resolve()), Counter[str]()
    for first in range(0, n_mutants, ROUND):
        counts, disagreements = run(lib, min(ROUND, n_mutants - first), seed + first)
        total += counts
        line = f"{total.total()} {dict(total.most_common())} {disagreements[:20]}\n"
        sys.stdout.write(line)
        sys.stdout.flush()
    return 1 if total["disagree"] else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])))
