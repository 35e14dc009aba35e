"""``knowngood score``: lots in, one verdict table out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._outputs import check_output
from ._protocol import Command

if TYPE_CHECKING:
    from knowngood._judge import LotResult
    from knowngood._scorer import Scorer


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a .kgd, .onnx or .tflite of knowngood export"
    )
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="lots: .stdf/.std[.gz], .csv, .parquet, .npz"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the verdict table, .csv or .parquet"
    )
    parser.add_argument(
        "--fpr", type=float, metavar="F", help="operating point: yield loss on good dies, 0.005"
    )
    parser.add_argument(
        "--extrapolate", action="store_true", help="take a threshold that too few dies support"
    )
    parser.add_argument(
        "--engine", metavar="NAME", help="native, reference, onnxruntime, litert or tflite"
    )
    parser.add_argument(
        "--cpu-path", metavar="NAME", help="kernels of the native engine; inspect MODEL lists them"
    )
    parser.add_argument(
        "--precision",
        metavar="P",
        help="of a .kgd that has several: verified, int8 or fp32; the first of these by default",
    )
    parser.add_argument(
        "--score-fails", action="store_true", help="score dies that failed at the tester too"
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse other limits, program or revision"
    )
    parser.add_argument(
        "--allow-absent", action="store_true", help="count tests that a lot lacks as missing"
    )
    parser.add_argument(
        "--good-if", metavar="EXPR", help="which dies the tester passed: 'hard_bin == 1'"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def _run(args: argparse.Namespace) -> int:
    from knowngood._opening import load
    from knowngood._verdict_table import check_suffix, write_verdicts

    check_suffix(args.output)
    check_output(args.output, [args.model, *args.inputs])
    scorer = load(
        args.model,
        engine=args.engine,
        precision=args.precision,
        fpr=args.fpr,
        extrapolate=args.extrapolate,
        cpu_path=args.cpu_path,
    )
    results = [_score_one(scorer, path, args) for path in args.inputs]
    record = write_verdicts(args.output, results, inputs=args.inputs, good_if=args.good_if)
    if args.json:
        print(json.dumps({"output": args.output, **record}, allow_nan=False))
    elif not args.quiet:
        print(_summarise(scorer, results, args.output))
    return 0


def _score_one(scorer: Scorer, path: str, args: argparse.Namespace) -> LotResult:
    from knowngood._errors import SchemaMismatchError
    from knowngood._read_lot import read_lot

    lot = read_lot(path, good_if=args.good_if)
    try:
        return scorer.score_lot(
            lot,
            score_fails=args.score_fails,
            strict=args.strict,
            allow_absent=args.allow_absent,
        )
    except SchemaMismatchError as error:
        raise SchemaMismatchError(f"{path} and {scorer.path}: {error}") from error


def _summarise(scorer: Scorer, results: Sequence[LotResult], output: str) -> str:
    from knowngood._judge import tally

    counts = tally(results)
    lines = [
        f"model     {scorer.path} ({scorer.manifest.detector} {scorer.precision}, "
        f"{_describe_engine(scorer)}, {scorer.model_id[:12]})",
        f"passes    score ≤ {scorer.threshold:.6g}, nominal yield loss {scorer.fpr:.2%}",
        f"dies      {counts['dies']:,} in {len(results)} "
        f"{'lot' if len(results) == 1 else 'lots'}: {_list_counts(counts['dispositions'])}",
    ]
    if counts["reasons"]:
        lines.append(f"unscored  {_list_counts(counts['reasons'])}")
    lines.append(f"yield     {_describe_yield(counts)}")
    warnings = dict.fromkeys(w for result in results for w in result.warnings)
    lines += [f"warning   {warning}" for warning in warnings]
    for result in results:
        source = Path(result.lot.facts.source).name
        lines += [f"odd       {source}: {odd}" for odd in result.lot.facts.odd]
    lines.append(f"written   {output}, {output}.run.json")
    return "\n".join(lines)


def _describe_engine(scorer: Scorer) -> str:
    path = f" {scorer.cpu_path}" if scorer.cpu_path else ""
    return f"{scorer.engine_name} {scorer.engine_version}{path}"


def _list_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)


def _describe_yield(counts: dict[str, Any]) -> str:
    if counts["yield_loss"] is None:
        return "no die was judged"
    judged = [place for place in counts["by_lot_site"] if place["judged"]]
    text = f"loss {counts['yield_loss']:.2%} of the dies judged"
    if len(judged) < 2:
        return text
    worst = max(judged, key=lambda place: place["yield_loss"])
    return (
        f"{text}; most at lot {worst['lot'] or '?'} head {worst['head']} site {worst['site']}: "
        f"{worst['yield_loss']:.2%} of {worst['judged']}"
    )


command = Command("score", "give every die of one or more lots a verdict", _configure, _run)
