"""The lines of docs/embedding.md run from top to bottom; their hosts print Python's verdicts."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from printed import lines
from programs import ENGINE, REPOSITORY, require, run

import knowngood
from knowngood._kgd import encode
from knowngood.stdf import write_lot
from sealed_models import seal_up
from tiny_lots import tiny_lot
from tiny_models import tiny_network

pytestmark = pytest.mark.slow
PAGE = (REPOSITORY / "docs" / "embedding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.M | re.S)
PROGRAMS = (
    "out/touchdown",
    "out/touchdown_static",
    "out/hosts/touchdown",
    "out/hosts/touchdown_cpp",
)


class Followed(NamedTuple):
    """A tree in which somebody did as the page says."""

    folder: Path
    printed: str


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    require("bash", "cmake", "cc", "c++", "pkg-config", "objdump")
    folder = tmp_path_factory.mktemp("tree")
    for name in ("runtime", "examples", "LICENSE"):
        (folder / name).symlink_to(REPOSITORY / name)
    network = tiny_network()
    lot = tiny_lot(network)
    values = np.where(np.isinf(lot.values), np.float32(1), lot.values)  # no STDF holds infinities
    (folder / "model.kgd").write_bytes(encode(seal_up(network)))
    write_lot(folder / "lot7.stdf", replace(lot, values=values))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Followed(folder, run("bash", "-euc", script(folder), set_to={"PATH": path}))


def script(folder: Path) -> str:
    """What a reader types."""
    typed = (
        block if language == "sh" else f"python - <<'END'\n{block}END\n"
        for language, block in BLOCKS
    )
    return f"cd '{folder}'\n" + "".join(typed)


def test_every_host_prints_what_python_says(followed: Followed):
    scorer = knowngood.load(followed.folder / "model.kgd")
    lot = knowngood.read_lot(followed.folder / "lot7.stdf")
    expected = lines(scorer, lot.values)
    assert {line.split()[2].strip(",") for line in expected} == {"PASS", "REJECT", "UNSCORED"}
    assert f"{os.linesep.join(expected)}\nended with 1: not every die passes\n" in followed.printed
    for name in PROGRAMS:
        host = [followed.folder / name, followed.folder / "model.kgd"]
        printed = run(
            "sh", "-c", '"$@" || [ $? = 1 ]', "sh", *host, followed.folder / "out/values.f32"
        )
        assert printed.splitlines() == expected, name


def test_columns_are_listed_in_their_order(followed: Followed):
    table = (followed.folder / "out" / "columns.tsv").read_text(encoding="utf-8").splitlines()
    tests = knowngood.load(followed.folder / "model.kgd").schema.tests
    assert [row.split("\t")[:3] for row in table] == [
        [str(column), str(test.number), test.name] for column, test in enumerate(tests)
    ]


def test_it_says_what_is_installed_and_what_glibc_it_takes(followed: Followed):
    listed = re.findall(r"^\| `(?:include|lib|share)/.*? \|", PAGE, re.M)
    found = [path.name for path in (followed.folder / "out" / "installed").rglob("*")]
    for name in ("knowngood.h", "libknowngood.so.0.1", "knowngood", "pkgconfig", "LICENSE"):
        assert name in found
        assert any(name in row for row in listed)
    asked = re.findall(r"^GLIBC_(\d+)\.(\d+)", followed.printed, re.M)
    assert asked
    assert max((int(major), int(minor)) for major, minor in asked) <= (2, 17)
    assert Path(knowngood.__file__).parent.as_posix() in followed.printed.splitlines()


def test_the_declarations_for_other_languages_are_the_headers():
    header = (ENGINE / "include" / "knowngood.h").read_text(encoding="utf-8")
    of_c = dict(re.findall(r"^KG_API [\w *]*?(kg_\w+)\((.*?)\);", header, re.M | re.S))
    of_csharp = dict(re.findall(r"extern \w+ (kg_\w+)\((.*?)\);", PAGE))
    assert len(of_csharp) == 7
    for name, parameters in of_csharp.items():
        assert [kind_of(p) for p in parameters.split(",")] == [
            kind_of(p) for p in of_c[name].split(",")
        ], name


def kind_of(parameter: str) -> str:
    """Pointer, or the kind of number."""
    if re.search(r"\*|\[\]|\bout\b|IntPtr|string", parameter):
        return "pointer"
    word = parameter.split()[0]
    return {"int": "int32_t", "long": "int64_t"}.get(word, word)
