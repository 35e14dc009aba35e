"""What a verb of the ``knowngood`` command is; one object per module in ``knowngood.commands``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One verb.

    A module that defines one imports nothing heavy at its top: it is loaded to show its options.

    Attributes:
        name: what the user types.
        help: one line for ``knowngood --help``.
        configure: adds the verb's arguments to its parser.
        run: does the work and returns the exit code; raises ``KnowngoodError`` to fail.
    """

    name: str
    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
