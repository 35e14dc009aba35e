"""``knowngood inspect``: what a model file or a lot says of itself."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from knowngood._errors import InputError
from knowngood._head_table import head_choice_lines

from ._certificate_facts import certificate_facts, certificate_lines
from ._printing import print_lines
from ._protocol import Command
from ._sealed_facts import sealed_facts, sealed_lines

if TYPE_CHECKING:
    from knowngood._model_file import ModelFile

_MODEL_SUFFIXES = {".onnx", ".tflite", ".kgd", ".pt"}
_STDF_SUFFIXES = {".stdf", ".std"}


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a model (.kgd, .onnx, .tflite) or a lot")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(args: argparse.Namespace) -> int:
    path = Path(args.file)
    is_model = path.suffix.lower() in _MODEL_SUFFIXES or _holds_model(path)
    facts = _model_facts(path) if is_model else _lot_facts(path)
    if args.json:
        print(json.dumps(facts, allow_nan=False))
    else:
        print_lines(_model_lines(facts) if is_model else _lot_lines(facts))
    return 0


def _holds_model(path: Path) -> bool:
    """A lot's name decides for a lot, so that its reader says what else the file holds."""
    from knowngood._model_file import holds_model
    from knowngood._read_lot import is_named_like_lot

    return path.is_file() and not is_named_like_lot(path) and holds_model(path)


def _model_facts(path: Path) -> dict[str, Any]:
    from knowngood._model_file import read_model
    from knowngood.engines import engines_for, why_not_here

    model = read_model(path)
    engines = engines_for(model.kind)
    manifest, screen = model.manifest, model.manifest.screen
    return {
        "file": str(path),
        "kind": model.kind,
        "bytes": len(model.data),
        "sha256": model.digest,
        "model_id": model.model_id,
        "detector": manifest.detector,
        "precision": manifest.precision,
        "precisions": list(model.precisions),
        "certificate": certificate_facts(manifest.certificate),
        "widths": list(manifest.widths),
        "engines": list(engines),
        "engines_missing": {name: why for name in engines if (why := why_not_here(name))},
        "schema_digest": screen.schema.digest,
        "schema": screen.schema.to_json(),
        "groups": screen.scaler.groups[1:].tolist(),
        "head": {
            "kind": screen.head.kind,
            "k": screen.head.k,
            "min_present": screen.head.min_present,
        },
        "default_fpr": screen.default_fpr,
        "operating_points": [asdict(point) for point in screen.operating_points],
        **_history(model),
        **({} if model.sealed is None else sealed_facts(model, model.sealed)),
    }


def _history(model: ModelFile) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "drift": [asdict(drift) for drift in manifest.drift],
        "evaluation": asdict(manifest.evaluation),
        "provenance": asdict(manifest.provenance),
    }


def _model_lines(facts: dict[str, Any]) -> Iterable[str]:
    schema, head = facts["schema"], facts["head"]
    purpose = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in schema["purpose"].items() if v)
    yield f"{facts['file']}: {_describe_form(facts)}"
    yield f"  size        {facts['bytes']:,} bytes, sha256 {facts['sha256']}"
    if facts["kind"] == "kgd":
        yield f"  model_id    {facts['model_id']}"
        yield f"  precisions  {', '.join(facts['precisions'])}"
    yield from _engine_lines(facts["engines"], facts["engines_missing"])
    yield f"  widths      {'-'.join(str(width) for width in facts['widths'])}"
    yield f"  tests       {len(schema['tests'])}, schema {facts['schema_digest'][:12]}"
    yield f"  made for    {purpose or 'not said'}"
    yield f"  head        {head['kind']}{_describe_k(head)}, {head['min_present']} tests needed"
    yield f"  groups      {len(facts['groups']) or 'one scaler for all sites'}"
    precision = f"{facts['precision']} " if len(facts["precisions"]) > 1 else ""
    for point in facts["operating_points"]:
        yield f"  yield loss  {precision}{_describe_point(point, facts['default_fpr'])}"
    if facts["kind"] == "kgd":
        yield from sealed_lines(facts)
    yield from _head_lines(facts["evaluation"]["head_choice"])
    yield from certificate_lines(facts["certificate"])
    yield from _provenance_lines(facts["provenance"])
    for drift in facts["drift"]:
        yield _describe_drift(drift)


def _describe_form(facts: dict[str, Any]) -> str:
    if facts["kind"] == "kgd":
        return f"{facts['detector']}, .kgd ({', '.join(facts['precisions'])})"
    return f"{facts['detector']} {facts['precision']}, .{facts['kind']}"


def _engine_lines(engines: list[str], missing: dict[str, str]) -> Iterable[str]:
    here = ", ".join(name for name in engines if name not in missing)
    yield f"  engines     {here or 'none that runs it on this machine'}"
    for name, why in missing.items():
        yield f"              {name} {why}"


def _describe_k(head: dict[str, Any]) -> str:
    return f" (k = {head['k']})" if head["k"] else ""


def _describe_point(point: dict[str, Any], default_fpr: float) -> str:
    is_default = np.isclose(point["fpr"], default_fpr)
    marks = [] if point["supported"] else ["unsupported"]
    marks += ["default"] if is_default else []
    if is_default and not point["supported"]:
        marks[-1] += (
            ": refused unless asked for by extrapolate=True (--extrapolate); or fpr= (--fpr)"
        )
    return (
        f"{point['fpr']:7.2%}: score ≤ {point['threshold']:.6g} passes "
        f"({point['low']:.4g} to {point['high']:.4g}, {point['n_dies']:,} dies)"
        + (f" — {', '.join(marks)}" if marks else "")
    )


def _head_lines(choice: dict[str, Any]) -> Iterable[str]:
    for number, line in enumerate(head_choice_lines(choice)):
        yield f"  {'' if number else 'head is':<12}{line}"


def _provenance_lines(provenance: dict[str, Any]) -> Iterable[str]:
    if provenance["created"]:
        yield f"  trained     {provenance['created']}, seed {provenance['seed']}"
    if provenance["n_train"]:
        held_out = f"{provenance['n_held_out']:,} held out"
        yield f"  good dies   {provenance['n_train']:,} trained on, {held_out}"
    if provenance["dropped"]:
        dropped = ", ".join(f"{n:,} {reason}" for reason, n in provenance["dropped"].items())
        yield f"  left out    {dropped}"
    if provenance["hold_out"]:
        yield f"  held out    {provenance['hold_out']}"
    for source in provenance["sources"]:
        yield f"  lot         {source['name']} ({source['n_dies']:,} dies, {source['sha256'][:12]})"
    for note in provenance["notes"]:
        yield f"  note        {note}"


def _describe_drift(drift: dict[str, Any]) -> str:
    return (
        f"  against fp32 {drift['form']}: score error median {drift['error_median']:.2g}, "
        f"worst {drift['error_worst']:.2g}; flips {drift['flips_good']} of {drift['n_good']:,} "
        f"good, {drift['flips_defective']} of {drift['n_defective']:,} defective dies"
    )


def _lot_facts(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"there is no file {path}")
    _refuse_certificate(path)
    names = [suffix.lower() for suffix in path.suffixes[-2:]]
    return _stdf_facts(path) if _STDF_SUFFIXES & set(names) else _table_facts(path)


def _refuse_certificate(path: Path) -> None:
    """A certificate lies beside the model files of an export."""
    is_json = path.suffix.lower() == ".json" and path.is_file()
    if is_json and b'"knowngood_certificate"' in path.read_bytes():
        raise InputError(f"{path} is a certificate: 'knowngood certify {path}' shows it")


def _stdf_facts(path: Path) -> dict[str, Any]:
    from knowngood.stdf import summarise

    summary = summarise(path)
    return {
        "file": str(path),
        "kind": summary.facts.kind,
        "lots": list(summary.lots),
        "wafers": list(summary.wafers),
        "dies": summary.n_dies,
        "fails": summary.n_fails,
        "dies_without_data": summary.n_dies_without_data,
        "tests": summary.schema.n_tests,
        "results": summary.n_results,
        "sites": [list(site) for site in summary.sites],
        "purpose": asdict(summary.schema.purpose),
        "byte_order": summary.facts.byte_order,
        "tester": summary.facts.tester,
        "records": summary.facts.records,
        "odd": list(summary.facts.odd),
    }


def _table_facts(path: Path) -> dict[str, Any]:
    from knowngood._read_lot import read_lot

    lot = read_lot(path)
    present = ~np.isnan(lot.values)
    sites = sorted(set(zip(lot.dies.head.tolist(), lot.dies.site.tolist(), strict=True)))
    return {
        "file": str(path),
        "kind": lot.facts.kind,
        "lots": list(dict.fromkeys(lot.dies.lot.tolist())),
        "wafers": list(dict.fromkeys(lot.dies.wafer.tolist())),
        "dies": len(lot.dies),
        "fails": int(np.count_nonzero(lot.dies.tester_pass == 0)),
        "dies_without_data": int(np.count_nonzero(~present.any(axis=1))),
        "tests": lot.schema.n_tests,
        "results": int(np.count_nonzero(present)),
        "sites": [list(site) for site in sites],
        "purpose": asdict(lot.schema.purpose),
        "byte_order": lot.facts.byte_order,
        "tester": lot.facts.tester,
        "records": lot.facts.records,
        "odd": list(lot.facts.odd),
    }


def _lot_lines(facts: dict[str, Any]) -> Iterable[str]:
    purpose = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in facts["purpose"].items() if v)
    yield f"{facts['file']}: a lot as {facts['kind'] or 'a table'}"
    yield f"  dies        {facts['dies']:,}, {facts['fails']:,} failed at the tester"
    if facts["dies_without_data"]:
        yield f"              {facts['dies_without_data']:,} without a single result"
    yield f"  tests       {facts['tests']:,}, {facts['results']:,} results"
    yield f"  lots        {_shorten(facts['lots'])}"
    yield f"  wafers      {_shorten(facts['wafers'])}"
    yield f"  sites       {len(facts['sites'])}"
    for name, value in (
        ("tested as", purpose),
        ("byte order", facts["byte_order"]),
        ("tester", facts["tester"]),
        ("records", ", ".join(f"{k} {n:,}" for k, n in facts["records"].items())),
    ):
        if value:
            yield f"  {name:<11} {value}"
    for odd in facts["odd"]:
        yield f"  odd         {odd}"


def _shorten(names: list[str]) -> str:
    known = [name for name in names if name]
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return ", ".join(known[:8]) + more or "not said"


command = Command("inspect", "say what a model file or a lot holds", _configure, _run)
