"""A certificate as text for the terminal: a block for the reference, one for each form."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from knowngood._text_table import text_table
from knowngood.report._numbers import NBSP

from . import _words as words
from ._record import Certificate, FormCertificate, PointCertificate

WIDTH = 100
_INDENT = " " * 11
_FLIPS = ("yield loss", "flips good", "flips def.", "rejected", "detected")
_ROUNDED = (*_FLIPS, "error near")
_VERIFIED = (*_FLIPS, "rescored", "expected", "band")
_LEGEND = (
    "flips     per 10,000 dies, verdicts that differ from the reference's, each at its own "
    "threshold, with exact 95 % bounds; kept: both at the reference's threshold; rejected, "
    "detected: of good and of defective dies; error near: score error within 10 % of the "
    "threshold, median ± robust sigma; rescored: good dies scored again in fp32, those with an "
    "int8 score in the band and those beyond a scale limit; expected: the same when the bands were "
    "calibrated; * unsupported operating point, not gated"
)


def certificate_table(certificate: Certificate, width: int = WIDTH) -> str:
    """What a certificate says; texts are wrapped at ``width`` columns, figures take up to 100."""
    return "\n".join(_lines(certificate, width))


def _lines(certificate: Certificate, width: int) -> Iterator[str]:
    outcome = "passed" if certificate.passed else "BREACHED"
    model = f", model {certificate.model_id[:12]}" if certificate.model_id else ""
    yield f"certificate  {outcome}{model}, dated {certificate.created}"
    yield from _wrapped("dies", words.dies(certificate), width)
    if certificate.dies_note:
        yield from _wrapped("from", certificate.dies_note, width)
    if certificate.weight_steps:
        yield from _wrapped("weights", words.weight_steps(certificate), width)
    for note in certificate.notes:
        yield from _wrapped("note", note, width)
    yield ""
    yield from _reference(certificate, width)
    for form in certificate.forms:
        yield ""
        yield from _form(form, certificate, width)
    yield ""
    yield from _wrap(_LEGEND, width, "", " " * 10)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    return _wrap(text, width, f"  {label:<9}", _INDENT)


def _wrap(text: str, width: int, first: str, others: str) -> list[str]:
    """Lines of at most ``width``; a number and its per cent sign stay on one."""
    glued = text.replace(" %", f"{NBSP}%").replace(" / ", f"{NBSP}/{NBSP}")
    lines = textwrap.wrap(glued, width, initial_indent=first, subsequent_indent=others)
    return [line.replace(NBSP, " ") for line in lines]


def _reference(certificate: Certificate, width: int) -> Iterator[str]:
    reference, classes = certificate.reference, words.classes(certificate)
    yield f"{reference.form}, the reference ({words.engine(reference)})"
    yield from _wrapped("score", words.float64_error(reference), width)
    header = ("yield loss", "rejected", *(c.replace("_", " ") for c in classes))
    rows = [
        [
            _yield_loss(point.fpr, point.supported),
            words.rejected(point.rejected),
            *(words.rejected(point.detection.get(c)) for c in classes),
        ]
        for point in reference.points
    ]
    yield _indented(text_table(header, rows))


def _form(form: FormCertificate, certificate: Certificate, width: int) -> Iterator[str]:
    of_other = form.model_id and form.model_id != certificate.model_id
    file = f"; file {form.model_id[:12]}" if of_other else ""
    yield f"{form.form} ({words.engine(form)}{file}): {words.outcome(form)}"
    yield from _wrapped("score", _score_text(form, certificate.default_fpr), width)
    header = _VERIFIED if form.precision == "verified" else _ROUNDED
    rows = [[*_flips(point), *_beside(point, certificate, form)] for point in form.points]
    yield _indented(text_table(header, rows))
    if any(point.threshold != point.threshold_refitted for point in form.points):
        yield from _wrapped("kept", _flips_unchanged(form), width)
    for breach in form.breaches:
        yield from _wrapped("breach", breach, width)


def _score_text(form: FormCertificate, default_fpr: float) -> str:
    error = form.error
    scores = words.scores_of(form, default_fpr)
    parts = [f"scores are {scores}"] if scores else []
    parts += [
        f"bias {words.signed_share(error.bias)}, spread {words.share(error.spread)}, "
        f"worst {words.share(error.worst)}",
        f"Spearman {words.correlation(form.spearman)}",
    ]
    if form.auc_change is not None:
        parts.append(f"ΔAUC {form.auc_change:+.1e}")
    if form.top5_overlap is not None:
        parts.append(f"top-5 overlap {words.share(form.top5_overlap)} of {form.n_overlap} dies")
    return "; ".join(parts)


def _flips(point: PointCertificate) -> Sequence[str]:
    return [
        _yield_loss(point.fpr, point.supported),
        words.flips(point.flips_good),
        words.flips(point.flips_defective),
        words.rejected(point.rejected),
        words.rejected(words.pooled(point.detection.values())),
    ]


def _beside(
    point: PointCertificate, certificate: Certificate, form: FormCertificate
) -> Sequence[str]:
    """Of "verified" what it rescored: its scores near the threshold are those of fp32."""
    if form.precision != "verified":
        return [words.near(point)]
    expected = words.expected_rescoring(certificate, point.fpr)
    return [words.rejected(point.rescored_good), words.share(expected), words.band(point)]


def _flips_unchanged(form: FormCertificate) -> str:
    told = (
        f"{words.flips_alone(p.flips_good_unchanged)} / "
        f"{words.flips_alone(p.flips_defective_unchanged)} at {_yield_loss(p.fpr, p.supported)}"
        for p in form.points
    )
    return f"flips good / def. at the reference's thresholds: {', '.join(told)}"


def _yield_loss(fpr: float, supported: bool) -> str:
    return f"{words.share(fpr)}{'' if supported else ' *'}"


def _indented(table: str) -> str:
    return textwrap.indent(table, "  ")
