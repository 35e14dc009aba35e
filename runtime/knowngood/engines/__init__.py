"""Engines that run a model file's graph; each is imported only when it is opened.

An engine turns raw values into scores and reconstructions and knows nothing of verdicts.
"""

from __future__ import annotations

from importlib.util import find_spec

from knowngood._errors import UsageError
from knowngood._model_file import ModelFile

from ._fork import PerProcessEngine
from ._protocol import Engine

__all__ = ["ENGINE_NAMES", "Engine", "engines_for", "open_engine"]

_ENGINES_OF_KIND = {
    "kgd": ("reference",),
    "onnx": ("onnxruntime",),
    "tflite": ("litert", "tflite"),
}
_PACKAGE_OF_ENGINE = {
    "reference": "knowngood",
    "onnxruntime": "onnxruntime",
    "litert": "ai_edge_litert",
    "tflite": "tflite_runtime",
}
ENGINE_NAMES = tuple(_PACKAGE_OF_ENGINE)
_LATER = ("native",)


def engines_for(kind: str) -> tuple[str, ...]:
    """Names of the engines that run files of ``kind``; the first that is installed is taken."""
    return _ENGINES_OF_KIND[kind]


def open_engine(model: ModelFile, name: str | None = None) -> Engine:
    """Open ``model`` in the engine called ``name``, or in the first installed one for its kind.

    Raises:
        UsageError: there is no such engine, or it does not run this kind of file.
        MissingExtraError: the engine's package is not installed.
        ModelFileError: the engine refuses the graph, or its inputs and outputs are not knowngood's.
    """
    possible = engines_for(model.kind)
    chosen = _first_installed(possible) if name is None else name
    if chosen not in possible:
        raise UsageError(_explain_unsuitable(model, chosen))
    if chosen == "reference":
        from ._reference import ReferenceEngine

        return ReferenceEngine.open(model)
    if chosen == "onnxruntime":
        from ._onnxruntime import OnnxRuntimeEngine

        return PerProcessEngine(lambda: OnnxRuntimeEngine(model))
    from ._interpreter import open_interpreter

    return PerProcessEngine(lambda: open_interpreter(model, chosen))


def _first_installed(names: tuple[str, ...]) -> str:
    """The first engine whose package is there; the first of all where none is, for its error."""
    return next((n for n in names if find_spec(_PACKAGE_OF_ENGINE[n]) is not None), names[0])


def _explain_unsuitable(model: ModelFile, name: str) -> str:
    possible = " or ".join(repr(n) for n in engines_for(model.kind))
    if name in _LATER:
        return f"engine {name!r} is not in this version; {model.path} runs on {possible}"
    if name in ENGINE_NAMES:
        return f"engine {name!r} does not run .{model.kind} files; {model.path} runs on {possible}"
    return f"there is no engine {name!r}; {model.path} runs on {possible}"
