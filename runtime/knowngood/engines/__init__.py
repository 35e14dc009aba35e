"""Engines that run a model file's graph; each is imported only when it is opened.

An engine turns raw values into scores and reconstructions and knows nothing of verdicts; but the
native one gives those too.
"""

from __future__ import annotations

from importlib.util import find_spec

from knowngood._errors import UsageError
from knowngood._model_file import ModelFile

from ._cpu_paths import cpu_paths, require_native, why_no_native
from ._fork import PerProcessEngine
from ._protocol import Engine, JudgingEngine

__all__ = [
    "ENGINE_NAMES",
    "Engine",
    "JudgingEngine",
    "cpu_paths",
    "engines_for",
    "open_engine",
    "why_not_here",
]

_ENGINES_OF_KIND = {
    "kgd": ("native", "reference"),
    "onnx": ("onnxruntime",),
    "tflite": ("litert", "tflite"),
}
_PACKAGE_OF_ENGINE = {
    "native": "knowngood",  # part of it: where it is not compiled, that is said, and no other taken
    "reference": "knowngood",
    "onnxruntime": "onnxruntime",
    "litert": "ai_edge_litert",
    "tflite": "tflite_runtime",
}
ENGINE_NAMES = tuple(_PACKAGE_OF_ENGINE)


def engines_for(kind: str) -> tuple[str, ...]:
    """Names of the engines that run files of ``kind``; the first that is installed is taken."""
    return _ENGINES_OF_KIND[kind]


def why_not_here(name: str) -> str | None:
    """Why the engine called ``name`` cannot run on this machine; None if it can."""
    if name == "native":
        return why_no_native()
    return None if find_spec(_PACKAGE_OF_ENGINE[name]) is not None else "is not installed"


def open_engine(
    model: ModelFile,
    name: str | None = None,
    *,
    cpu_path: str | None = None,
    check: bool = False,
) -> Engine:
    """Open ``model`` in the engine called ``name``, or in the first installed one for its kind.

    Args:
        cpu_path: of the native engine, one of ``cpu_paths()``.
        check: let the native engine score the golden dies while it opens the file.

    Raises:
        UsageError: there is no such engine or path, or it does not run this kind of file.
        MissingExtraError: the engine's package is not installed.
        ModelFileError: the engine refuses the graph, or its inputs and outputs are not knowngood's,
            or golden dies get other scores.
    """
    possible = engines_for(model.kind)
    chosen = _first_installed(possible) if name is None else name
    if chosen not in possible:
        raise UsageError(_explain_unsuitable(model, chosen))
    if chosen == "native":
        require_native()
        from ._native import NativeEngine

        return NativeEngine.open(model, cpu_path=cpu_path, check=check)
    if cpu_path is not None:
        raise UsageError(
            f"engine {chosen!r} has no CPU paths to choose from (cpu_path={cpu_path!r}): "
            "only 'native' has, which runs .kgd files"
        )
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
    if name in ENGINE_NAMES:
        return f"engine {name!r} does not run .{model.kind} files; {model.path} runs on {possible}"
    return f"there is no engine {name!r}; {model.path} runs on {possible}"
