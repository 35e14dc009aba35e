"""A certificate as text for the terminal: a block for the reference, one for each form."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from knowngood._text_table import text_table

from . import _words as words
from ._record import Certificate, FormCertificate, PointCertificate, ReferenceCertificate

WIDTH = 100
_INDENT = " " * 11
_HEADER = (
    "yield loss", "flips good /10k", "flips def. /10k", "rejected", "detected", "error near",
    "rescored",
)  # fmt: skip
_LEGEND = (
    "flips     verdicts that differ from the reference's, each at its own threshold, with exact "
    "95 % bounds; rejected, detected: of good and of defective dies; error near: score error "
    "within 10 % of the threshold, median ± robust sigma; * unsupported operating point, not gated"
)


def certificate_table(certificate: Certificate, width: int = WIDTH) -> str:
    """What a certificate says; texts are wrapped at ``width`` columns, figures take up to 100."""
    return "\n".join(_lines(certificate, width))


def _lines(certificate: Certificate, width: int) -> Iterator[str]:
    outcome = "passed" if certificate.passed else "BREACHED"
    model = f", model {certificate.model_id[:12]}" if certificate.model_id else ""
    yield f"certificate  {outcome}{model}, made {certificate.created}"
    yield from _wrapped("dies", words.dies(certificate), width)
    if certificate.dies_note:
        yield from _wrapped("from", certificate.dies_note, width)
    for note in certificate.notes:
        yield from _wrapped("note", note, width)
    yield ""
    yield from _reference(certificate.reference, width)
    for form in certificate.forms:
        yield ""
        yield from _form(form, width)
    yield ""
    yield from textwrap.wrap(_LEGEND, width, subsequent_indent=" " * 10)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    start = f"  {label:<9}"
    return textwrap.wrap(text, width, initial_indent=start, subsequent_indent=_INDENT)


def _reference(reference: ReferenceCertificate, width: int) -> Iterator[str]:
    yield f"{reference.form}, the reference ({words.engine(reference)})"
    yield from _wrapped("score", words.float64_error(reference), width)
    classes = list(reference.points[0].detection) if reference.points else []
    header = ("yield loss", "rejected", *(c.replace("_", " ") for c in classes))
    rows = [
        [
            _yield_loss(point.fpr, point.supported),
            words.rejected(point.rejected),
            *(words.rejected(point.detection[c]) for c in classes),
        ]
        for point in reference.points
    ]
    yield _indented(text_table(header, rows))


def _form(form: FormCertificate, width: int) -> Iterator[str]:
    yield f"{form.form} ({words.engine(form)}): {words.outcome(form)}"
    yield from _wrapped("score", _score_text(form), width)
    is_verified = any(p.rescored_good is not None for p in form.points)
    n_columns = len(_HEADER) if is_verified else len(_HEADER) - 1
    rows = [_row(point)[:n_columns] for point in form.points]
    yield _indented(text_table(_HEADER[:n_columns], rows))
    for breach in form.breaches:
        yield from _wrapped("breach", breach, width)


def _score_text(form: FormCertificate) -> str:
    error = form.error
    parts = [
        f"bias {words.signed_share(error.bias)}, spread {words.share(error.spread)}, "
        f"worst {words.share(error.worst)}",
        f"Spearman {words.correlation(form.spearman)}",
    ]
    if form.auc_change is not None:
        parts.append(f"ΔAUC {form.auc_change:+.1e}")
    if form.top5_overlap is not None:
        parts.append(f"top-5 overlap {words.share(form.top5_overlap)} of {form.n_overlap} dies")
    return "; ".join(parts)


def _row(point: PointCertificate) -> Sequence[str]:
    return [
        _yield_loss(point.fpr, point.supported),
        words.flips(point.flips_good),
        words.flips(point.flips_defective),
        words.rejected(point.rejected),
        words.rejected(words.pooled(point.detection.values())),
        words.near(point),
        words.rejected(point.rescored_good),
    ]


def _yield_loss(fpr: float, supported: bool) -> str:
    return f"{words.share(fpr)}{'' if supported else ' *'}"


def _indented(table: str) -> str:
    return textwrap.indent(table, "  ")
