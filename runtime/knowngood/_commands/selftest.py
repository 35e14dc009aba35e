"""``knowngood selftest``: does this engine, on this machine, compute what the file says?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._printing import print_lines
from ._protocol import Command

if TYPE_CHECKING:
    from knowngood._golden import GoldenReconstruction, GoldenScore
    from knowngood._model_file import ModelFile


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .kgd, .onnx or .tflite")
    parser.add_argument(
        "--engine", metavar="NAME", help="native, reference, onnxruntime, litert or tflite"
    )
    parser.add_argument(
        "--cpu-path", metavar="NAME", help="kernels of the native engine; inspect MODEL lists them"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing; the exit code says it")


def _run(args: argparse.Namespace) -> int:
    from knowngood._model_file import read_model

    model = read_model(args.model)
    run = _behaviour if model.sealed is None else _golden
    facts = {"file": args.model, "kind": model.kind, "model_id": model.model_id}
    facts |= run(model, args.engine, args.cpu_path)
    if args.json:
        print(json.dumps(facts, allow_nan=False))
    elif not args.quiet:
        print_lines(_lines(facts))
    return 0 if facts["passed"] else 1


def _golden(model: ModelFile, name: str | None, cpu_path: str | None) -> dict[str, Any]:
    """Every golden die in every precision of the file, bit for bit."""
    from knowngood._golden import check_golden
    from knowngood.engines import JudgingEngine, open_engine

    engine = open_engine(model, name, cpu_path=cpu_path)
    report = check_golden(model, engine)
    return {
        "engine": report.engine,
        "cpu_path": engine.cpu_path if isinstance(engine, JudgingEngine) else None,
        "passed": report.is_equal,
        "golden": [_golden_facts(score) for score in report.scores],
        "reconstructions": [_reconstruction_facts(found) for found in report.reconstructions],
    }


def _golden_facts(score: GoldenScore) -> dict[str, Any]:
    return {
        "precision": score.precision,
        "die": score.die,
        "expected": [
            _describe(s, b) for s, b in zip(score.expected, score.expected_bits, strict=True)
        ],
        "found": _describe(score.found, score.found_bits),
        "passed": score.is_equal,
    }


def _reconstruction_facts(reconstruction: GoldenReconstruction) -> dict[str, Any]:
    return {
        "precision": reconstruction.precision,
        "expected": reconstruction.expected.hex(),
        "found": reconstruction.found.hex(),
        "passed": reconstruction.is_equal,
    }


def _describe(score: float, bits: int) -> str:
    return f"{score:.9g} (0x{bits:08X})"


def _behaviour(model: ModelFile, engine: str | None, cpu_path: str | None) -> dict[str, Any]:
    """Dies whose verdict is certain: a file without golden dies, an engine without fixed bits."""
    from knowngood._errors import ModelFileError
    from knowngood._opening import check_behaviour, open_scorer

    fpr = model.manifest.screen.default_fpr
    scorer = open_scorer(
        model, engine=engine, fpr=fpr, extrapolate=True, check=False, cpu_path=cpu_path
    )
    name = f"{scorer.engine_name} {scorer.engine_version}"
    try:
        check_behaviour(scorer)
    except ModelFileError as error:
        return {"engine": name, "passed": False, "behaviour": str(error)}
    behaviour = "a die at every centre is scored; one without data and one with an infinity are not"
    return {"engine": name, "passed": True, "behaviour": behaviour}


def _lines(facts: dict[str, Any]) -> Iterable[str]:
    outcome = "passed" if facts["passed"] else "FAILED"
    has_golden = "golden" in facts
    what = "self-test" if has_golden else "behaviour"
    note = "" if has_golden else " (this kind of file carries no golden dies)"
    path = f" {facts['cpu_path']}" if facts.get("cpu_path") else ""
    yield f"{facts['file']}: {what} {outcome}{note}, {facts['engine']}{path}"
    yield f"  model_id  {facts['model_id']}"
    if "behaviour" in facts:
        yield f"  {facts['behaviour']}"
    for score in facts.get("golden", ()):
        expected = " or ".join(score["expected"])
        outcome = "equal" if score["passed"] else f"FOUND {score['found']}"
        yield f"  {score['precision']:<8}  die {score['die']}: {expected}  {outcome}"
    for found in facts.get("reconstructions", ()):
        outcome = "equal" if found["passed"] else "DIFFERS"
        yield f"  {found['precision']:<8}  reconstruction of all dies  {outcome}"


command = Command(
    "selftest", "check that an engine computes what a model file says", _configure, _run
)
