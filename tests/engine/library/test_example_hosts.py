"""The hosts in examples/hosts, against the installed library: they print Python's verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from installation import Installation, Touchdown
from printed import lines
from programs import HOSTS, STRICT, attempt, require, run

from knowngood import load
from knowngood._kgd import encode
from sealed_models import seal_up, varied_network

pytestmark = pytest.mark.slow
FLAGS = " ".join(STRICT)


def test_hosts_are_built_with_cmake(installed: Installation, touchdown: Touchdown, tmp_path: Path):
    require("cmake", "c++")
    build = ["-S", HOSTS, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed.prefix}"]
    run("cmake", *build, f"-DCMAKE_C_FLAGS={FLAGS}", f"-DCMAKE_CXX_FLAGS={FLAGS}")
    run("cmake", "--build", tmp_path, "--parallel", 2)
    for name in ("touchdown", "touchdown_static", "touchdown_cpp"):
        assert printed_by(tmp_path / name, touchdown, installed) == touchdown.lines, name


def test_no_host_is_forgotten():
    built = (HOSTS / "CMakeLists.txt").read_text(encoding="utf-8")
    sources = [path.name for path in HOSTS.iterdir() if path.suffix in (".c", ".cpp")]
    assert len(sources) >= 2
    assert [name for name in sources if f" {name})" not in built] == []


def printed_by(host: Path, touchdown: Touchdown, installed: Installation) -> list[str]:
    kinds = {line.split()[2].strip(",") for line in touchdown.lines}
    assert kinds == {"PASS", "REJECT", "UNSCORED"}
    path = {"LD_LIBRARY_PATH": installed.folder}
    done = attempt(host, touchdown.model, touchdown.values, set_to=path)
    assert done.returncode == 1, done.stderr  # not every die passes
    return done.stdout.splitlines()


@pytest.fixture(scope="module", params=["touchdown.c", "touchdown.cpp"])
def host(
    request: pytest.FixtureRequest,
    installed: Installation,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Linked with the archive, so that it runs anywhere."""
    source = HOSTS / request.param
    compiler = ("c++", "-std=c++17") if source.suffix == ".cpp" else ("cc", "-std=c11")
    require(compiler[0])
    program = tmp_path_factory.mktemp("host") / "touchdown"
    run(*compiler, *STRICT, source, f"-I{installed.include}", installed.archive, "-o", program)
    return program


def test_a_clean_touchdown_ends_with_0(host: Path, touchdown: Touchdown, tmp_path: Path):
    first = touchdown.lines.index(next(line for line in touchdown.lines if "PASS" in line))
    data = touchdown.values.read_bytes()
    size = len(data) // len(touchdown.lines)
    (tmp_path / "one.f32").write_bytes(data[first * size :][:size])
    done = attempt(host, touchdown.model, tmp_path / "one.f32")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("die 0: PASS, score ")


def test_a_host_says_what_is_wrong_with_a_model(host: Path, touchdown: Touchdown, tmp_path: Path):
    (tmp_path / "wrong").write_bytes(b"no model")
    says = refusal(host, tmp_path / "wrong", touchdown.values)
    assert says.startswith(f"{tmp_path / 'wrong'}: not ")
    assert str(tmp_path / "none") in refusal(host, tmp_path / "none", touchdown.values)


def test_a_host_says_what_is_wrong_with_the_dies(host: Path, touchdown: Touchdown, tmp_path: Path):
    (tmp_path / "wrong").write_bytes(bytes(43))
    says = refusal(host, touchdown.model, tmp_path / "wrong")
    assert "43 bytes are not whole dies of 10 tests, 40 bytes each" in says
    says = refusal(host, touchdown.model, tmp_path / "none")
    assert f"{tmp_path / 'none'}: cannot be read: No such file" in says


def test_a_host_takes_no_other_model_than_the_one_asked_for(host: Path, touchdown: Touchdown):
    found = touchdown.model.read_bytes()[64:96].hex()
    pinned = attempt(host, "--model-id", found, touchdown.model, touchdown.values)
    assert pinned.stdout.splitlines() == touchdown.lines
    other = found.replace(found[0], "0" if found[0] == "f" else "f", 1)
    says = refusal(host, "--model-id", other, touchdown.model, touchdown.values)
    assert f"expected model_id {other}, found {found}" in says


def test_a_point_of_too_few_dies_is_refused_unless_asked_for(
    host: Path, touchdown: Touchdown, tmp_path: Path
):
    sealed = seal_up(varied_network((10, 5, 3, 5, 10), "relu", "topk", 1))
    doubtful = replace(sealed, screen=replace(sealed.screen, default_fpr=0.001))
    (tmp_path / "model.kgd").write_bytes(encode(doubtful))
    files = (tmp_path / "model.kgd", touchdown.values)
    says = refusal(host, *files)
    assert "rests on too few dies; --fpr takes 0.001 (too few dies: with --extrapolate" in says
    assert says.endswith(" 0.005 0.02\n")
    assert "--fpr takes" in refusal(host, "--fpr", 0.03, *files)
    values = np.fromfile(touchdown.values, np.float32).reshape(-1, 10)
    for option, fpr in ((["--extrapolate"], None), (["--fpr", "0.02"], 0.02)):
        scorer = load(files[0], fpr=fpr, extrapolate=True)
        assert attempt(host, *option, *files).stdout.splitlines() == lines(scorer, values)


@pytest.mark.parametrize(
    "wrong", [(), ("--fpr", "x"), ("--fpr", "0"), ("--faster",), ("--model-id",)]
)
def test_a_host_says_how_it_is_used(host: Path, touchdown: Touchdown, wrong: tuple[str, ...]):
    done = attempt(host, *wrong, *([touchdown.model, touchdown.values] if wrong else []))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: touchdown [--model-id HEX] ")


def refusal(host: Path, *arguments: object) -> str:
    done = attempt(host, *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    return done.stderr
