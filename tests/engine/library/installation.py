"""What a host's maker has: an installed library, and dies to score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Installation:
    """What ``cmake --install`` laid down, moved to another place since."""

    prefix: Path

    @cached_property
    def folder(self) -> Path:
        """That of the libraries: lib, lib64 or lib/x86_64-linux-gnu."""
        return next(self.prefix.glob("lib*/**/libknowngood.so")).parent

    @property
    def library(self) -> Path:
        return (self.folder / "libknowngood.so").resolve()

    @property
    def archive(self) -> Path:
        return self.folder / "libknowngood.a"

    @property
    def include(self) -> Path:
        return self.prefix / "include"


@dataclass(frozen=True)
class Touchdown:
    """A model, dies in raw units, and what a host in ``examples/hosts`` is to print of them."""

    model: Path
    values: Path
    lines: list[str]
