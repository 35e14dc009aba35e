"""``knowngood certify``: what a form changed of fp32's verdicts, on any dies and engine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowngood._commands._outputs import check_output
from knowngood._commands._printing import print_lines
from knowngood._commands._protocol import Command
from knowngood._errors import InputError, UsageError

if TYPE_CHECKING:
    from knowngood import Scorer
    from knowngood._model_file import ModelFile
    from knowngood._sealed import SealedModel
    from knowngood_quantize.certificate import Certificate, CertificateGates, Circumstances

_PAGE_SUFFIXES = (".html", ".htm")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a .kgd, .onnx or .tflite of knowngood export; without --good also a certificate.json",
    )
    lots = ".stdf/.std[.gz], .csv, .parquet, .npz"
    parser.add_argument(
        "--good",
        metavar="INPUT",
        nargs="+",
        action="extend",
        default=[],
        help=f"lots of good dies ({lots}); without any, show the certificate in MODEL",
    )
    parser.add_argument(
        "--defects",
        metavar="INPUT",
        nargs="+",
        action="extend",
        default=[],
        help="lots of defective dies, each file a class; without any, defects are injected",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the certificate, .json")
    parser.add_argument("--html", metavar="FILE", help="write it as a page with plots, .html")
    parser.add_argument(
        "--reference", metavar="FILE", help="fp32 to compare with; a .kgd holds its own"
    )
    parser.add_argument(
        "--engine", metavar="NAME", help="of MODEL: native, reference, onnxruntime, litert, tflite"
    )
    parser.add_argument(
        "--cpu-path", metavar="NAME", help="kernels of the native engine; inspect MODEL lists them"
    )
    parser.add_argument(
        "--precision", metavar="P", help="of a .kgd: verified, int8 or fp32; all by default"
    )
    parser.add_argument(
        "--good-if", metavar="EXPR", help="which dies the tester passed: 'hard_bin == 1'"
    )
    parser.add_argument("--gates", metavar="FILE", help="limits, as JSON; see docs/certificate.md")
    parser.add_argument("--json", action="store_true", help="print the certificate as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing; the exit code says it")


def _run(args: argparse.Namespace) -> int:
    outputs = _outputs(args)
    certificate = _certify(args) if args.good else _carried(args)
    _write(certificate, outputs)
    _print(certificate, args, outputs)
    return 0 if certificate.passed else 1


@dataclass(frozen=True)
class _Outputs:
    """Files to write, checked before the work; None where not asked for."""

    certificate: Path | None
    page: Path | None


def _outputs(args: argparse.Namespace) -> _Outputs:
    sources = [args.model, *args.good, *args.defects, *filter(None, [args.reference, args.gates])]
    certificate = check_output(args.output, sources) if args.output else None
    page = check_output(args.html, sources) if args.html else None
    if certificate and certificate.suffix.lower() != ".json":
        raise UsageError(f"{certificate}: a certificate is written as .json, by its name")
    if page and page.suffix.lower() not in _PAGE_SUFFIXES:
        raise UsageError(f"{page}: a page is written as .html, by its name")
    return _Outputs(certificate, page)


def _write(certificate: Certificate, outputs: _Outputs) -> None:
    from knowngood._atomic import write_together

    files = {}
    if outputs.certificate:
        files[outputs.certificate] = certificate.to_json().encode() + b"\n"
    if outputs.page:
        from knowngood_quantize.certificate import certificate_page

        files[outputs.page] = certificate_page(certificate)
    write_together(files)


def _print(certificate: Certificate, args: argparse.Namespace, outputs: _Outputs) -> None:
    from knowngood_quantize.certificate import certificate_table

    if args.json:
        print(certificate.to_json())
    elif not args.quiet:
        written = [str(path) for path in (outputs.certificate, outputs.page) if path]
        print_lines(certificate_table(certificate).splitlines())
        if written:
            print(f"written   {', '.join(written)}")


def _carried(args: argparse.Namespace) -> Certificate:
    """The certificate that a model file, or a certificate.json, holds."""
    from knowngood_quantize.certificate import Certificate

    _refuse_without_good(args)
    path = Path(args.model)
    if path.suffix.lower() == ".json":
        try:
            return Certificate.from_json(path.read_bytes())
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    from knowngood._model_file import read_model

    text = read_model(path).manifest.certificate
    if not text:
        raise UsageError(
            f"{path} carries no certificate: name good dies (--good INPUT...) to make one"
        )
    return Certificate.from_json(text)


def _refuse_without_good(args: argparse.Namespace) -> None:
    names = ("defects", "reference", "engine", "cpu_path", "precision", "good_if", "gates")
    given = [f"--{n.replace('_', '-')}" for n in names if getattr(args, n)]
    if given:
        raise UsageError(
            f"{', '.join(given)} without --good: without good dies nothing is measured, and the "
            "certificate that MODEL carries is shown as it is"
        )


def _certify(args: argparse.Namespace) -> Certificate:
    from knowngood._model_file import read_model
    from knowngood_quantize.certificate import certify_scorers
    from knowngood_quantize.certificate._doubts import require_same_model
    from knowngood_quantize.certificate._from_lots import dies_from_lots

    gates = _gates(args.gates)
    model = read_model(args.model)
    reference = _reference(model, args.reference)
    require_same_model(reference._model, model)
    forms = dict(_forms(model, reference, args))
    dies, notes = dies_from_lots(reference.schema, args.good, args.defects, good_if=args.good_if)
    known = _known_before(model)
    certificate = certify_scorers(
        reference,
        forms,
        dies,
        gates=gates,
        circumstances=replace(known, notes=notes, not_gated=_not_gated(forms, args)),
        progress=_progress(args),
    )
    named = (replace(f, model_id=forms[f.form].model_id) for f in certificate.forms)
    return _doubted(replace(certificate, forms=tuple(named)), model, args)


def _doubted(certificate: Certificate, model: ModelFile, args: argparse.Namespace) -> Certificate:
    """With notes on dies that prove little; refused where they are too few."""
    from knowngood_quantize.certificate._doubts import doubts, require_enough_dies

    require_enough_dies(certificate)
    sources = model.manifest.provenance.sources
    told = doubts(certificate, sources, [*args.good, *args.defects])
    return replace(certificate, notes=(*told, *certificate.notes))


def _gates(path: str | None) -> CertificateGates:
    from knowngood_quantize.certificate import DEFAULT_GATES, CertificateGates

    return DEFAULT_GATES if path is None else CertificateGates.read(path)


def _reference(model: ModelFile, path: str | None) -> Scorer:
    """fp32 in its own engine: of a ``.kgd`` the native one, or NumPy's, which has the same bits."""
    from knowngood._model_file import read_model
    from knowngood._opening import open_scorer
    from knowngood.engines import why_not_here

    source = model if path is None else read_model(path)
    if "fp32" not in source.precisions:
        raise UsageError(
            f"{source.path} holds {', '.join(source.precisions)} and no fp32 to compare with: name "
            "the .kgd that was exported with it (--reference model.kgd)"
        )
    is_bare = source.kind == "kgd" and why_not_here("native") is not None
    engine = "reference" if is_bare else None
    return open_scorer(source, engine=engine, precision="fp32", extrapolate=True)


def _forms(
    model: ModelFile, reference: Scorer, args: argparse.Namespace
) -> Iterator[tuple[str, Scorer]]:
    """Each precision of MODEL in the engine asked for, but for the reference itself."""
    from knowngood._opening import open_scorer

    asked = (args.precision,) if args.precision else model.precisions
    opened = [
        open_scorer(
            model, engine=args.engine, precision=p, extrapolate=True, cpu_path=args.cpu_path
        )
        for p in asked
    ]
    forms = [s for s in opened if _runs(s) != _runs(reference)]
    if not forms:
        raise UsageError(
            f"{model.path} holds nothing but the reference, fp32 in {reference.engine_name}: "
            f"{_other_than_reference(model)}"
        )
    for scorer in forms:
        yield f"{model.kind} {scorer.precision}", scorer


def _other_than_reference(model: ModelFile) -> str:
    if model.kind == "kgd":
        return "name another engine or other kernels (--engine, --cpu-path)"
    return (
        "name the .kgd that was exported with it (--reference model.kgd), or another engine "
        "(--engine)"
    )


def _runs(scorer: Scorer) -> tuple[str | None, ...]:
    """What decides a scorer's scores and how they are computed."""
    return scorer.model_id, scorer.precision, scorer.engine_name, scorer.cpu_path


def _not_gated(forms: Mapping[str, Scorer], args: argparse.Namespace) -> tuple[str, ...]:
    """Plain int8 beside the verified verdicts that its file gives unless told otherwise.

    A precision that is asked for is gated: it is the one whose verdicts are to be relied upon.
    """
    if args.precision:
        return ()
    return tuple(
        n for n, s in forms.items() if s.precision == "int8" and "verified" in s.precisions
    )


def _known_before(model: ModelFile) -> Circumstances:
    """Recipe and bands are not measured again: the file's own certificate tells them.

    So it does of a graph's weights, which only its engine knows; those of a ``.kgd`` are counted.
    """
    from knowngood_quantize.certificate import Certificate, Circumstances

    text = model.manifest.certificate
    known = Circumstances()
    if text:
        carried = Certificate.from_json(text)
        known = Circumstances(
            recipe=carried.recipe,
            band_evidence=carried.band_evidence,
            weight_steps=carried.weight_steps,
        )
    return known if model.sealed is None else replace(known, weight_steps=_steps_in(model.sealed))


def _steps_in(sealed: SealedModel) -> tuple[float, ...]:
    from knowngood_quantize.int8 import steps_of_layers

    return () if sealed.int8 is None else steps_of_layers(sealed.int8)


def _progress(args: argparse.Namespace) -> Any:
    is_shown = sys.stderr.isatty() and not (args.quiet or args.json)

    def show(form: str) -> None:
        if is_shown:
            print(f"scoring {form} …", file=sys.stderr)

    return show


command = Command(
    "certify",
    "measure what int8, a format or an engine changed of fp32's verdicts",
    _configure,
    _run,
)
