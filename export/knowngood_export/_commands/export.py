"""``knowngood export``: a trained model as sealed, ONNX and TFLite files, fp32 and int8."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from knowngood._commands._protocol import Command
from knowngood._text_table import text_table

from ._int8_options import add_int8_options, gates_of, recipe_of

if TYPE_CHECKING:
    from knowngood_export.export import ExportedForm, ExportReport
    from knowngood_quantize.certificate import Certificate, FormCertificate

CERTIFICATE_NAME = "certificate.json"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.pt", help="what 'knowngood train' wrote")
    parser.add_argument("-o", "--out", required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--formats", type=_names, default="kgd,onnx,tflite", metavar="LIST", help="kgd,onnx,tflite"
    )
    parser.add_argument(
        "--precision",
        type=_names,
        default="fp32,int8",
        metavar="LIST",
        help="fp32,int8; as TFLite also int16x8,int8-full",
    )
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also write the classical screens: pat.kgd, t2.kgd, pca.kgd",
    )
    parser.add_argument(
        "--fpr",
        type=float,
        metavar="SHARE",
        help="yield loss the files score at unless told otherwise (the model's own)",
    )
    add_int8_options(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _run(args: argparse.Namespace) -> int:
    from knowngood_export._trained import load_model
    from knowngood_export.export import export_trained

    report = export_trained(
        load_model(args.model),
        args.out,
        args.formats,
        args.precision,
        args.fpr,
        baselines=args.baselines,
        recipe=recipe_of(args),
        gates=gates_of(args),
        fall_back=args.fallback,
        progress=not (args.quiet or args.json),
    )
    if args.json:
        print(json.dumps(report.to_json(), indent=2))
    elif not args.quiet:
        print(_table(report))
    return 0


def _table(report: ExportReport) -> str:
    header = ("form", "kB", "seconds", "score error", "worst", "flips good", "flips bad")
    rows = [_row(form) for form in report.forms]
    lines = [text_table(header, rows)]
    if report.certificate is not None:
        lines.append(_certified(report.certificate, report.forms[0].path.parent))
    lines += [f"note: {note}" for note in report.notes]
    lines.append(f"written to {report.forms[0].path.parent}")
    return "\n".join(lines)


def _certified(certificate: Certificate, folder: Path) -> str:
    names = [form.form + _rescored(form, certificate.default_fpr) for form in certificate.forms]
    passed = f"passed by {', '.join(names)}" if names else "of fp32 alone"
    return f"certificate {passed}; 'knowngood certify {folder / CERTIFICATE_NAME}' shows it"


def _rescored(form: FormCertificate, fpr: float) -> str:
    rescored = form.point(fpr).rescored_good
    return "" if rescored is None else f" ({rescored.share:.2%} of good dies scored again in fp32)"


def _row(form: ExportedForm) -> list[str]:
    drift = form.drift
    return [
        f"{form.form} in {form.path.name}",
        f"{form.n_bytes / 1000:,.0f}",
        f"{form.conversion_s:.2f}",
        f"{drift.error_median:.1e}",
        f"{drift.error_worst:.1e}",
        f"{drift.flips_good} of {drift.n_good}",
        f"{drift.flips_defective} of {drift.n_defective}",
    ]


command = Command(
    name="export",
    help="write a trained model as sealed, ONNX and TFLite files, fp32 and int8",
    configure=_configure,
    run=_run,
)
