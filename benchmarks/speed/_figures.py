"""The figures that the engine is held to, computed from a case's timings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ._run import SpeedResult
from ._timing import Timing, ratio

OURS = "knowngood"
TOUCHDOWN, WAFER = 16, 1000
SHOWN_ON_AVX2 = (1, TOUCHDOWN, 64, WAFER)


@dataclass(frozen=True)
class Figure:
    """One figure, beside what is needed of it.

    Attributes:
        unit: "×", "%", "µs", "ns" or "per cycle".
        needed, stretch: None where a figure is there to be known.
        is_at_most: whether it must not be above what is needed; else not below.
    """

    what: str
    found: float
    unit: str
    needed: float | None = None
    stretch: float | None = None
    is_at_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it is as needed; True where nothing is."""
        if self.needed is None:
            return True
        return self.found <= self.needed if self.is_at_most else self.found >= self.needed


def figures_of(result: SpeedResult) -> list[Figure]:
    """All figures that the case's calls allow."""
    table = Table(result)
    figures = [
        *_limits(table),
        *_one_die(table),
        *_batches(table),
        *_fp32(table),
        *_cold(table),
        *_extras(table),
        *_binding(table),
        *_avx2(table),
    ]
    if result.case.is_held_to_figures:
        return figures
    return [replace(figure, needed=None, stretch=None) for figure in figures]


def competitors(timings: Sequence[Timing], precision: str, label: str = "") -> dict[str, Timing]:
    """Each other engine's fastest configuration among these timings; ``label`` as of `Rival`."""
    best: dict[str, Timing] = {}
    for timing in timings:
        engine = timing.engine
        if engine.startswith((OURS, "limit", "nothing")) or timing.precision != precision:
            continue
        if engine.endswith(" (AVX2)") != bool(label):
            continue
        if engine not in best or timing.median_us < best[engine].median_us:
            best[engine] = timing
    return best


class Table:
    """Timings by what is looked for."""

    def __init__(self, result: SpeedResult) -> None:
        self.result = result
        self.hot, self.cold = result.case.hot, result.case.cold

    def calls(self, n_dies: int, *, is_cold: bool = False) -> list[Timing]:
        timings = self.result.timings
        return [t for t in timings if t.n_dies == n_dies and t.is_cold == is_cold]

    def one(
        self, engine: str, precision: str, how: str, n_dies: int, *, is_cold: bool = False
    ) -> Timing | None:
        calls = self.calls(n_dies, is_cold=is_cold)
        wanted = (engine, precision, how)
        return next((t for t in calls if (t.engine, t.precision, t.configuration) == wanted), None)

    def limit(self, what: str, n_dies: int, label: str = "") -> Timing | None:
        calls = self.calls(n_dies)
        return next((t for t in calls if (t.engine, t.precision) == (f"limit{label}", what)), None)

    def share_of_peak(self, precision: str, n_dies: int, label: str = "") -> float | None:
        """In percent, called from C."""
        ours = self.one(f"{OURS}{label}", precision, "from C", n_dies)
        limit = self.limit(precision, n_dies, label)
        if ours is None or limit is None:
            return None
        at_peak = self.result.n_macs * n_dies / limit.amount
        return 100 * at_peak / ratio(ours, limit)

    def against(
        self, precision: str, n_dies: int, label: str = "", *, is_cold: bool = False
    ) -> dict[str, float]:
        """How many times longer each other engine's best takes than `score_into`."""
        ours = self.one(f"{OURS}{label}", precision, "score_into", n_dies, is_cold=is_cold)
        if ours is None:
            return {}
        calls = self.calls(n_dies, is_cold=is_cold)
        return {e: ratio(t, ours) for e, t in competitors(calls, precision, label).items()}


def _named(n_dies: int) -> str:
    return "one die" if n_dies == 1 else f"{n_dies:,} dies"


def _limits(table: Table) -> Iterator[Figure]:
    n_dies = max(table.hot)
    clock = table.limit("clock", n_dies)
    if clock is None:
        return
    ghz = clock.amount / clock.median_us / 1e3
    yield Figure("clock, by additions that wait for one another", ghz, "GHz")
    for what, unit in (("int8", "GMAC/s"), ("fp32", "GMAC/s"), ("read", "GB/s")):
        limit = table.limit(what, n_dies)
        if limit is None:
            continue
        name = f"limit of {what}, {limit.configuration}"
        yield Figure(name, limit.amount / limit.median_us / 1e3, unit)
        per_cycle = limit.n_instructions / clock.amount / ratio(limit, clock)
        yield Figure(f"{name}: instructions", per_cycle, "per cycle")


def _one_die(table: Table) -> Iterator[Figure]:
    needed = {"litert": (1.45, 1.6), "onnxruntime": (6.0, None), "openvino": (6.0, None)}
    if 1 not in table.hot:
        return
    found = table.against("int8", 1)
    for engine, (least, stretch) in needed.items():
        if engine in found:
            what = f"one die, int8, from Python: {engine} over knowngood"
            yield Figure(what, found[engine], "×", least, stretch)
    ours, read = table.one(OURS, "int8", "from C", 1), table.limit("read", 1)
    if ours is not None and read is not None:
        share = table.result.n_macs / read.amount
        what = "one die, int8, from C: over reading the weights from the cache"
        yield Figure(what, ratio(ours, read) / share, "×", 1.35, 1.2, is_at_most=True)


def _batches(table: Table) -> Iterator[Figure]:
    for n_dies in table.hot:
        share = table.share_of_peak("int8", n_dies)
        least = (80, 88) if 4 <= n_dies <= TOUCHDOWN else (85, 92) if n_dies >= 64 else (None, None)
        if share is not None:
            yield Figure(f"{_named(n_dies)}, int8, from C: of the peak", share, "%", *least)
        found = table.against("int8", n_dies)
        if not found or n_dies == 1:
            continue
        best = min(found, key=lambda engine: found[engine])
        is_large = n_dies >= 64
        what = f"{_named(n_dies)}, int8: the best rival, {best}, over knowngood"
        yield Figure(what, found[best], "×", 1.25 if is_large else None)
        if "onnxruntime" in found:
            what = f"{_named(n_dies)}, int8: onnxruntime over knowngood"
            yield Figure(what, found["onnxruntime"], "×", 1.75 if is_large else None)
    ours = table.one(OURS, "int8", "score_into", WAFER)
    if ours is not None:
        what = "a wafer of 1,000 dies, int8, from Python"
        yield Figure(what, ours.median_us, "µs", 1000, is_at_most=True)


def _fp32(table: Table) -> Iterator[Figure]:
    for n_dies in table.hot:
        share = table.share_of_peak("fp32", n_dies)
        if share is not None and n_dies >= 64:
            yield Figure(f"{_named(n_dies)}, fp32, from C: of the peak", share, "%", 90)
        found = table.against("fp32", n_dies)
        if found:
            best = min(found, key=lambda engine: found[engine])
            what = f"{_named(n_dies)}, fp32: the best rival, {best}, over knowngood"
            yield Figure(what, found[best], "×", 1.0)


def _cold(table: Table) -> Iterator[Figure]:
    needed = {"litert": 2.5, "onnxruntime": 6.0, "openvino": None}
    for n_dies in table.cold:
        found = table.against("int8", n_dies, is_cold=True)
        for engine, least in needed.items():
            if engine in found:
                what = f"{_named(n_dies)}, int8, caches cold: {engine} over knowngood"
                yield Figure(what, found[engine], "×", least)


def _extras(table: Table) -> Iterator[Figure]:
    plain = table.one(OURS, "int8", "from C", WAFER)
    verified = table.one(OURS, "verified", "from C", WAFER)
    if plain is not None and verified is not None:
        what = "1,000 dies, two of them rescored: verified over int8"
        yield Figure(what, ratio(verified, plain), "×", 1.03, is_at_most=True)
    explained = table.one(OURS, "int8", "from C, with contributions", WAFER)
    if plain is not None and explained is not None:
        what = "1,000 dies, int8, with five contributions of each of ten: over without"
        yield Figure(what, ratio(explained, plain), "×", 1.1, is_at_most=True)


def _binding(table: Table) -> Iterator[Figure]:
    """What Python adds to a call from C, without what the clock itself costs in either."""
    from_c, idle_c = table.one(OURS, "int8", "from C", 1), table.one("nothing", "", "from C", 1)
    idle = table.one("nothing", "", "from Python", 1)
    for how, most in (("score_into", 150), ("score", 1000)):
        ours = table.one(OURS, "int8", how, 1)
        if ours is None or from_c is None or idle is None or idle_c is None:
            continue
        added = ours.median_us - idle.median_us - from_c.median_us + idle_c.median_us
        what = f"one die, int8: `{how}` from Python, beyond the call from C"
        yield Figure(what, 1e3 * added, "ns", most, is_at_most=True)


def _avx2(table: Table) -> Iterator[Figure]:
    label = " (AVX2)"
    for n_dies in (n for n in table.hot if n in SHOWN_ON_AVX2):
        share = table.share_of_peak("int8", n_dies, label)
        if share is not None:
            yield Figure(f"{_named(n_dies)}, int8, AVX2: of the AVX2 peak", share, "%")
        for precision in ("int8", "fp32"):
            for engine, times in table.against(precision, n_dies, label).items():
                what = f"{_named(n_dies)}, {precision}, AVX2: {engine.removesuffix(label)}"
                yield Figure(f"{what} over knowngood", times, "×")
