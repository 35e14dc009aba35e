"""Frozen dataclasses as JSON and back, each field of the type that it is declared with."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from knowngood._errors import InputError

_Record = TypeVar("_Record")
_EXACT_INTEGERS = 2**53
MAX_DEPTH = 32
"""Of free-form JSON; recipes and evidence of bands nest three deep."""


class Compact:
    """Base of dataclasses that are written as an array: their fields in order."""


def pack(value: Any) -> Any:
    """Dataclasses as objects, `Compact` ones and tuples as arrays."""
    if is_dataclass(value) and not isinstance(value, type):
        packed = {f.name: pack(getattr(value, f.name)) for f in fields(value)}
        return list(packed.values()) if isinstance(value, Compact) else packed
    if isinstance(value, (list, tuple)):
        return [pack(v) for v in value]
    if isinstance(value, dict):
        return {k: pack(v) for k, v in value.items()}
    return value


def parse(text: str | bytes, where: str) -> Any:
    """The JSON in ``text``; ``where`` names it in messages.

    Raises:
        InputError: it is none, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: expected JSON: {error}") from error


def unpack(kind: type[_Record], data: Any, where: str) -> _Record:
    """What ``pack`` made of a dataclass; ``where`` names it in messages.

    Raises:
        InputError: naming the field, what was expected and what was found.
    """
    record: _Record = _unpack_record(kind, data, where)
    return record


def _unpack(kind: Any, data: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _unpack_record(kind, data, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        inner = next(a for a in arguments if a is not type(None))
        return None if data is None else _unpack(inner, data, where)
    if origin is tuple:
        return tuple(_unpack(arguments[0], item, where) for item in _as(list, data, where))
    if origin is dict:
        items = _as(dict, data, where).items()
        return {key: _unpack(arguments[1], value, f"{where}.{key}") for key, value in items}
    if origin is Literal:
        return _one_of(arguments, data, where)
    return _free(data, where) if kind is Any else _plain(kind, data, where)


def _unpack_record(kind: Any, data: Any, where: str) -> Any:
    hints = _hints(kind)
    names = [f.name for f in fields(kind)]
    found = _named(names, data, where) if issubclass(kind, Compact) else _as(dict, data, where)
    if found.keys() != set(names):
        wrong = _told("missing", set(names) - found.keys())
        wrong += _told("unknown", found.keys() - set(names))
        raise InputError(f"{where}: expected the fields {', '.join(names)}; {'; '.join(wrong)}")
    values = {name: _unpack(hints[name], v, f"{where}.{name}") for name, v in found.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _told(what: str, names: set[str]) -> list[str]:
    return [f"{what}: {', '.join(sorted(names))}"] if names else []


def _named(names: list[str], data: Any, where: str) -> dict[str, Any]:
    items = _as(list, data, where)
    if len(items) != len(names):
        raise InputError(f"{where}: expected [{', '.join(names)}], found {len(items)} items")
    return dict(zip(names, items, strict=True))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _as(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, kind):
        raise InputError(f"{where}: expected {kind.__name__}, found {type(data).__name__}")
    return data


def _one_of(allowed: tuple[Any, ...], data: Any, where: str) -> Any:
    if data not in allowed:
        raise InputError(f"{where}: expected one of {', '.join(allowed)}, found {data!r}")
    return data


def _free(data: Any, where: str, depth: int = 0) -> Any:
    """Any JSON that can be written again: finite numbers, no deeper than ``MAX_DEPTH``."""
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: expected at most {MAX_DEPTH} levels, found more")
    if isinstance(data, (dict, list)):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            _free(value, f"{where}.{key}", depth + 1)
    return _plain(float, data, where) if isinstance(data, float) else data


def _plain(kind: type, data: Any, where: str) -> Any:
    """A number, text or flag; whole numbers that JSON readers agree on, finite ones."""
    is_whole = type(data) is int and abs(data) <= _EXACT_INTEGERS
    value = float(data) if kind is float and is_whole else data
    is_sound = math.isfinite(value) if isinstance(value, float) else type(data) is not int
    if type(value) is not kind or not (is_whole or is_sound):
        raise InputError(f"{where}: expected {kind.__name__}, found {str(data)[:40]!r}")
    return value
