"""A certificate as one HTML page that needs nothing else: tables, charts, digests, recipe."""

from __future__ import annotations

import json
from importlib import resources

import knowngood.report
from knowngood._extras import require
from knowngood.report._numbers import significant, when

from . import _figures
from . import _words as words
from ._fields_json import pack
from ._record import Certificate


def certificate_page(certificate: Certificate) -> bytes:
    """The page, UTF-8.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    needed_for = "the certificate's page"
    jinja2 = require("jinja2", extra="report", needed_for=needed_for)
    require("matplotlib", extra="report", needed_for=needed_for)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(when=when, significant=significant)
    template = environment.from_string(_text(__package__, "page.html.j2"))
    page: str = template.render(
        certificate=certificate,
        words=words,
        classes=words.classes(certificate),
        style=_text(knowngood.report.__name__, "style.css"),
        flips=_figures.flips_chart(certificate),
        errors=_figures.error_chart(certificate),
        detection=_figures.detection_chart(certificate),
        gates=_indented(pack(certificate.gates)),
        recipe=_indented(certificate.recipe),
        bands=_indented(certificate.band_evidence),
    )
    return page.encode()


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")


def _indented(data: object) -> str:
    """JSON for people; empty for nothing."""
    return json.dumps(data, indent=2, sort_keys=True) if data else ""
