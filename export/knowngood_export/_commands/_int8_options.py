"""How int8 is made and judged, as options that every verb with sealed files takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from knowngood._errors import InputError

if TYPE_CHECKING:
    from knowngood_export._conversions import Recipe
    from knowngood_quantize.certificate import CertificateGates


def add_int8_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--recipe``, ``--gates`` and ``--fallback``."""
    parser.add_argument(
        "--recipe",
        metavar="R",
        help="how int8 is made: a JSON file, or auto to try several and take what flips least",
    )
    parser.add_argument(
        "--gates", metavar="FILE", help="limits as JSON, see docs/certificate.md (the defaults)"
    )
    parser.add_argument(
        "--fallback",
        action="store_true",
        help="where the gates refuse a form, write int16x8 or fp32 in its place",
    )


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe asked for.

    Raises:
        InputError: the file cannot be read, or holds no recipe.
    """
    from knowngood_quantize.int8 import Int8Recipe

    name = args.recipe
    if name is None or name == "auto":
        return "auto" if name else Int8Recipe()
    try:
        return Int8Recipe.from_json(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the recipe {name}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no text, so no recipe: {error}") from error


def gates_of(args: argparse.Namespace) -> CertificateGates:
    """The gates asked for.

    Raises:
        InputError: the file cannot be read, or holds no gates.
    """
    from knowngood_quantize.certificate import DEFAULT_GATES, CertificateGates

    return CertificateGates.read(args.gates) if args.gates else DEFAULT_GATES
