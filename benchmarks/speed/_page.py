"""A case of speed in Markdown: the figures first, then every contestant's times."""

from __future__ import annotations

from collections.abc import Sequence

from .._markdown import answers, markdown_table
from ._figures import Figure, figures_of
from ._run import SpeedResult
from ._timing import Timing

TAILS_AT = 64
"""A touchdown of a wide prober."""


def speed_section(result: SpeedResult, plot: str) -> str:
    """The section; ``plot`` is the file beside it."""
    case = result.case
    parts = [
        f"## Speed: {case.name}",
        f"Network {'-'.join(map(str, result.widths))}, {result.n_macs:,} multiply-accumulates a "
        f"die. {answers(result.skipped, result.failures)}",
        f"![Speed of {case.name}]({plot})",
        "Ratios are medians over the rounds of the run. A rival's figure is that of its fastest "
        "configuration for that number of dies.",
        _figures(figures_of(result)),
        "### Every configuration, caches hot\n\nMedian, µs per call; raw values in, verdicts out.",
        _times(result, case.hot, is_cold=False),
    ]
    if case.cold:
        parts += ["### Caches cold", _times(result, case.cold, is_cold=True)]
    batch = min(case.hot, key=lambda n_dies: abs(n_dies - TAILS_AT))
    return "\n\n".join([*parts, "### Tails", _tails(result, batch)])


def _figures(figures: Sequence[Figure]) -> str:
    rows = [
        [f.what, f"{_number(f.found)} {f.unit}", _needed(f), "" if f.needed is None else _met(f)]
        for f in figures
    ]
    return markdown_table(["", "found", "needed (stretch)", ""], rows)


def _met(figure: Figure) -> str:
    return "met" if figure.is_met else "**missed**"


def _needed(figure: Figure) -> str:
    if figure.needed is None:
        return ""
    text = f"{'at most' if figure.is_at_most else 'at least'} {figure.needed:g}"
    return text if figure.stretch is None else f"{text} ({figure.stretch:g})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _times(result: SpeedResult, numbers: Sequence[int], *, is_cold: bool) -> str:
    found = {(t.name, t.n_dies): t.median_us for t in result.timings if t.is_cold == is_cold}
    versions = {t.name: t.version for t in result.timings}
    rows = []
    for name, version in versions.items():
        cells = [found.get((name, n_dies)) for n_dies in numbers]
        label = f"{name} ({version})" if version else name
        rows.append([label, *("" if us is None else f"{us:,.2f}" for us in cells)])
    header = ["", *("1 die" if n == 1 else f"{n:,} dies" for n in numbers)]
    return markdown_table(header, rows)


def _tails(result: SpeedResult, n_dies: int) -> str:
    calls = [t for t in result.timings if t.n_dies == n_dies and not t.is_cold]
    header = [f"{n_dies} dies, µs", "10 %", "median", "99 %", "99.9 %", "worst", "calls"]
    return markdown_table(header, [_tail(t) for t in calls if not t.engine.startswith("limit")])


def _tail(timing: Timing) -> list[str]:
    times = (
        timing.p10_us, timing.median_us, timing.p99_us, timing.p999_us, timing.worst_us
    )  # fmt: skip
    return [timing.name, *(f"{us:,.2f}" for us in times), f"{timing.n_calls:,}"]
