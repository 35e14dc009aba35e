"""Who takes part: which worker runs where, in which environment, limited to which instructions."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import knowngood

from .._other_python import CannotInstallError, other_python
from ._files import SpeedFiles
from ._seats import Seat, WorkerError, WorkerProcess, seats_of

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "benchmarks" / "native"
HEADERS = ROOT / "runtime" / "engine" / "include"
LEFT_OUT = (
    "ExecuTorch 1.5: its wheel for Python 3.11 lacks the module that runs a program "
    "(executorch.extension.pybindings._C)",
)


@dataclass(frozen=True)
class Rival:
    """A worker of ``benchmarks.rivals``.

    Attributes:
        name: as the worker knows it.
        requirements: of its environment; none for one that runs in this one.
        variables: of its process.
        label: added to its engine's name.
    """

    name: str
    requirements: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    label: str = ""


OPENVINO = ("openvino==2026.4.0",)
RIVALS = (
    Rival("knowngood"),
    Rival("onnxruntime"),
    Rival("litert"),
    Rival("openvino", OPENVINO),
    Rival("tract", ("tract==0.23.9", "numpy")),
    Rival("tflite-runtime", ("tflite-runtime==2.14.0", "numpy<2")),
    Rival("numpy"),
    Rival("torch"),
    Rival("exported"),
)
_ONE_DNN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"}
_TORCH = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", **_ONE_DNN}
_NUMPY = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
LIMITED_TO_AVX2 = (
    Rival("knowngood-avx2"),
    Rival("openvino", OPENVINO, _ONE_DNN, " (AVX2)"),
    Rival("numpy", (), _NUMPY, " (AVX2)"),
    Rival("torch", (), _TORCH, " (AVX2)"),
)
"""Neither ONNX Runtime nor XNNPACK (LiteRT) has a switch for that."""


@contextmanager
def open_seats(
    files: SpeedFiles,
    programs: Programs,
    skipped: list[str],
    *,
    with_avx2: bool,
    may_install: bool,
) -> Iterator[list[Seat]]:
    """Start everybody and take their introductions; who cannot take part goes to ``skipped``."""
    with ExitStack() as stack:
        seats = _native(files, programs, stack, None)
        rivals: Sequence[Rival] = RIVALS
        if with_avx2 and _has_avx2():
            seats += _native(files, programs, stack, "avx2")
            rivals = RIVALS + LIMITED_TO_AVX2
        for rival in rivals:
            seats += _start_or_skip(rival, files, programs, stack, may_install, skipped)
        yield seats


def _start_or_skip(
    rival: Rival,
    files: SpeedFiles,
    programs: Programs,
    stack: ExitStack,
    may_install: bool,
    skipped: list[str],
) -> list[Seat]:
    if rival.name.startswith("knowngood"):  # without it there is nothing to compare with
        return _start(rival, files, programs, stack, may_install)
    try:
        return _start(rival, files, programs, stack, may_install)
    except (CannotInstallError, WorkerError) as error:
        skipped.append(f"{rival.name}{rival.label}: {error}")
        return []


def _start(
    rival: Rival, files: SpeedFiles, programs: Programs, stack: ExitStack, may_install: bool
) -> list[Seat]:
    python = Path(sys.executable)
    if rival.requirements:
        python = other_python(*rival.requirements, may_install=may_install)
    command = [
        str(python), "-m", "benchmarks.rivals.worker",
        rival.name, str(files.folder), str(programs.chill),
    ]  # fmt: skip
    paths = f"{ROOT}:{Path(knowngood.__path__[0]).parent}"
    variables = {"PYTHONPATH": paths, **rival.variables}
    worker = WorkerProcess(f"{rival.name}{rival.label}", command, files.folder, variables)
    stack.callback(worker.close)
    return seats_of(worker, rival.label)


def _native(
    files: SpeedFiles, programs: Programs, stack: ExitStack, cpu_path: str | None
) -> list[Seat]:
    command = [str(programs.worker), str(files.folder / "model.kgd"), str(files.n_macs)]
    command += [cpu_path] if cpu_path else []
    worker = WorkerProcess("the engine from C", command, files.folder, {})
    stack.callback(worker.close)
    return seats_of(worker, " (AVX2)" if cpu_path else "")


def _has_avx2() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64") and "avx2" in knowngood.cpu_paths()


@dataclass(frozen=True)
class Programs:
    """What is compiled for the benchmark: the worker in C, and the library that cools caches."""

    worker: Path
    chill: Path


def compile_programs(folder: Path) -> Programs:
    """Compile the benchmark's own C against the library that lies in the Python package.

    Raises:
        RuntimeError: there is no library or no C compiler, or it fails.
    """
    package = Path(knowngood.__path__[0])
    library = next(package.glob("libknowngood.*"), None)
    if library is None:
        raise RuntimeError(f"there is no libknowngood in {package}: install the package again")
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
    programs = Programs(folder / "worker", folder / "libchill.so")
    sources = [str(NATIVE / name) for name in ("worker.c", "limits.c", "chill.c")]
    into = ["-o", str(programs.worker)]
    _compile(
        *flags, "-DKG_SHARED", f"-I{HEADERS}", *sources, str(library), _path_of(package), *into
    )
    _compile(*flags, "-shared", "-fPIC", sources[2], "-o", str(programs.chill))
    return programs


def _path_of(package: Path) -> str:
    return f"-Wl,-rpath,{package}"


def _compile(*arguments: str) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the benchmark calls the engine from C and needs cc: install it")
    done = subprocess.run([compiler, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cc {' '.join(arguments)} failed:\n{done.stderr}")
