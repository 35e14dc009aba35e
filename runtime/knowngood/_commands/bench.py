"""``knowngood bench``: what one call costs on this computer, to the tail, and why."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import UsageError
from ._outputs import check_output
from ._printing import print_lines
from ._protocol import Command

if TYPE_CHECKING:
    from .._scorer import Scorer
    from ..latency import BenchPlan

STDOUT = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="+", help=".kgd, .onnx or .tflite; several are timed in turn"
    )
    _configure_calls(parser)
    _configure_engines(parser)
    parser.add_argument("--json", metavar="FILE", help="also write the figures; - prints only them")
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print nothing: the figures go to --json, which it needs",
    )


def _configure_calls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batches",
        default="1,4,16,64,1000",
        metavar="N,N",
        help="dies per call, each up to 100,000 (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="per model, batch and condition, up to 3,600 (default: %(default)g)",
    )
    parser.add_argument(
        "--cold", action="store_true", help="also time calls that find the caches displaced"
    )
    parser.add_argument(
        "--idle-ms", type=float, metavar="MS", help="also time calls after idling so long"
    )
    parser.add_argument("--core", type=int, metavar="N", help="bind to this core (Linux)")
    parser.add_argument("--realtime", action="store_true", help="run under SCHED_FIFO (Linux)")


def _configure_engines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", metavar="NAME,NAME", help="engines to run the models on (default: by suffix)"
    )
    parser.add_argument(
        "--precision", metavar="NAME,NAME", help="of a .kgd: verified, int8, fp32 (default: first)"
    )
    parser.add_argument(
        "--cpu-path",
        metavar="NAME,NAME",
        help="of engine native, the others have none (default: the fastest)",
    )


def run(arguments: argparse.Namespace) -> int:
    from ..latency._placement import placed
    from ..latency._run import run_plan

    plan = _plan(arguments)
    _check_outputs(arguments)
    contestants = _contestants(arguments)
    # models are loaded where they are timed, so that their weights lie in that core's memory
    with placed(plan.core, realtime=plan.realtime):
        result = run_plan(list(_scorers(arguments.cpu_path, contestants)), plan, _say(arguments))
    _write(arguments.json, result.to_json())
    if not arguments.quiet and arguments.json != STDOUT:
        print_lines(str(result).splitlines())
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    if arguments.quiet and arguments.json is None:
        raise UsageError("--quiet prints nothing: give --json FILE too, or leave --quiet out")
    if arguments.json not in (None, STDOUT):
        check_output(arguments.json, arguments.model)


def _plan(arguments: argparse.Namespace) -> BenchPlan:
    from ..latency import BenchPlan

    return BenchPlan(
        batches=parse_batches(arguments.batches),
        seconds=arguments.seconds,
        cold=arguments.cold,
        idle_ms=arguments.idle_ms,
        core=arguments.core,
        realtime=arguments.realtime,
    )


def parse_batches(text: str) -> tuple[int, ...]:
    try:
        batches = tuple(int(item) for item in text.split(","))
    except ValueError:
        batches = ()
    if not batches or min(batches) < 1:
        raise UsageError(f"--batches takes whole numbers ≥ 1 like 1,8,64, found {text!r}")
    return batches


def _contestants(arguments: argparse.Namespace) -> list[tuple[str, str | None, str | None]]:
    """Each model in each engine and precision asked for.

    Raises:
        UsageError: something is listed twice, or an option lists nothing.
    """
    from ..latency._plan import refuse_repeated

    refuse_repeated("the list of models", [Path(model).resolve() for model in arguments.model])
    engines = _choices("--engine", arguments.engine)
    precisions = _choices("--precision", arguments.precision)
    return list(itertools.product(arguments.model, engines, precisions))


def _choices(option: str, text: str | None) -> Sequence[str | None]:
    """What an option lists; one None where it is not given."""
    from ..latency._plan import refuse_repeated

    if text is None:
        return [None]
    names = text.split(",")
    if not all(names):
        raise UsageError(f"{option} takes names with commas between, found {text!r}")
    refuse_repeated(option, names)
    return names


def _scorers(
    cpu_path: str | None, contestants: Sequence[tuple[str, str | None, str | None]]
) -> Iterator[Scorer]:
    """Each contestant, and in engine native on each path asked for."""
    from .. import load

    paths = _choices("--cpu-path", cpu_path)
    are_native = [_is_native(model, engine) for model, engine, _ in contestants]
    if cpu_path is not None and not any(are_native):
        raise UsageError(
            f"--cpu-path {cpu_path}: only engine native has paths to choose from, and nothing here "
            "runs on it; leave the option out"
        )
    for (model, engine, precision), is_native in zip(contestants, are_native, strict=True):
        for path in paths if is_native else [None]:
            yield load(model, engine=engine, precision=precision, extrapolate=True, cpu_path=path)


def _is_native(model: str, engine: str | None) -> bool:
    """Whether ``load`` takes the native engine."""
    from .._model_file import read_model
    from ..engines import engines_for

    return (engine or engines_for(read_model(model).kind)[0]) == "native"


def _say(arguments: argparse.Namespace) -> Any:
    """Tells a terminal what is timed; nothing where nobody watches."""
    if arguments.quiet or not sys.stderr.isatty():
        return lambda _: None
    return lambda text: print(f"timing {text}", file=sys.stderr)


def _write(destination: str | None, record: dict[str, Any]) -> None:
    from .._atomic import write_bytes

    text = json.dumps(record, indent=1, allow_nan=False)
    if destination == STDOUT:
        print(text)
    elif destination is not None:
        write_bytes(destination, f"{text}\n".encode())


command = Command("bench", "time a model on this computer, to the tail", configure, run)
