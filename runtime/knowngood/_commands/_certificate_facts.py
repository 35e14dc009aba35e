"""What ``inspect`` tells of the certificate in a model file; ``knowngood certify`` shows all of it.

The reader of a file holds its certificate to be JSON and no more, so nothing is taken for granted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

CERTIFICATE_VERSION = 1


def certificate_facts(text: str) -> dict[str, Any] | None:
    """Verdict and flips of each form at the default operating point; None without a certificate."""
    if not text:
        return None
    try:
        return _facts(json.loads(text))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        return {"unreadable": "not a certificate that this version of knowngood knows"}


def _facts(data: dict[str, Any]) -> dict[str, Any]:
    if data["knowngood_certificate"] != CERTIFICATE_VERSION:
        raise ValueError("another version")
    return {
        "created": str(data["created"]),
        "model_id": str(data["model_id"]),
        "fpr": float(data["default_fpr"]),
        "forms": [_form(form, float(data["default_fpr"])) for form in data["forms"]],
    }


def _form(form: dict[str, Any], fpr: float) -> dict[str, Any]:
    (point,) = (point for point in form["points"] if point["fpr"] == fpr)
    rates = ("flips_good", "flips_defective", "rescored_good")
    return {
        "form": str(form["form"]),
        "supported": bool(point["supported"]),
        "is_gated": bool(form["is_gated"]),
        "breaches": [str(breach) for breach in form["breaches"]],
        **{name: _counted(point.get(name)) for name in rates},
    }


def _counted(rate: list[float] | None) -> dict[str, int] | None:
    return None if rate is None else {"count": int(rate[0]), "n": int(rate[1])}


def certificate_lines(facts: dict[str, Any] | None) -> Iterator[str]:
    """For the terminal, each beginning as the other lines of ``inspect`` do."""
    if facts is None:
        yield "  certificate none"
        return
    if "unreadable" in facts:
        yield f"  certificate {facts['unreadable']}"
        return
    at = f"at a yield loss of {facts['fpr']:.2%}"
    unsupported = any(not form["supported"] for form in facts["forms"])
    note = ", which too few dies support" if unsupported else ""
    yield f"  certificate {at}{note}; 'knowngood certify' shows all of it"
    if not facts["forms"]:
        yield "              nothing but fp32, the reference that every form is held against"
    for form in facts["forms"]:
        yield f"              {_describe(form)}"


def _describe(form: dict[str, Any]) -> str:
    told = [f"{_of(form[kind])} {name}" for kind, name in (
        ("flips_good", "good"), ("flips_defective", "defective")
    ) if form[kind] is not None]  # fmt: skip
    text = f"{form['form']}: verdicts other than fp32's: {', '.join(told)} dies"
    if form["rescored_good"] is not None:
        text += f"; {_of(form['rescored_good'])} good dies scored again in fp32"
    if form["breaches"]:
        text += "; breached: " + "; ".join(form["breaches"])
    return text


def _of(rate: dict[str, int]) -> str:
    return f"{rate['count']:,} of {rate['n']:,}"
