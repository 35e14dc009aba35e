"""The installed library: what leaves it, what it needs, how much it takes."""

from __future__ import annotations

import ctypes
import platform
import re
from pathlib import Path

import pytest
from installation import Installation
from programs import HERE, REPOSITORY, STRICT, attempt, require, run

from engine import load, path_names
from knowngood import __version__

pytestmark = pytest.mark.slow
MAX_GLIBC, MAX_BYTES, MAX_RESIDENT_BYTES = (2, 17), 300_000, 4 * 2**20
LIBC = {"libc.so.6", "libm.so.6"}
MAY_BE_CALLED = """
    malloc calloc realloc free aligned_alloc posix_memalign mmap munmap madvise
    memcpy memmove memset memcmp memchr strcmp strlen strerror vsnprintf
    fopen fread fclose ferror fstat fileno fseek ftell rewind
    __errno_location __cxa_finalize __stack_chk_fail __tls_get_addr __gmon_start__
    _ITM_deregisterTMCloneTable _ITM_registerTMCloneTable
"""
"""No thread, no lock, no exit, no print, and no file but the one that it is given."""
KNOWN_PATHS = {
    "x86_64": ["avx512vnni", "avx2", "sse41", "scalar"],
    "aarch64": ["neondotprod", "neon", "scalar"],
}
CPU_FLAGS = {
    "avx512vnni": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
    "avx2": {"avx2", "fma"},
    "sse41": {"sse4_1", "ssse3"},
    "neondotprod": {"asimddp"},
    "neon": {"asimd"},
    "scalar": set[str](),
}
"""As /proc/cpuinfo calls what each path needs."""


def need_glibc() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library here is not glibc")


def test_only_the_functions_of_the_header_leave_it(installed: Installation):
    require("nm")
    table = run("nm", "-D", "--defined-only", installed.library)
    exported = re.findall(r"^\S+ \w (\w+)", table, re.MULTILINE)
    header = (installed.include / "knowngood.h").read_text(encoding="utf-8")
    declared = re.findall(r"^KG_API [\w *]*?(kg_\w+)\(", header, re.MULTILINE)
    assert len(declared) > 10
    assert sorted(exported) == sorted(declared)


def test_it_needs_the_c_library_alone(installed: Installation):
    require("objdump")
    need_glibc()
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", installed.library))
    assert "libc.so.6" in needed
    assert set(needed) <= LIBC


def test_programs_ask_for_it_by_major_and_minor_version(installed: Installation):
    require("objdump")
    major, minor, _ = __version__.split(".")
    assert major == "0", "from 1.0 on the major version alone"
    assert f"SONAME               libknowngood.so.{major}.{minor}\n" in run(
        "objdump", "-p", installed.library
    )


@pytest.mark.parametrize(("asked", "is_found"), [("0.1", True), ("0.2", False), ("0.0", False)])
def test_cmake_takes_no_other_minor_version(
    installed: Installation, tmp_path: Path, asked: str, is_found: bool
):
    require("cmake")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(host LANGUAGES C)\n"
        f"find_package(knowngood {asked} REQUIRED)\n"
    )
    where = ("-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed.prefix}")
    assert (attempt("cmake", *where).returncode == 0) is is_found


def test_its_licence_comes_along(installed: Installation):
    licence = (REPOSITORY / "LICENSE").read_bytes()
    assert (installed.prefix / "share" / "doc" / "knowngood" / "LICENSE").read_bytes() == licence


def test_it_loads_where_glibc_is_old(installed: Installation):
    require("objdump")
    need_glibc()
    found = re.findall(r"GLIBC_([\d.]+)", run("objdump", "-T", installed.library))
    versions = [tuple(map(int, version.split("."))) for version in found]
    assert versions
    assert max(versions) <= MAX_GLIBC


def test_it_calls_nothing_that_prints_locks_or_exits(installed: Installation):
    require("nm")
    table = run("nm", "-D", "--undefined-only", installed.library)
    called = {line.split()[-1].split("@")[0] for line in table.splitlines()}
    assert "malloc" in called or "calloc" in called
    assert called <= set(MAY_BE_CALLED.split())


def test_it_is_small(installed: Installation, tmp_path: Path):
    require("strip")
    run("strip", "-o", tmp_path / "stripped.so", installed.library)
    assert 20_000 < (tmp_path / "stripped.so").stat().st_size <= MAX_BYTES


def test_its_stack_cannot_be_executed_and_its_symbols_are_bound_at_load(installed: Installation):
    require("objdump")
    headers = run("objdump", "-p", installed.library)
    assert re.search(r"STACK.*\n.*flags rw-\n", headers)
    assert re.search(r"FLAGS_1? +0x", headers)
    assert "RELRO" in headers
    assert "TEXTREL" not in headers


def test_every_path_is_listed_and_those_of_this_processor_are_supported(installed: Installation):
    lib = load(installed.library)
    machine = platform.machine()
    if machine not in KNOWN_PATHS:
        pytest.skip(f"what paths {machine} has is not written down here")
    listed, index = [], 0
    while (name := lib.kg_cpu_path_name(index)) is not None:
        listed.append(name.decode())
        index += 1
    assert listed == KNOWN_PATHS[machine]
    flags = cpu_flags()
    assert path_names(lib) == [name for name in listed if flags >= CPU_FLAGS[name]]


def cpu_flags() -> set[str]:
    text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    if found is None:
        pytest.skip("/proc/cpuinfo does not say what this processor has")
    return set(found[1].split())


@pytest.mark.parametrize("index", [-1, 99, -(2**31), 2**31 - 1])
def test_no_path_is_beyond_the_list(installed: Installation, index: int):
    assert load(installed.library).kg_cpu_path_name(ctypes.c_int32(index)) is None


def test_what_it_keeps_in_memory(installed: Installation, reference_model: Path, tmp_path: Path):
    """Library, model and scratch; the file is read and given back in between."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc/self/status")
    host = tmp_path / "footprint"
    source = HERE / "footprint.c"
    run("cc", "-std=c11", *STRICT, source, f"-I{installed.include}", "-ldl", "-o", host)
    found = re.fullmatch(
        r"(\d+) now, (\d+) at most\n", run(host, installed.library, reference_model)
    )
    assert found is not None
    assert 500_000 < int(found[1]) <= MAX_RESIDENT_BYTES
    assert int(found[2]) >= int(found[1])
