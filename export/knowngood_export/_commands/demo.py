"""``knowngood demo``: the whole job on data that it makes itself."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from knowngood._commands._protocol import Command
from knowngood._errors import UsageError
from knowngood._extras import require


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", default="out/demo", metavar="DIR", help="out/demo")
    parser.add_argument("--quick", action="store_true", help="a small one, in seconds")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def _run(args: argparse.Namespace) -> int:
    for module in ("jinja2", "matplotlib"):
        require(module, extra="report", needed_for="the demo's report")
    for module in ("torch", "onnx", "onnxruntime", "ai_edge_litert.interpreter"):
        require(module, extra="export", needed_for="the demo")
    from ..demo import DemoPlan, run_demo

    out = Path(args.output)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror}") from error
    plan = DemoPlan.quick() if args.quick else DemoPlan()
    started = time.monotonic()
    run_demo(out, plan, (lambda line: None) if args.quiet else print, progress=not args.quiet)
    if not args.quiet:
        print(f"done in {time.monotonic() - started:.0f} s")
    return 0


command = Command("demo", "the whole job on lots it makes itself", _configure, _run)
