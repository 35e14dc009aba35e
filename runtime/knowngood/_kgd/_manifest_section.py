"""The sections for people: ``manifest`` and ``certificate``, JSON in one canonical form."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from knowngood._errors import ModelFileError, UsageError
from knowngood._manifest import (
    Drift,
    Evaluation,
    HeadChoice,
    Provenance,
    pack_record,
    read_history,
)
from knowngood._sealed import SealedModel

from ._refusal import Rule, refuse

MAX_BYTES = 128 * 1024
MAX_VALUES = 8192
MAX_DEPTH = 32
MAX_CURVE = 500
_EXACT_INTEGERS = 2**53
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
"""It writes an infinity, which a too large number becomes, as a word that no number is."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|.)")


@dataclass(frozen=True)
class History:
    """What the manifest tells people."""

    provenance: Provenance
    evaluation: Evaluation
    drift: tuple[Drift, ...]


def encode_manifest(model: SealedModel) -> bytes:
    """The section's bytes; of a longer learning curve some 500 epochs, the last among them."""
    history = History(_thinned(model.provenance), model.evaluation, model.drift)
    try:
        read = read_history(json.loads(_canonical(_packed(history))))
        return _canonical(_packed(History(*read))).encode("ascii")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"manifest: cannot be written as JSON: {error!r}") from error


def _packed(history: History) -> dict[str, Any]:
    """As JSON; what is empty and was not in the first files is left out, so that they stay
    canonical."""
    packed = pack_record(history)
    if history.evaluation.head_choice == HeadChoice():
        del packed["evaluation"]["head_choice"]
    return packed


def _thinned(provenance: Provenance) -> Provenance:
    curve = provenance.learning_curve
    step = -(-len(curve) // MAX_CURVE) or 1
    return replace(provenance, learning_curve=curve[::-1][::step][::-1])


def decode_manifest(section: memoryview) -> History:
    """What the manifest tells, each field of the type that it is declared with."""
    text = _read_text("manifest", section)
    try:
        history = History(*read_history(_parse("manifest", text)))
    except ModelFileError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise refuse("manifest", Rule.JSON, "a knowngood history", repr(error)[:200]) from error
    if not _fits(history, History):
        raise refuse("manifest", Rule.JSON, "fields of their own types", "others")
    _check_canonical("manifest", text, _packed(history))
    return history


def encode_certificate(text: str) -> bytes:
    """The section's bytes, in canonical form whatever the form of ``text``."""
    try:
        return _canonical(json.loads(text)).encode("ascii")
    except ValueError as error:
        raise UsageError(f"certificate: is no JSON: {error}") from error


def decode_certificate(section: memoryview) -> str:
    """The certificate's text."""
    text = _read_text("certificate", section)
    _check_canonical("certificate", text, _parse("certificate", text))
    return text


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _read_text(where: str, section: memoryview) -> str:
    """The section's text, small enough to be parsed."""
    if len(section) > MAX_BYTES:
        raise refuse(where, Rule.JSON_SIZE, f"at most {MAX_BYTES} bytes", len(section))
    try:
        text = str(section, "ascii")
    except UnicodeDecodeError as error:
        raise refuse(where, Rule.JSON, "ASCII", error.reason) from error
    n_values = sum(text.count(opener) for opener in "[{,:")
    if n_values > MAX_VALUES:
        raise refuse(where, Rule.JSON_SIZE, f"at most {MAX_VALUES} of '[{{,:'", n_values)
    return text


def _parse(where: str, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, MemoryError) as error:
        raise refuse(where, Rule.JSON, "JSON", str(error)[:200]) from error
    if not isinstance(data, dict):
        raise refuse(where, Rule.JSON, "an object", type(data).__name__)
    if _nests_deeper(data, MAX_DEPTH):
        raise refuse(where, Rule.JSON_SIZE, f"at most {MAX_DEPTH} levels", "more")
    if _has_half_a_pair(text):
        raise refuse(where, Rule.JSON, "Unicode text", "a surrogate without its other half")
    return data


def _nests_deeper(value: Any, n_levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return n_levels == 0 or any(_nests_deeper(v, n_levels - 1) for v in inner)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _has_half_a_pair(text: str) -> bool:
    end_of_high = -1
    for escape in _ESCAPE.finditer(text):
        code = escape[1] or ""
        is_low = "dc00" <= code <= "dfff" and escape.start() == end_of_high
        if is_low != (end_of_high >= 0) or (not is_low and "dc00" <= code <= "dfff"):
            return True
        end_of_high = escape.end() if "d800" <= code <= "dbff" else -1
    return end_of_high >= 0


def _check_canonical(where: str, text: str, data: Any) -> None:
    """Compare piece by piece: the whole text again, in pieces, is many times as large."""
    place = 0
    for piece in _ENCODER.iterencode(data):
        if not text.startswith(piece, place):
            break
        place += len(piece)
    if place != len(text):
        expected = "the canonical form: sorted keys, each once, no blanks, finite numbers"
        raise refuse(where, Rule.JSON, expected, f"{text[place : place + 40]!r} at byte {place}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON is what its declaration says, all the way down."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(v, arguments[0]) for v in value)
    if origin is tuple:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, arguments[1]) for v in value.values())
    if origin in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if is_dataclass(hint):
        of_field = _hints(hint)  # type: ignore[arg-type]
        return all(_fits(getattr(value, f.name), of_field[f.name]) for f in fields(hint))
    return _is_plain(value, hint)


def _is_plain(value: Any, hint: Any) -> bool:
    if isinstance(value, bool) or hint not in (int, float):
        return type(value) is hint
    if isinstance(value, int):
        return abs(value) <= _EXACT_INTEGERS
    return hint is float and isinstance(value, float) and math.isfinite(value)
