"""The ``knowngood`` command: finds the verb asked for, runs it, and turns errors into exit codes.

Verbs register in the entry-point group ``knowngood.commands``; each is a ``Command``. Exit codes:
0 done, 1 the thing asked about failed, 2 wrong use, 3 a bad input or model file, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from knowngood._errors import KnowngoodError, MissingExtraError, UsageError

from ._protocol import Command

__all__ = ["Command", "main"]

ENTRY_POINT_GROUP = "knowngood.commands"
_EXTRA_OF_PACKAGE = {"knowngood_export": "export"}
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``knowngood`` with ``argv`` (without the program's name) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _escape_what_the_output_cannot_show()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except KnowngoodError as error:
        if _wants_traceback(arguments):
            raise
        print(f"knowngood: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("knowngood: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except SystemExit as stop:  # argparse: 0 after --help, 2 after an argument error
        return stop.code if isinstance(stop.code, int) else 2
    return code


def _escape_what_the_output_cannot_show() -> None:
    """A file on Windows or a terminal of the C locale has no ``≤``: print ``\\u2264`` instead."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    verbs = _registered_verbs()
    place = next((i for i, a in enumerate(arguments) if not a.startswith("-")), len(arguments))
    top = _top_parser()
    if any(a in ("-h", "--help") for a in arguments[:place]) or not arguments:
        top.epilog = _describe_verbs(verbs)
    top.parse_args(arguments[:place])
    if place == len(arguments):
        top.print_help(sys.stderr)
        return 2
    verb, rest = arguments[place], arguments[place + 1 :]
    if verb not in verbs:
        raise UsageError(f"there is no verb {verb!r}; choose from {', '.join(verbs)}")
    with _naming_the_extra(verbs[verb]):
        return _run_verb(_load(verbs[verb]), rest)


def _run_verb(command: Command, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"knowngood {command.name}", description=command.help)
    command.configure(parser)
    _add_debug(parser)
    return command.run(parser.parse_args(arguments))


@contextmanager
def _naming_the_extra(point: EntryPoint) -> Iterator[None]:
    """Say which extra brings what a verb of another package cannot import."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF_PACKAGE.get(point.module.partition(".")[0])
        if extra is None or (error.name or "").startswith("knowngood"):
            raise
        raise MissingExtraError(
            f"'knowngood {point.name}' needs {error.name}, which is not installed. "
            f"Install it with: pip install 'knowngood[{extra}]'"
        ) from error


def _registered_verbs() -> dict[str, EntryPoint]:
    points = entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in sorted(points, key=lambda point: point.name)}


def _load(point: EntryPoint) -> Command:
    command = point.load()
    if not isinstance(command, Command):
        raise TypeError(f"{point.value} is registered as a verb but is no knowngood Command")
    return command


def _top_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="knowngood",
        usage="knowngood [--version] [--debug] VERB ...",
        description="Screens dies that pass every limit and yet are unlike good ones.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="show the version and stop")
    _add_debug(parser)
    return parser


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error (or KNOWNGOOD_DEBUG=1)"
    )


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import knowngood

        print(f"knowngood {knowngood.__version__}")
        parser.exit(0)


def _describe_verbs(verbs: dict[str, EntryPoint]) -> str:
    lines = ["verbs ('knowngood VERB --help' shows the options of one):"]
    for name, point in verbs.items():
        try:
            text = _load(point).help
        except ImportError:
            text = "(not installed here; run it to see what is missing)"
        lines.append(f"  {name:<9} {text}")
    return "\n".join(lines)


def _wants_traceback(arguments: Sequence[str]) -> bool:
    return "--debug" in arguments or os.environ.get("KNOWNGOOD_DEBUG", "") not in ("", "0")


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
