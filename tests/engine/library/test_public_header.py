"""The public header: the standards it compiles under, its numbers, and what it declares."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest
from installation import Installation
from programs import ENGINE, STRICT, require, run

import knowngood
from engine import PRECISIONS, Options, load
from knowngood import Reason, Verdict

HEADER = (ENGINE / "include" / "knowngood.h").read_text(encoding="utf-8")
CONSTANTS = {
    name: int(number)
    for name, number in re.findall(r"^#define KG_(\w+) \(?(-?\d+)\)?", HEADER, re.MULTILINE)
}
SCORING = "const kg_model *, int32_t, int32_t, void *, const float *"
FUNCTIONS = {
    "kg_options_init": "void (kg_options *)",
    "kg_open": "int32_t (const void *, int64_t, const kg_options *, kg_model **, char *, int64_t)",
    "kg_open_file": "int32_t (const char *, const kg_options *, kg_model **, char *, int64_t)",
    "kg_close": "void (kg_model *)",
    "kg_status_text": "const char *(int32_t)",
    "kg_version": "const char *(void)",
    "kg_cpu_path_name": "const char *(int32_t)",
    "kg_cpu_path_is_supported": "int32_t (const char *)",
    "kg_model_cpu_path": "const char *(const kg_model *)",
    "kg_n_tests": "int32_t (const kg_model *)",
    "kg_n_latent": "int32_t (const kg_model *)",
    "kg_digests": "void (const kg_model *, uint8_t *, uint8_t *)",
    "kg_has_precision": "int32_t (const kg_model *, int32_t)",
    "kg_n_points": "int32_t (const kg_model *)",
    "kg_point": "int32_t (const kg_model *, int32_t, int32_t, double *, float *, int32_t *)",
    "kg_find_point": "int32_t (const kg_model *, int32_t, double, int32_t, int32_t *)",
    "kg_scratch_size": "int64_t (const kg_model *)",
    "kg_score": f"int32_t ({SCORING}, const int32_t *, int64_t, float *, int8_t *, int8_t *)",
    "kg_reconstruct": f"int32_t ({SCORING}, const int32_t *, int64_t, float *, float *)",
    "kg_contributions": (
        f"int32_t ({SCORING}, int32_t, int32_t, int32_t *, float *, double *, int32_t *)"
    ),
}
"""The C interface: hosts that are compiled once go on calling exactly these."""
STATUSES = (
    *("OK", "ERROR_USE", "ERROR_MEMORY", "ERROR_FILE", "ERROR_FORMAT", "ERROR_VERSION"),
    *("ERROR_DAMAGED", "ERROR_GOLDEN", "ERROR_POINT", "ERROR_UNSUPPORTED", "ERROR_PRECISION"),
    "ERROR_CPU_PATH",
)
"""By number."""


@pytest.mark.parametrize(
    ("compiler", "standard"),
    [
        *(("gcc", "c99"), ("gcc", "c11"), ("g++", "c++11"), ("g++", "c++17")),
        *(("clang", "c11"), ("clang++", "c++11"), ("clang++", "c++17")),
    ],
)
def test_it_stands_alone_in_every_standard(compiler: str, standard: str, tmp_path: Path):
    require(compiler)
    source = tmp_path / ("host.cpp" if "++" in compiler else "host.c")
    source.write_text('#include "knowngood.h"\nint main(void) { return KG_OK; }\n')
    include = f"-I{ENGINE / 'include'}"
    run(compiler, f"-std={standard}", *STRICT, include, "-c", source, "-o", tmp_path / "host.o")


def test_it_declares_these_functions_and_no_others(tmp_path: Path):
    """The compiler compares the types."""
    require("cc")
    declared = re.findall(r"^KG_API [\w *]*?(kg_\w+)\(", HEADER, re.MULTILINE)
    assert sorted(declared) == sorted(FUNCTIONS)
    pointers = [
        f"{result.strip()} (*const pointer_{i})({parameters} = {name};"
        for i, (name, kind) in enumerate(FUNCTIONS.items())
        for result, _, parameters in [kind.partition("(")]
    ]
    uses = [f"pointer_{i} == 0" for i in range(len(FUNCTIONS))]
    main = f"int main(void) {{ return {' || '.join(uses)}; }}"
    source = tmp_path / "declared.c"
    source.write_text("\n".join(['#include "knowngood.h"', *pointers, main]))
    strict = [flag for flag in STRICT if flag != "-pedantic"]
    run("cc", "-std=c11", *strict, "-Wno-address", f"-I{ENGINE / 'include'}", "-c", source,
        "-o", tmp_path / "declared.o")  # fmt: skip


def test_the_numbers_of_verdicts_and_reasons_are_those_of_the_package():
    assert {verdict.name: CONSTANTS[verdict.name] for verdict in Verdict} == {
        verdict.name: verdict.value for verdict in Verdict
    }
    reasons = {name[7:]: n for name, n in CONSTANTS.items() if name.startswith("REASON_")}
    assert reasons == {reason.name: reason.value for reason in Reason}


def test_the_numbers_of_precisions_are_those_that_hosts_were_compiled_with():
    found = {name[10:]: n for name, n in CONSTANTS.items() if name.startswith("PRECISION_")}
    assert found == {"DEFAULT": -1, "FP32": 0, "INT8": 1, "VERIFIED": 2}
    assert {name.lower(): n for name, n in found.items() if n >= 0} == PRECISIONS


def test_the_numbers_of_statuses_never_change():
    found = {k: n for k, n in CONSTANTS.items() if k == "OK" or k.startswith("ERROR_")}
    assert found == {name: number for number, name in enumerate(STATUSES)}


@pytest.fixture(scope="module")
def lib(installed: Installation) -> ctypes.CDLL:
    return load(installed.library)


def test_every_status_has_a_text_of_its_own(lib: ctypes.CDLL):
    texts = [lib.kg_status_text(status).decode() for status in range(len(STATUSES))]
    unknown = {lib.kg_status_text(n).decode() for n in (-1, len(STATUSES), 2**31 - 1, -(2**31))}
    assert unknown == {"an unknown status"}
    assert len({*texts, *unknown}) == len(STATUSES) + 1


def test_the_version_is_that_of_the_package(lib: ctypes.CDLL):
    lib.kg_version.restype = ctypes.c_char_p
    assert lib.kg_version().decode() == knowngood.__version__
    assert f'#define KG_VERSION "{knowngood.__version__}"' in HEADER


def test_options_are_laid_out_as_other_languages_write_them_down(lib: ctypes.CDLL):
    options = Options(7, b"x", 7, 7)
    lib.kg_options_init(ctypes.byref(options))
    found = (options.size, options.cpu_path, options.skip_golden, options.reserved)
    assert found == (ctypes.sizeof(Options), None, 0, 0)
