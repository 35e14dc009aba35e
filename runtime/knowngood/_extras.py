"""Optional dependencies: import one, or say exactly which extra brings it."""

from __future__ import annotations

import importlib
from types import ModuleType

from ._errors import MissingExtraError


def require(module: str, *, extra: str, needed_for: str) -> ModuleType:
    """Import ``module``, or raise ``MissingExtraError`` that names the extra.

    Args:
        module: dotted name, ``"onnxruntime"``.
        extra: the extra of this distribution that installs it.
        needed_for: what the user wanted, ``"scoring .onnx files"``.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"{needed_for} needs {module}, which is not installed. "
            f"Install it with: pip install 'knowngood[{extra}]'"
        ) from error
