"""``knowngood import``: a dense autoencoder made elsewhere, as a sealed file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowngood._commands._outputs import check_output
from knowngood._commands._printing import print_lines
from knowngood._commands._protocol import Command
from knowngood._errors import UsageError
from knowngood._text_table import text_table

from ._int8_options import add_int8_options, gates_of, recipe_of

if TYPE_CHECKING:
    from knowngood_export._trained import TrainedModel
    from knowngood_export.export import ExportReport

_HEADS = ("mse", "topk", "mahalanobis", "normalized")
_SEALED, _TRAINED = ".kgd", ".pt"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="FILE", help="a dense autoencoder: .onnx, .tflite, .h5 or .hdf5 of Keras"
    )
    parser.add_argument(
        "--good", nargs="+", required=True, metavar="INPUT",
        help="good dies it was not trained on: STDF (also .gz), CSV, Parquet, .npz, .npy",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE",
        help="model.kgd; or model.pt, which 'knowngood export' turns into every format",
    )  # fmt: skip
    parser.add_argument(
        "--scaler", choices=("identity", "fit"), default="identity",
        help="what FILE expects: values as they are (identity), or standardised ones (fit)",
    )  # fmt: skip
    parser.add_argument("--head", choices=_HEADS, default="mse", help="score head (mse)")
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="residuals of topk (5)")
    parser.add_argument("--good-if", metavar="EXPR", help="which dies are good: 'hard_bin == 1'")
    parser.add_argument("--no-trim", action="store_true", help="keep gross outliers among the good")
    parser.add_argument(
        "--precision", default="fp32,int8", metavar="LIST", help="of the .kgd: fp32,int8"
    )
    parser.add_argument(
        "--fpr", type=float, default=0.005, metavar="SHARE", help="default yield loss (0.005)"
    )
    add_int8_options(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def _run(args: argparse.Namespace) -> int:
    from knowngood_export._import import import_on_lots

    output = check_output(args.output, [args.model, *args.good])
    if output.suffix not in (_SEALED, _TRAINED):
        raise UsageError(f"cannot write {output}: name a file that ends in {_SEALED} or {_TRAINED}")
    _require_sealed_for_int8(args, output)
    trained = import_on_lots(
        args.model,
        args.good,
        scaler=args.scaler,
        head=args.head,
        k=args.top_k,
        fpr=args.fpr,
        good_if=args.good_if,
        trim=not args.no_trim,
    )
    report = _write(trained, output, args)
    if args.json:
        print(json.dumps(_record(trained, output, report), indent=2, allow_nan=False))
    elif not args.quiet:
        print_lines(_summary(trained, output, report))
    return 0


def _write(trained: TrainedModel, output: Path, args: argparse.Namespace) -> ExportReport | None:
    """Write the file; what there is to report of a sealed one."""
    from knowngood_export._trained import save_model
    from knowngood_export.export import seal_file

    if output.suffix == _TRAINED:
        save_model(output, trained)
        return None
    precision = tuple(name.strip().lower() for name in args.precision.split(",") if name.strip())
    return seal_file(
        trained,
        output,
        precision,
        recipe=recipe_of(args),
        gates=gates_of(args),
        fall_back=args.fallback,
    )


def _require_sealed_for_int8(args: argparse.Namespace, output: Path) -> None:
    """Refuse options about int8 for a file that has none yet; read those of a sealed one early."""
    if output.suffix == _SEALED:
        recipe_of(args), gates_of(args)
    elif args.recipe or args.gates or args.fallback:
        raise UsageError(
            f"--recipe, --gates and --fallback are for {_SEALED} files: give them to 'knowngood "
            f"export', which makes int8 of {output}"
        )


def _record(trained: TrainedModel, output: Path, report: ExportReport | None) -> dict[str, Any]:
    screen = trained.network.screen
    return {
        "output": str(output),
        "widths": list(trained.network.widths),
        "head": screen.head.kind,
        "n_fitted": trained.provenance.n_train,
        "n_held_out": trained.provenance.n_held_out,
        "dropped": trained.provenance.dropped,
        "hold_out": trained.provenance.hold_out,
        "operating_points": [
            {"fpr": p.fpr, "threshold": p.threshold, "supported": p.supported}
            for p in screen.operating_points
        ],
        "notes": list(trained.provenance.notes if report is None else report.notes),
        "export": None if report is None else report.to_json(),
    }


def _summary(trained: TrainedModel, output: Path, report: ExportReport | None) -> list[str]:
    network, provenance = trained.network, trained.provenance
    lines = [
        f"layers      {' → '.join(map(str, network.widths))}, head {network.screen.head.kind}",
        f"good dies   {provenance.n_train} for head and int8, {provenance.n_held_out} for "
        "thresholds",
    ]
    if provenance.dropped:
        dropped = ", ".join(f"{n} {reason}" for reason, n in provenance.dropped.items())
        lines.append(f"left out    {dropped}")
    lines += _points_in_words(trained)
    if report is not None:
        lines += [
            f"{form.form:<11} score error median {form.drift.error_median:.1e}, worst "
            f"{form.drift.error_worst:.1e}"
            for form in report.forms
        ]
    notes = provenance.notes if report is None else report.notes
    return [*lines, *(f"note        {note}" for note in notes), f"written     {output}"]


def _points_in_words(trained: TrainedModel) -> list[str]:
    rows = [
        (f"{p.fpr:.2%}", f"{p.threshold:.6g}", "" if p.supported else "too few dies, extrapolated")
        for p in trained.network.screen.operating_points
    ]
    return text_table(("yield loss", "threshold", ""), rows).splitlines()


command = Command(
    name="import",
    help="calibrate a dense autoencoder made elsewhere and seal it",
    configure=_configure,
    run=_run,
)
