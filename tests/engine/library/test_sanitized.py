"""The engine's tests again, with sanitizers in the library; threads under a race detector."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from programs import ENGINE, HERE, REPOSITORY, attempt, n_passed, require, run

from engine import compile_host, compile_library, sanitized

pytestmark = pytest.mark.slow
N_THREADS, N_CALLS = 6, 300
BOTH = "address,undefined"
ABOUT_THE_BINDING = "native or sealed or score_into"
ONLY_PYTHONS_FINDERS = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if f.__class__ is type]
"""
"""So that PYTHONPATH goes before an editable install, whose finder is an object."""
BUILT = shutil.ignore_patterns("*.so", "*.pyc", "__pycache__")
FAULTS = {
    "address": "int main(int n, char **v) { volatile int x[4] = {0}; return x[n * 5]; }",
    "undefined": "int main(int n, char **v) { volatile int most = 2147483647; return n + most; }",
    "thread": """
        #include <pthread.h>
        static int shared;
        static void *add(void *p) { shared++; return p; }
        int main(void) {
            pthread_t threads[2];
            for (int i = 0; i < 2; i++) pthread_create(&threads[i], 0, add, 0);
            for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
            return 0;
        }""",
}
"""A fault for each to find."""


def need(compiler: str, sanitizer: str, folder: Path) -> None:
    """Skip where it is not installed or cannot run; it finds what it is there for."""
    source, program = folder / f"{sanitizer}.c", folder / sanitizer
    source.write_text(FAULTS[sanitizer])
    flags = sanitized(sanitizer)
    built = attempt(compiler, "-w", *flags, "-pthread", source, "-o", program)
    if built.returncode:
        pytest.skip(f"{compiler} cannot link with -fsanitize={sanitizer}: {built.stderr[-300:]}")
    done = attempt(program)
    names = r"(AddressSanitizer|ThreadSanitizer): (?!FATAL|CHECK)|runtime error"
    if not re.search(names, done.stderr):
        pytest.skip(f"-fsanitize={sanitizer} finds nothing here: {done.stderr[-300:]}")
    assert done.returncode != 0


@pytest.fixture(scope="module")
def preloaded(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What starts this Python, which has no sanitizer in itself, with the runtime of one."""
    folder = tmp_path_factory.mktemp("faults")
    need(compiler, "address", folder)
    need(compiler, "undefined", folder)
    runtime = run(compiler, "-print-file-name=libasan.so").strip()
    if not Path(runtime).is_absolute():
        pytest.skip(f"{compiler} has no libasan.so to start Python with")
    # leaks of the engine are looked for in test_fuzzed_reader, not among Python's own; the small
    # quarantine leaves memory to tests that measure growth
    return {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=1"}


def test_the_engines_tests_under_address_and_undefined_behaviour_sanitizers(
    preloaded: dict[str, object], tmp_path: Path
):
    which = ["tests/engine", f"--ignore={HERE}", "-m", "not slow"]
    assert n_passed(which, tmp_path / "tests", {**preloaded, "KG_TEST_SANITIZE": BOTH}) >= 100


def test_the_binding_under_address_and_undefined_behaviour_sanitizers(
    preloaded: dict[str, object], tmp_path: Path
):
    package = sanitized_package(tmp_path)
    environment = {**preloaded, "PYTHONPATH": package.parent}
    find = "import knowngood._native as found; print(found.__file__)"
    assert run(sys.executable, "-c", find, set_to=environment).startswith(str(package))
    which = ["tests/runtime", "-m", "not slow", "-k", ABOUT_THE_BINDING]
    assert n_passed(which, tmp_path / "tests", environment) >= 50


def sanitized_package(folder: Path) -> Path:
    """The Python package with an engine and a binding that are watched."""
    require("cmake")
    package, build = folder / "package" / "knowngood", folder / "build"
    shutil.copytree(REPOSITORY / "runtime/knowngood", package, ignore=BUILT)
    options = [f"-DKG_SANITIZE={BOTH}", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_C_FLAGS=-O1"]
    python = f"-DPython_EXECUTABLE={sys.executable}"
    run("cmake", "-S", ENGINE / "python", "-B", build, *options, python)
    run("cmake", "--build", build, "--parallel", 2)
    for library in build.rglob("*.so"):
        shutil.copy(library, package)
    (package.parent / "sitecustomize.py").write_text(ONLY_PYTHONS_FINDERS)
    return package


def test_threads_that_share_a_model_do_not_race(compiler: str, small_model: Path, tmp_path: Path):
    need(compiler, "thread", tmp_path)
    library = compile_library(compiler, tmp_path, sanitized("thread"))
    host = compile_host(compiler, HERE / "threads.c", library, sanitized("thread"))
    assert run(host, small_model, N_THREADS, N_CALLS) == "wrong 0\n"


def test_threads_that_share_a_model_at_full_speed(compiler: str, library: Path, small_model: Path):
    host = compile_host(compiler, HERE / "threads.c", library)
    assert run(host, small_model, N_THREADS, 40 * N_CALLS) == "wrong 0\n"
