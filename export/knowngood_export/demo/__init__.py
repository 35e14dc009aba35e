"""The whole job on lots made here: STDF → train → export → score → compare → report.

`run_demo` is the main path and reads from top to bottom; `_lots` makes the lots, `_table` the
closing table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import knowngood
from knowngood import Scorer
from knowngood._atomic import write_bytes
from knowngood._bench import Latency, made_up_dies, time_contestants
from knowngood._verdict_table import write_verdicts
from knowngood.report import write_report
from knowngood_quantize.certificate import certificate_page

from .. import synthetic
from .._fit import AutoencoderConfig
from .._trained import save_model
from .._training import TrainingRecipe
from .._training_summary import summarise
from ..comparison import Comparison, compare, fresh_dies
from ..export import ExportReport, export_trained
from ..train_lots import LotTrainingConfig, train_lots
from ._lots import Planted, make_lots
from ._table import closing_tables, found_of_planted

__all__ = ["DemoPlan", "DemoResult", "run_demo"]

BATCHES = (1, 64, 1000)
REPORTED = "model.kgd"
SECONDS_PER_TIMING = 0.5


@dataclass(frozen=True)
class DemoPlan:
    """How large the demonstration is; the defaults fit four minutes on two cores."""

    n_tests: int = 512
    n_training_lots: int = 10
    n_screened_lots: int = 2
    wafers_per_lot: int = 2
    dies_per_wafer: int = 600
    share_planted: float = 0.01
    n_fresh_good: int = 10_000
    n_fresh_defective: int = 2_500
    epochs: int | None = None
    seed: int = 2026

    @classmethod
    def quick(cls) -> DemoPlan:
        """A small one: shows the same path in seconds, with figures that mean little."""
        return cls(
            n_tests=64, n_training_lots=4, wafers_per_lot=1, dies_per_wafer=400,
            n_fresh_good=1000, n_fresh_defective=200, epochs=15,
        )  # fmt: skip


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Attributes:
        export: the files written.
        latencies: whole job, by file name and batch size.
        comparison: drift and detection on fresh dies.
        planted: defective dies hidden in the screened lots, and how many were flagged.
        tables: the closing tables as text.
    """

    export: ExportReport
    latencies: tuple[Latency, ...]
    comparison: Comparison
    planted: tuple[Planted, ...]
    tables: str


def run_demo(
    out: Path,
    plan: DemoPlan,
    say: Callable[[str], None],
    *,
    progress: bool = False,
) -> DemoResult:
    """Run the whole job into ``out``; ``say`` is given each line that a person should see."""
    process = synthetic.process(plan.n_tests, "tight", seed=plan.seed)
    say(f"1  lots        making {plan.n_training_lots + plan.n_screened_lots} lots of "
        f"{plan.n_tests} tests as STDF in {out / 'lots'}")  # fmt: skip
    lots = make_lots(process, out / "lots", plan)

    say("2  train       an autoencoder on the good dies of the training lots")
    recipe = TrainingRecipe(epochs=plan.epochs, seed=plan.seed)
    config = LotTrainingConfig(AutoencoderConfig(recipe=recipe))
    trained = train_lots(lots.training, config=config, progress=progress)
    save_model(out / "model.pt", trained)
    say(summarise(trained))

    say("3  export      sealed, ONNX and TFLite, fp32 and int8, each opened in its own engine")
    exported = export_trained(trained, out, progress=progress)
    _show_certificate(exported, out / "certificate.html", say)

    say("4  score       the screened lots with every file")
    scorers = {p.name: knowngood.load(p, extrapolate=True) for p in exported.paths}
    planted = _score_lots(scorers, lots.screened, lots.planted, out)

    say("5  compare     latency, drift and detection on fresh dies")
    latencies = _time(scorers)
    fresh = fresh_dies(process, plan.n_fresh_good, plan.n_fresh_defective, seed=plan.seed + 1)
    comparison = compare(trained, scorers, fresh)
    loaded = [f for f in exported.forms if f.precision == _layers(scorers[f.path.name])]
    engines = {name: f"{s.engine_name} {s.engine_version}" for name, s in scorers.items()}
    tables = closing_tables(loaded, engines, latencies, comparison)
    say("\n" + tables)
    say("\n" + found_of_planted(planted))

    write_report(out / "verdicts.csv", out / "report.html")
    say(f"\n6  report      {out / 'report.html'}")
    return DemoResult(exported, tuple(latencies), comparison, planted, tables)


def _show_certificate(exported: ExportReport, page: Path, say: Callable[[str], None]) -> None:
    if exported.certificate is not None:
        write_bytes(page, certificate_page(exported.certificate))
        say(f"               certified, with the plots in {page}")


def _layers(scorer: Scorer) -> str:
    """The precision that a file's dies go through; "verified" gives most of them to int8."""
    return "int8" if scorer.precision == "verified" else scorer.precision


def _score_lots(
    scorers: dict[str, Scorer], paths: list[Path], planted: tuple[Planted, ...], out: Path
) -> tuple[Planted, ...]:
    """Score with each file; the report is of the verdicts of the sealed one."""
    lots = [knowngood.read_lot(path) for path in paths]
    for name, scorer in scorers.items():
        results = [scorer.score_lot(lot) for lot in lots]
        table = out / f"verdicts.{name.removeprefix('model.')}.csv"
        write_verdicts(table, results, inputs=paths)
        if name == REPORTED:
            write_verdicts(out / "verdicts.csv", results, inputs=paths)
        planted = tuple(p.count_flagged(name, results) for p in planted)
    return planted


def _time(scorers: dict[str, Scorer]) -> list[Latency]:
    """Latency of the engines that are made for speed; the reference engine is a specification."""
    scorers = {name: s for name, s in scorers.items() if s.engine_name != "reference"}
    first = next(iter(scorers.values()))
    values = made_up_dies(first.screen, max(BATCHES))
    contestants = {name: scorer.score for name, scorer in scorers.items()}
    return time_contestants(contestants, values, BATCHES, seconds=SECONDS_PER_TIMING)
