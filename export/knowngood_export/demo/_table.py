"""The closing tables: what each file costs, how far it drifts, what it and the baselines find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knowngood._bench import Latency
from knowngood._manifest import Drift
from knowngood._text_table import text_table
from knowngood_quantize.yardstick import detection_at

from ..comparison import REFERENCE, Comparison
from ..export import ExportedForm
from ._lots import Planted

YIELD_LOSSES = (0.005, 0.02)
NAMES = {
    REFERENCE: "autoencoder (as trained, float64)",
    "pat": "PAT",
    "t2": "Hotelling T²",
    "pca": "PCA residual",
}
NOTE = """
model.kgd: fp32 and int8 in one file; here verified: int8, and fp32 for dies near the threshold
µs/die: whole job, raw values in → verdict out, median, one thread, by dies in a call
score error: relative to the trained network in float64 over good dies, median and worst
flips: verdicts per 10,000 dies that differ from those of the trained network
yield loss: of fresh good dies, at the threshold for a nominal 0.5 %; lots shift"""


def closing_tables(
    forms: Sequence[ExportedForm],
    engines: Mapping[str, str],
    latencies: Sequence[Latency],
    comparison: Comparison,
) -> str:
    """Size, latency and drift per file, of the form it is scored in; detection per file and
    baseline. ``engines`` are those that scored, by file."""
    return "\n\n".join([_forms(forms, engines, latencies, comparison), _detection(comparison)])


def _forms(
    forms: Sequence[ExportedForm],
    engines: Mapping[str, str],
    latencies: Sequence[Latency],
    comparison: Comparison,
) -> str:
    batches = sorted({item.batch for item in latencies})
    cost = {(item.contestant, item.batch): f"{item.us_per_die:.2f}" for item in latencies}
    header = ["file", "kB", "metadata aside", *(f"µs/die @{b}" for b in batches)]
    header += ["score error", "worst", "flips good", "flips bad", "yield loss"]
    rows = []
    for form in forms:
        name = form.path.name
        sizes = [f"{n / 1000:.0f}" for n in (form.n_bytes, form.n_bytes_graph)]
        rows.append(
            [f"{name} [{engines[name]}]", *sizes]
            + [cost.get((name, b), "–") for b in batches]
            + _drift_cells(comparison.drift[name])
            + [f"{comparison.yield_loss[name]:.2%}"]
        )
    return text_table(header, rows) + NOTE


def _drift_cells(drift: Drift) -> list[str]:
    flips = (drift.flips_good / drift.n_good, drift.flips_defective / drift.n_defective)
    return [
        f"{drift.error_median:.1e}",
        f"{drift.error_worst:.1e}",
        *(f"{10_000 * share:.1f}" for share in flips),
    ]


def _detection(comparison: Comparison) -> str:
    evaluation = comparison.evaluation
    defects = list(dict.fromkeys(c.defect for c in evaluation.curves))
    detectors = list(dict.fromkeys(c.detector for c in evaluation.curves))
    losses = " and ".join(f"{loss:.1%}" for loss in YIELD_LOSSES)
    header = [f"detected at {losses} yield loss", *(d.replace("_", " ") for d in defects)]
    rows = [
        [
            NAMES.get(name, name),
            *(
                " ".join(f"{detection_at(evaluation, name, d, y):6.1%}" for y in YIELD_LOSSES)
                for d in defects
            ),
        ]
        for name in detectors
    ]
    return text_table(header, rows) + f"\n{evaluation.how}; each detector at the same yield loss"


def found_of_planted(planted: Sequence[Planted]) -> str:
    """How many of the hidden dies each form flagged in the screened lots."""
    models = list(planted[0].flagged)
    rows = [[p.defect, str(p.n_dies), *(str(p.flagged[m]) for m in models)] for p in planted]
    return text_table(["hidden in the screened lots", "dies", *models], rows)
