"""Everything that the engine hands out of the dies of a case, against what the reference gives.

A *comparison* is one die's output in one call: its score with verdict and reason, its
reconstruction, its latent code, or its contributions; all bits of it.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from expected import Expected, encoded, expect_all, with_bands
from numpy.typing import NDArray
from sealed_networks import Case

from engine import Model, path_names
from knowngood._sealed import Precision, SealedModel
from knowngood._verdicts import Reason, Verdict

N_THREADS = 4
TO_BE_SEEN = (
    *(f"verdict {v.name}" for v in Verdict),
    *(f"reason {r.name}" for r in Reason if r <= Reason.RANGE),
    "rescored", "not rescored", "reconstruction not finite", "ties in |z|",
    "score on the threshold", "head mse", "head normalized", "head topk", "head mahalanobis",
)  # fmt: skip
"""What a run that is worth something meets at least once."""
OUTPUTS = ("scores", "in threads", "reconstructions", "latent codes", "contributions")
Order = NDArray[np.intp]


@dataclass(frozen=True)
class Plan:
    """How the dies of a case are handed over.

    Attributes:
        batches: dies in a call; in each size all dies are scored once, in another order.
        slow_batches: those where a die takes a millisecond: ``scalar``, if fp32 takes part.
        most: dies of one more batch, drawn with repetition, from none to so many.
        reconstructed: sizes of batches whose dies are reconstructed too.
        every: one die in so many has its contributions compared.
        shared_out: whether threads that score at the same time share the dies, or each takes all.
    """

    batches: tuple[int, ...]
    slow_batches: tuple[int, ...]
    most: int
    reconstructed: tuple[int, ...]
    every: int = 1
    shared_out: bool = False


@dataclass
class Tally:
    """Comparisons by kind of case, path and output; how many differ; what the dies were like."""

    compared: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    differing: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def n_compared(self) -> int:
        return self.compared.total()

    @property
    def n_differing(self) -> int:
        return self.differing.total()

    def unseen(self) -> list[str]:
        """What was to be met and was not."""
        return [what for what in TO_BE_SEEN if not self.seen[what]]

    def table(self) -> str:
        """A line for each kind of case and path."""
        names = sorted({place[:2] for place in self.compared})
        header = f"{'':24}" + "".join(f"{o:>17}" for o in (*OUTPUTS, "differ"))
        lines = [header.rstrip()]
        for kind, path in names:
            counts = [self.compared[kind, path, output] for output in OUTPUTS]
            differ = sum(self.differing[kind, path, output] for output in OUTPUTS)
            lines.append(
                f"{kind:12}{path:12}" + "".join(f"{count:>17,}" for count in (*counts, differ))
            )
        lines.append(f"{self.n_compared:,} comparisons, {self.n_differing:,} differ")
        return "\n".join(lines)

    def add(self, other: Tally) -> None:
        self.compared += other.compared
        self.differing += other.differing
        self.seen += other.seen
        self.examples += other.examples

    def count(self, place: tuple[str, str, str], is_same: NDArray[np.bool_], detail: str) -> None:
        """One comparison for each element."""
        self.compared[place] += is_same.size
        n_differing = is_same.size - int(np.count_nonzero(is_same))
        if n_differing:
            self.differing[place] += n_differing
            self.examples.append(f"{' '.join(place)} {detail}: {n_differing} of {is_same.size}")


class Comparison:
    """Compares cases on every path that the libraries have on this processor."""

    def __init__(self, libs: Sequence[ctypes.CDLL]) -> None:
        self._libs = libs
        self.tally = Tally()

    def compare(self, kind: str, case: Case, plan: Plan) -> None:
        """In every precision, as ``plan`` says."""
        model = case.model if case.model.bands else with_bands(case)
        data = encoded(model)
        if data is None:
            self.tally.seen["refused by the writer"] += 1
            return
        expected = expect_all(model, case)
        self._note(model, expected)
        for lib in self._libs:
            for path in path_names(lib):
                engine = Model(lib, data, path)
                _OnePath(self.tally, kind, engine, case, plan).compare(expected)
                engine.close()

    def _note(self, model: SealedModel, expected: Mapping[Precision, Expected]) -> None:
        seen = self.tally.seen
        seen["models"] += 1
        seen[f"head {model.screen.head.kind}"] += 1
        for precision, of_precision in expected.items():
            result = of_precision.result
            for verdict, n in Counter(of_precision.verdicts.tolist()).items():
                seen[f"verdict {Verdict(verdict).name}"] += n
            for reason, n in Counter(of_precision.reasons.tolist()).items():
                seen[f"reason {Reason(reason).name}"] += n
            threshold = model.manifest(precision).screen.operating_points[0].threshold
            seen["score on the threshold"] += int((result.scores == np.float32(threshold)).sum())
            is_evaluable = of_precision.present.any(axis=1)
            is_finite = np.isfinite(result.reconstruction).all(axis=1)
            seen["reconstruction not finite"] += int((is_evaluable & ~is_finite).sum())
            seen["ties in |z|"] += of_precision.n_with_ties
            if precision == "verified":
                seen["rescored"] += int(result.rescored.sum())
                seen["not rescored"] += int((~result.rescored).sum())


class _OnePath:
    """The dies of a case on one path."""

    def __init__(self, tally: Tally, kind: str, engine: Model, case: Case, plan: Plan) -> None:
        self._tally, self._kind, self._engine = tally, kind, engine
        self._case, self._plan = case, plan
        self._rng = np.random.default_rng(case.seed)

    def compare(self, expected: Mapping[Precision, Expected]) -> None:
        for precision, of_precision in expected.items():
            for order, batch in self._orders(precision):
                self._scores(precision, of_precision, order, batch)
            for batch in self._plan.reconstructed:
                self._codes(precision, of_precision, self._shuffled(), batch)
            for die in range(0, len(self._case.values), self._plan.every):
                self._contributions(precision, of_precision, die)
            self._in_threads(precision, of_precision)

    def _orders(self, precision: Precision) -> list[tuple[Order, int | None]]:
        n = len(self._case.values)
        some = self._rng.integers(0, n, self._rng.integers(0, self._plan.most + 1))
        is_slow = self._engine.path == "scalar" and precision != "int8"
        batches = self._plan.slow_batches if is_slow else self._plan.batches
        sizes = [(self._shuffled(), batch) for batch in batches]
        return [(np.arange(n), None), *sizes, (some, None)]

    def _shuffled(self) -> Order:
        return self._rng.permutation(len(self._case.values))

    def _dies(self, order: Order) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        group = self._case.group
        return self._case.values[order], None if group is None else group[order]

    def _count(self, output: str, is_same: NDArray[np.bool_], detail: str) -> None:
        detail += f", {self._case.seed}"
        self._tally.count((self._kind, self._engine.path, output), is_same, detail)

    def _scores(
        self, precision: Precision, expected: Expected, order: Order, batch: int | None
    ) -> None:
        found = self._engine.score(precision, *self._dies(order), batch)
        self._count("scores", _are_judged(found, expected, order), f"{precision}, batch {batch}")

    def _codes(self, precision: Precision, expected: Expected, order: Order, batch: int) -> None:
        dies = self._dies(order)
        reconstruction, latent = self._engine.reconstruct(precision, *dies, batch)
        result, detail = expected.result, f"{precision}, batch {batch}"
        rows = _are_same_rows(reconstruction, result.reconstruction[order])
        self._count("reconstructions", rows, detail)
        if latent is None or result.latent is None:
            return
        for code in (latent, self._engine.latent(precision, *dies, batch)):
            self._count("latent codes", _are_same_rows(code, result.latent[order]), detail)

    def _contributions(self, precision: Precision, expected: Expected, die: int) -> None:
        """As many as there are, some, one; what is expected in the test's units nearly so."""
        values, group = self._dies(np.array([die]))
        k = (values.shape[1] + 3, 7, 1)[die // self._plan.every % 3]
        own_group = -1 if group is None else int(group[0])
        columns, z, told = self._engine.contributions(precision, values[0], own_group, k)
        wanted, wanted_z = expected.contributions(die, k)
        is_same = np.array_equal(columns, wanted) and _bits(z).tolist() == _bits(wanted_z).tolist()
        if is_same:
            in_units = expected.in_units[die, wanted]
            is_same = np.allclose(told, in_units, rtol=1e-12, atol=0, equal_nan=True)
        self._count("contributions", np.array([is_same]), f"{precision}, k {k}, die {die}")

    def _in_threads(self, precision: Precision, expected: Expected) -> None:
        """One model, a scratch for each thread."""
        orders = [self._shuffled() for _ in range(N_THREADS)]
        if self._plan.shared_out:
            orders = np.array_split(orders[0], N_THREADS)
        jobs = [(order, self._engine.beside()) for order in orders]

        def score(job: tuple[Order, Model]) -> NDArray[np.bool_]:
            order, engine = job
            return _are_judged(engine.score(precision, *self._dies(order), 5), expected, order)

        with ThreadPoolExecutor(N_THREADS) as pool:
            for is_same in pool.map(score, jobs):
                self._count("in threads", is_same, precision)


def _are_judged(
    found: tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.int8]],
    expected: Expected,
    order: Order,
) -> NDArray[np.bool_]:
    """Whether each die has its score, verdict and reason."""
    scores, verdicts, reasons = found
    is_same: NDArray[np.bool_] = (
        (_bits(scores) == _bits(expected.result.scores[order]))
        & (verdicts == expected.verdicts[order])
        & (reasons == expected.reasons[order])
    )
    return is_same


def _are_same_rows(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.bool_]:
    is_same: NDArray[np.bool_] = (_bits(found) == _bits(expected)).all(axis=1)
    return is_same


def _bits(x: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(x, np.float32).view(np.uint32)
