"""A certificate as canonical JSON and back."""

from __future__ import annotations

import json

from knowngood._errors import InputError

from ._fields_json import pack, unpack
from ._record import CERTIFICATE_VERSION, Certificate

VERSION_KEY = "knowngood_certificate"


def certificate_to_json(certificate: Certificate) -> str:
    """See `Certificate.to_json`."""
    data = {VERSION_KEY: CERTIFICATE_VERSION, **pack(certificate)}
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def certificate_from_json(text: str | bytes) -> Certificate:
    """See `Certificate.from_json`."""
    try:
        data = json.loads(text)
        version = data.pop(VERSION_KEY)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"not a certificate of knowngood: expected a JSON object with {VERSION_KEY!r}"
        ) from error
    if version != CERTIFICATE_VERSION:
        raise InputError(
            f"the certificate has version {version!r}, this knowngood reads {CERTIFICATE_VERSION}: "
            "certify the model again, or update knowngood"
        )
    return unpack(Certificate, data, "certificate")
