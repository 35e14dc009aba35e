"""The compiled engine and its paths: kernels for one kind of processor each, all of one result."""

from __future__ import annotations

import os

from knowngood import __version__
from knowngood._errors import MissingExtraError, UsageError

ENVIRONMENT_VARIABLE = "KNOWNGOOD_CPU_PATH"


def why_no_native() -> str | None:
    """Why the compiled engine cannot run here; None if it can."""
    try:
        from knowngood import _native
    except ModuleNotFoundError:
        return "is not in this installation, which has no compiled part"
    except ImportError as error:
        return f"is installed and cannot be loaded: {error}"
    if _native.version != __version__:
        return (
            f"was compiled for knowngood {_native.version} and this is {__version__}, so its "
            "build is stale (in a checkout `make` or `pip install -e .` builds it again)"
        )
    return None


def require_native() -> None:
    """Make sure that the compiled engine is there, loads, and is of this version.

    Raises:
        MissingExtraError: it is not; the message says why, and what to do.
    """
    why = why_no_native()
    if why is not None:
        raise MissingExtraError(
            f"engine 'native', which runs .kgd files, {why}. "
            "Wheels hold it compiled for one kind of machine: install knowngood again with pip; "
            "from source that takes a C compiler, such as gcc. engine='reference' (--engine "
            "reference) gives the same verdicts meanwhile, hundreds of times slower"
        )


def cpu_paths() -> tuple[str, ...]:
    """The paths of the native engine that this machine can run, the fastest first.

    Each is a set of kernels: "avx512vnni", "avx2" and "sse41" on x86, "neondotprod" and "neon" on
    ARM, "scalar" everywhere. All give the same bits; ``load(…, cpu_path=…)`` pins one.

    Raises:
        MissingExtraError: the compiled engine is not in this installation.
    """
    require_native()
    from knowngood import _native

    found, index = [], 0
    while (entry := _native.path(index))[0] is not None:
        found += [entry[0]] if entry[1] else []
        index += 1
    return tuple(found)


def choose_cpu_path(pinned: str | None) -> str | None:
    """The path to open a model with: ``pinned``, else that of the environment, else None.

    Raises:
        UsageError: this machine does not have it.
    """
    chosen, origin = pinned, "the argument cpu_path= (on the command line --cpu-path)"
    if pinned is None:
        chosen = os.environ.get(ENVIRONMENT_VARIABLE) or None
        origin = f"the environment variable {ENVIRONMENT_VARIABLE}"
    if chosen is not None and chosen not in (here := cpu_paths()):
        raise UsageError(
            f"there is no CPU path {chosen!r} on this machine; {origin} asks for it. Expected one "
            f"of {', '.join(here)}, the fastest first; all give the same scores"
        )
    return chosen
