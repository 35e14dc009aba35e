"""Which versions a model was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version

import numpy
import torch


def versions() -> dict[str, str]:
    """Versions of knowngood, Python, NumPy and torch by name."""
    return {
        "knowngood": version("knowngood"),
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
