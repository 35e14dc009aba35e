"""libknowngood compiled from its sources and called through ctypes, as thin as tests need it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SOURCES = Path(__file__).resolve().parents[2] / "runtime" / "engine"
PRECISIONS = {"fp32": 0, "int8": 1, "verified": 2}
FLAGS = [
    *("-std=c11", "-O2", "-fno-fast-math", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-Werror"),
]
SANITIZE = os.environ.get("KG_TEST_SANITIZE", "")
"""Sanitizers to compile everything with, as ``-fsanitize`` takes them."""
_NOT_THE_COMPILERS = ("LD_PRELOAD",)
"""What the sanitizers of a process need, but not the compilers that it runs."""


def compile_library(compiler: str, folder: Path, flags: Sequence[str] = ()) -> Path:
    """Compile the engine as CMakeLists.txt does and return the library, ``libknowngood.so``.

    ``flags`` come last and have the last word.
    """
    library = folder / "libknowngood.so"
    shared = ["-shared", "-DKG_SHARED", "-DKG_BUILDING"]
    _compile(compiler, [*FLAGS, *shared, *_sources()], flags, library)
    return library


def compile_host(compiler: str, source: Path, library: Path, flags: Sequence[str] = ()) -> Path:
    """Compile a program of one file against the library and return it."""
    program = library.with_name(source.stem)
    arguments = [str(source), str(library), f"-Wl,-rpath,{library.parent}", "-lm", "-pthread"]
    _compile(compiler, [*FLAGS, *arguments], flags, program)
    return program


def compile_with_sources(
    compiler: str, source: Path, folder: Path, flags: Sequence[str] = ()
) -> Path:
    """Compile a program of one file together with the engine's own and return it."""
    program = folder / source.stem
    _compile(compiler, [*FLAGS, str(source), *_sources(), "-lm"], flags, program)
    return program


def sanitized(names: str) -> list[str]:
    """Flags that make a finding of the sanitizers the end of the process."""
    if not names:
        return []
    fatal = [f"-fsanitize={names}", "-fno-sanitize-recover=all"]
    return [*fatal, "-fno-omit-frame-pointer", "-g", "-O1"]  # -O2 takes gcc three times as long


def _sources() -> list[str]:
    return [f"-I{SOURCES / 'src'}", *map(str, sorted((SOURCES / "src").rglob("*.c")))]


def _compile(compiler: str, arguments: Sequence[str], flags: Sequence[str], output: Path) -> None:
    command = [compiler, *arguments, *sanitized(SANITIZE), *flags]
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_THE_COMPILERS}
    done = subprocess.run(
        [*command, f"-I{SOURCES / 'include'}", "-o", str(output)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class Options(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_int64),
        ("cpu_path", ctypes.c_char_p),
        ("skip_golden", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


def load(library: Path) -> ctypes.CDLL:
    """The library, with the argument types that ctypes cannot guess."""
    lib = ctypes.CDLL(str(library))
    pointer, int32, int64, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_char_p
    call = [pointer, int32, int32, pointer, pointer, pointer]
    lib.kg_scratch_size.restype = int64
    lib.kg_cpu_path_name.restype = text
    lib.kg_model_cpu_path.restype = text
    lib.kg_status_text.restype = text
    lib.kg_open.argtypes = [pointer, int64, pointer, pointer, text, int64]
    lib.kg_open_file.argtypes = [text, pointer, pointer, text, int64]
    lib.kg_score.argtypes = [*call, int64, pointer, pointer, pointer]
    lib.kg_reconstruct.argtypes = [*call, int64, pointer, pointer]
    lib.kg_contributions.argtypes = [*call[:-1], int32, int32, *[pointer] * 4]
    lib.kg_point.argtypes = [pointer, int32, int32, pointer, pointer, pointer]
    lib.kg_find_point.argtypes = [pointer, int32, ctypes.c_double, int32, pointer]
    lib.kg_digests.argtypes = [pointer, pointer, pointer]
    for name in ("scratch_size", "close", "model_cpu_path", "n_tests", "n_latent", "n_points"):
        getattr(lib, f"kg_{name}").argtypes = [pointer]
    lib.kg_has_precision.argtypes = [pointer, int32]
    return lib


def path_names(lib: ctypes.CDLL) -> list[str]:
    """The paths that this processor has, the fastest first."""
    names, index = [], 0
    while (name := lib.kg_cpu_path_name(index)) is not None:
        names.append(name)
        index += 1
    return [name.decode() for name in names if lib.kg_cpu_path_is_supported(name)]


def try_to_open(
    lib: ctypes.CDLL, data: bytes, path: str | None = None, *, skip_golden: bool = False
) -> tuple[int, str, ctypes.c_void_p]:
    """Status, message and handle; the handle is to be closed."""
    handle, message = ctypes.c_void_p(), ctypes.create_string_buffer(256)
    name = None if path is None else path.encode()
    options = Options(ctypes.sizeof(Options), name, int(skip_golden), 0)
    status = lib.kg_open(
        data, len(data), ctypes.byref(options), ctypes.byref(handle), message, len(message)
    )
    assert (status == 0) == bool(handle)
    return status, message.value.decode(), handle


class Model:
    """An open model with one thread's scratch, which starts with rubbish in it.

    Its golden dies are not scored when it is opened.
    """

    def __init__(self, lib: ctypes.CDLL, data: bytes, path: str) -> None:
        self._lib = lib
        status, message, self._handle = try_to_open(lib, data, path, skip_golden=True)
        if status != 0:
            raise ValueError(f"status {status}: {message}")
        size = lib.kg_scratch_size(self._handle)
        self._scratch = np.full(size + 128, 0xFF, np.uint8)
        self._scratch[size:] = 0xA5
        self.path = lib.kg_model_cpu_path(self._handle).decode()
        self.n_tests = lib.kg_n_tests(self._handle)
        self.n_latent = lib.kg_n_latent(self._handle)

    def close(self) -> None:
        """Free it, and see that nothing was written behind the scratch."""
        assert (self._scratch[-128:] == 0xA5).all()
        self._lib.kg_close(self._handle)

    def beside(self) -> Model:
        """The same open model with the scratch of another thread; not to be closed."""
        other = copy(self)
        other._scratch = self._scratch.copy()
        return other

    def score(
        self,
        precision: str,
        values: NDArray[np.float32],
        group: NDArray[np.int32] | None = None,
        batch: int | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.int8]]:
        """Scores, verdicts and reasons at the first operating point, ``batch`` dies a call."""
        n = len(values)
        scores = np.full(n, 7, np.float32)
        verdicts, reasons = np.full((2, n), 99, np.int8)
        self._call("kg_score", precision, values, group, batch, scores, verdicts, reasons)
        return scores, verdicts, reasons

    def reconstruct(
        self,
        precision: str,
        values: NDArray[np.float32],
        group: NDArray[np.int32] | None = None,
        batch: int | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Reconstruction and, if the model has one, latent code."""
        reconstruction = np.full((len(values), self.n_tests), 7, np.float32)
        latent = np.full((len(values), self.n_latent), 7, np.float32) if self.n_latent else None
        self._call("kg_reconstruct", precision, values, group, batch, reconstruction, latent)
        return reconstruction, latent

    def latent(
        self,
        precision: str,
        values: NDArray[np.float32],
        group: NDArray[np.int32] | None = None,
        batch: int | None = None,
    ) -> NDArray[np.float32]:
        """Latent code alone, of a model that has one."""
        latent = np.full((len(values), self.n_latent), 7, np.float32)
        self._call("kg_reconstruct", precision, values, group, batch, None, latent)
        return latent

    def contributions(
        self, precision: str, values: NDArray[np.float32], group: int, k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]:
        """Columns, z and expected values of the k largest of one die."""
        columns, z, expected = np.empty(k, np.int32), np.empty(k, np.float32), np.empty(k)
        n_found = ctypes.c_int32()
        status = self._lib.kg_contributions(
            *self._arguments(precision, values), group, k, *map(_data, (columns, z, expected)),
            ctypes.byref(n_found),
        )  # fmt: skip
        assert status == 0, status
        n = n_found.value
        return columns[:n], z[:n], expected[:n]

    def _call(
        self,
        name: str,
        precision: str,
        values: NDArray[np.float32],
        group: NDArray[np.int32] | None,
        batch: int | None,
        *outputs: NDArray[np.generic] | None,
    ) -> None:
        """All dies, ``batch`` at a time or at once; one call of no die if there is none."""
        values = np.ascontiguousarray(values, np.float32)
        group = None if group is None else np.ascontiguousarray(group, np.int32)
        function, step = getattr(self._lib, name), batch or max(len(values), 1)
        for first in range(0, max(len(values), 1), step):
            part = slice(first, first + step)
            of_group, *of_outputs = [None if a is None else a[part] for a in (group, *outputs)]
            inputs = (*self._arguments(precision, values[part]), _data(of_group))
            status = function(*inputs, len(values[part]), *map(_data, of_outputs))
            assert status == 0, status

    def _arguments(self, precision: str, values: NDArray[np.float32]) -> tuple[object, ...]:
        """Those that all three functions begin with; the first operating point."""
        scratch = self._scratch.ctypes.data
        return self._handle, PRECISIONS[precision], 0, scratch, _data(values)


def _data(array: NDArray[np.generic] | None) -> int | None:
    return None if array is None else array.ctypes.data
