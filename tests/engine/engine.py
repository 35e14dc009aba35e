"""libknowngood compiled from its sources and called through ctypes, as thin as tests need it."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SOURCES = Path(__file__).resolve().parents[2] / "runtime" / "engine"
PRECISIONS = {"fp32": 0, "int8": 1, "verified": 2}
FLAGS = [
    *("-std=c11", "-O2", "-fno-fast-math", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-Werror"),
]


def compile_library(compiler: str, folder: Path) -> Path:
    """Compile the engine as CMakeLists.txt does and return the library, ``libknowngood.so``."""
    library = folder / "libknowngood.so"
    sources = sorted((SOURCES / "src").rglob("*.c"))
    flags = [*FLAGS, "-shared", "-DKG_SHARED", "-DKG_BUILDING", f"-I{SOURCES / 'src'}"]
    _compile(compiler, [*flags, *map(str, sources)], library)
    return library


def compile_host(compiler: str, source: Path, library: Path) -> Path:
    """Compile a program of one file against the library and return it."""
    program = library.with_name(source.stem)
    arguments = [str(source), str(library), f"-Wl,-rpath,{library.parent}", "-lm"]
    _compile(compiler, [*FLAGS, *arguments], program)
    return program


def _compile(compiler: str, arguments: Sequence[str], output: Path) -> None:
    command = [compiler, *arguments, f"-I{SOURCES / 'include'}", "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Options(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_int64),
        ("path", ctypes.c_char_p),
        ("skip_golden", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


def load(library: Path) -> ctypes.CDLL:
    """The library, with the argument types that ctypes cannot guess."""
    lib = ctypes.CDLL(str(library))
    pointer, int32, int64, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_char_p
    call = [pointer, int32, int32, pointer, pointer, pointer]
    lib.kg_scratch_size.restype = int64
    lib.kg_path_name.restype = text
    lib.kg_model_path.restype = text
    lib.kg_status_text.restype = text
    lib.kg_open.argtypes = [pointer, int64, pointer, pointer, text, int64]
    lib.kg_open_file.argtypes = [text, pointer, pointer, text, int64]
    lib.kg_score.argtypes = [*call, int64, pointer, pointer, pointer]
    lib.kg_reconstruct.argtypes = [*call, int64, pointer, pointer]
    lib.kg_contributions.argtypes = [*call[:-1], int32, int32, *[pointer] * 4]
    lib.kg_point.argtypes = [pointer, int32, int32, pointer, pointer, pointer]
    lib.kg_find_point.argtypes = [pointer, int32, ctypes.c_double, int32, pointer]
    lib.kg_digests.argtypes = [pointer, pointer, pointer]
    for name in ("scratch_size", "close", "model_path", "n_tests", "n_latent", "n_points"):
        getattr(lib, f"kg_{name}").argtypes = [pointer]
    lib.kg_has_precision.argtypes = [pointer, int32]
    return lib


def path_names(lib: ctypes.CDLL) -> list[str]:
    """The paths that this processor has, the fastest first."""
    names, index = [], 0
    while (name := lib.kg_path_name(index)) is not None:
        names.append(name)
        index += 1
    return [name.decode() for name in names if lib.kg_path_is_supported(name)]


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
        self.path = lib.kg_model_path(self._handle).decode()
        self.n_tests = lib.kg_n_tests(self._handle)
        self.n_latent = lib.kg_n_latent(self._handle)

    def close(self) -> None:
        """Free it, and see that nothing was written behind the scratch."""
        assert (self._scratch[-128:] == 0xA5).all()
        self._lib.kg_close(self._handle)

    def score(
        self, precision: str, values: NDArray[np.float32], group: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.int8]]:
        """Scores, verdicts and reasons at the first operating point."""
        n = len(values)
        scores = np.full(n, 7, np.float32)
        verdicts, reasons = np.full((2, n), 99, np.int8)
        self._call("kg_score", precision, values, group, scores, verdicts, reasons)
        return scores, verdicts, reasons

    def reconstruct(
        self, precision: str, values: NDArray[np.float32], group: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Reconstruction and, if the model has one, latent code."""
        reconstruction = np.empty((len(values), self.n_tests), np.float32)
        latent = np.empty((len(values), self.n_latent), np.float32) if self.n_latent else None
        self._call("kg_reconstruct", precision, values, group, reconstruction, latent)
        return reconstruction, latent

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
        *outputs: NDArray[np.generic] | None,
    ) -> None:
        values = np.ascontiguousarray(values, np.float32)
        group = None if group is None else np.ascontiguousarray(group, np.int32)
        inputs = (*self._arguments(precision, values), _data(group), len(values))
        status = getattr(self._lib, name)(*inputs, *map(_data, outputs))
        assert status == 0, status

    def _arguments(self, precision: str, values: NDArray[np.float32]) -> tuple[object, ...]:
        """Those that all three functions begin with; the first operating point."""
        scratch = self._scratch.ctypes.data
        return self._handle, PRECISIONS[precision], 0, scratch, _data(values)


def _data(array: NDArray[np.generic] | None) -> int | None:
    return None if array is None else array.ctypes.data
