"""Wheel and sdist: what is in them, and what the wheel can do where little else is installed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest

from benchmarks._other_python import locked
from knowngood import load, read_lot, read_verdicts
from knowngood._kgd import encode
from knowngood._lot import Dies, Lot
from knowngood.stdf import write_lot
from knowngood_export.onnx_writer import network_to_onnx
from random_networks import make_dies, make_manifest, make_network
from sealed_models import seal_up, varied_network

REPOSITORY = Path(__file__).resolve().parents[2]
SEALED = {"mse": "elu", "normalized": "leaky_relu", "topk": "sigmoid", "mahalanobis": "tanh"}
"""A head, and the activation of its network."""
pytestmark = [pytest.mark.environment, pytest.mark.slow]


def build(
    what: str, source: Path, out: Path, *, by: str | Path = sys.executable, **environment: str
) -> Path:
    command = [str(by), "-m", "build", "--no-isolation", f"--{what}", "-o", str(out)]
    done = subprocess.run(
        [*command, str(source)],
        capture_output=True,
        text=True,
        check=False,
        env=without_python() | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", REPOSITORY, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def old_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 3.10, whose limited API has no buffers."""
    python = environment("build", "3.10", ["build", "scikit-build-core>=0.11", "ninja"])
    return build("wheel", REPOSITORY, tmp_path_factory.mktemp("old_wheel"), by=python)


@pytest.fixture(scope="module")
def wheels(wheel: Path, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """The wheel for a version of Python."""
    return lambda version: request.getfixturevalue("old_wheel") if version == "3.10" else wheel


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", REPOSITORY, tmp_path_factory.mktemp("sdist"))


def contents(wheel: Path) -> dict[str, str]:
    """Digest of each file in the wheel, but of the list of digests."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", "/RECORD"))]
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    found = set(contents(wheel))
    expected = set()
    for root in ("runtime/knowngood", "quantize/knowngood_quantize", "export/knowngood_export"):
        folder = REPOSITORY / root
        files = [p for p in folder.rglob("*") if p.is_file() and not is_built(p)]
        expected |= {p.relative_to(folder.parent).as_posix() for p in files}
    information = {name for name in found if ".dist-info/" in name}
    assert found - information == expected | {
        "knowngood/_native.abi3.so",
        "knowngood/libknowngood.so",
        "knowngood/include/knowngood.h",
    }
    assert {"knowngood/py.typed", "knowngood_quantize/py.typed"} < found
    assert {"knowngood_export/py.typed", "knowngood/report/template.html.j2"} < found
    assert any(name.endswith("/licenses/LICENSE") for name in information)
    platform = sysconfig.get_platform().replace("-", "_")
    assert wheel.name.endswith(f"-cp311-abi3-{platform}.whl")


def test_the_wheel_for_an_older_python_holds_the_same(wheel: Path, old_wheel: Path) -> None:
    assert "-cp310-cp310-" in old_wheel.name
    old, new = (
        {name for name in contents(file) if "/_native." not in name} for file in (old_wheel, wheel)
    )
    assert old == new
    assert any(name.startswith("knowngood/_native.cpython-310") for name in contents(old_wheel))


def is_built(path: Path) -> bool:
    """By an editable install, or by Python."""
    return path.suffix in (".so", ".pyc")


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path / "source", filter="data")
    assert {"LICENSE", "README.md", "pyproject.toml", "Makefile", "constraints.txt"} < names
    assert any(name.startswith("tests/") for name in names)
    sources = {f"runtime/engine/{n}" for n in ("src/api.c", "python/_native.c", "CMakeLists.txt")}
    assert sources < names
    assert not [n for n in names if n.endswith((".so", ".o", "CMakeCache.txt", "build.ninja"))]
    hidden = {name.partition("/")[0] for name in names if name.startswith(".")}
    assert hidden <= {".gitignore"}, "an sdist with a virtual environment in it weighs 100 MB"
    (source,) = (tmp_path / "source").iterdir()
    assert contents(build("wheel", source, tmp_path / "out")) == contents(wheel)


def interpreter(version: str) -> str:
    """A Python of this version, from PATH or where pyenv keeps them."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for path in (shutil.which(f"python{version}"), *map(str, kept)):
        if path is None:
            continue
        command = [path, "-c", "import venv; print('works')"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "works":
            return path
    pytest.skip(f"there is no Python {version} on this machine")


def requirements(wheel: Path, extra: str | None) -> list[str]:
    """What the wheel itself asks for, plainly or for ``extra``."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        asked = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])
    marker = f"extra == '{extra}'"
    wanted = [r for r in asked if "extra ==" not in r or marker in r.replace('"', "'")]
    return [r.partition(";")[0].strip() for r in wanted]


def environment(name: str, version: str, wanted: Sequence[str]) -> Path:
    """The Python of an environment that holds what is wanted, made once."""
    python = interpreter(version)
    key = hashlib.sha256("\n".join([version, *wanted]).encode()).hexdigest()[:12]
    folder = REPOSITORY / ".venvs" / f"{name}-{version}-{key}"
    inside = folder / "bin" / "python"
    with locked(folder):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([python, "-m", "venv", str(folder)], check=True)
            if (why := pip(inside, *wanted)) is not None:
                pytest.skip(f"pip cannot install {' '.join(wanted)} on Python {version}: {why}")
            (folder / "complete").touch()
    return inside


def installed(
    wheel: Path, version: str, extra: str | None, wanted: Sequence[str] | None = None
) -> Path:
    """The Python of an environment with the wheel and what it asks for; only the wheel is new."""
    inside = environment(f"wheel-{extra or 'alone'}", version, wanted or requirements(wheel, extra))
    with locked(inside.parents[1]):
        why = pip(inside, "--no-deps", "--no-index", "--force-reinstall", str(wheel))
    assert why is None, why
    return inside


def pip(python: Path, *arguments: str) -> str | None:
    """Install; the last line of what pip says if it fails."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.onnx, model.kgd and lot.stdf."""
    folder = tmp_path_factory.mktemp("bench")
    network = make_network((24, 12, 5, 12, 24))
    (folder / "model.onnx").write_bytes(network_to_onnx(network, make_manifest(network)))
    (folder / "model.kgd").write_bytes(encode(seal_up(network)))
    values, _ = make_dies(network, 50, missing=0.02)
    dies = Dies.anonymous(len(values), lot="L1", tester_pass=1)
    write_lot(folder / "lot.stdf", Lot(values, network.screen.schema, dies))
    return folder


def knowngood(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python.with_name("knowngood")), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=without_python(),
    )


def without_python() -> dict[str, str]:
    """The environment for another Python than this one."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


@pytest.mark.parametrize("version", ["3.10", "3.11"])
def test_with_the_onnxruntime_extra_alone_it_scores(
    wheels: Callable[[str], Path], bench: Path, tmp_path: Path, version: str
) -> None:
    python = installed(wheels(version), version, "onnxruntime")
    arguments = ("score", str(bench / "model.onnx"), str(bench / "lot.stdf"), "-o", "v.csv")
    done = knowngood(python, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    table = read_verdicts(tmp_path / "v.csv")
    lot = make_dies(make_network((24, 12, 5, 12, 24)), 50, missing=0.02)[0]
    expected = load(bench / "model.onnx").score(lot)
    np.testing.assert_allclose(table.score, expected.scores, rtol=5e-6)
    np.testing.assert_array_equal(table.verdict, expected.verdicts)
    assert np.isfinite(table.score).any()


@pytest.fixture(scope="module")
def sealed_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ``.kgd`` of each head, its dies, and what they get in this environment."""
    folder = tmp_path_factory.mktemp("sealed")
    for head, activation in SEALED.items():
        network = varied_network((24, 12, 5, 12, 24), activation, head, n_groups=3)
        values, group = make_dies(network, 60, missing=0.05)
        values[3], values[4, 5] = np.nan, np.inf
        (folder / f"{head}.kgd").write_bytes(encode(seal_up(network)))
        np.savez(folder / f"{head}.npz", values=values, group=group)
    score_sealed(Path(sys.executable), folder, folder.parent / "here.npz")
    return folder


def score_sealed(python: Path, folder: Path, output: Path) -> None:
    script = Path(__file__).with_name("score_sealed.py")
    command = [str(python), "-I", str(script), str(folder), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def bits(file: Path) -> Iterator[tuple[str, bytes]]:
    with np.load(file) as found:
        yield from ((name, found[name].tobytes()) for name in found.files if name != "where")


@pytest.mark.parametrize(
    ("version", "numpy"),
    [("3.10", "numpy==1.24.4"), ("3.10", ""), ("3.11", ""), ("3.12", ""), ("3.13", "")],
)
def test_with_numpy_alone_a_sealed_file_scores_the_same_bits(
    wheels: Callable[[str], Path],
    sealed_models: Path,
    tmp_path: Path,
    version: str,
    numpy: str,
) -> None:
    python = installed(wheels(version), version, None, [numpy] if numpy else None)
    done = knowngood(python, tmp_path, "selftest", str(sealed_models / "topk.kgd"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    golden = json.loads(done.stdout)["golden"]
    assert {score["precision"] for score in golden} == {"verified", "int8", "fp32"}
    score_sealed(python, sealed_models, tmp_path / "there.npz")
    assert str(np.load(tmp_path / "there.npz")["where"]).startswith(version)
    here = dict(bits(sealed_models.parent / "here.npz"))
    assert dict(bits(tmp_path / "there.npz")) == here
    assert len(here) == len(SEALED) * 3 * 4


FAST_AND_WRONG = "-Ofast -fassociative-math -ffinite-math-only -freciprocal-math"


def test_flags_of_the_environment_change_no_bit(sealed_models: Path, tmp_path: Path) -> None:
    """Nor what the process makes of subnormal numbers, which gcc's start-up code would."""
    flags = {"CFLAGS": FAST_AND_WRONG, "LDFLAGS": "-ffast-math"}
    python = installed(build("wheel", REPOSITORY, tmp_path / "wheel", **flags), "3.12", None)
    score_sealed(python, sealed_models, tmp_path / "there.npz")
    assert dict(bits(tmp_path / "there.npz")) == dict(bits(sealed_models.parent / "here.npz"))
    program = "import knowngood._native, numpy; print(numpy.float32(1e-40) * numpy.float32(2) > 0)"
    done = subprocess.run([str(python), "-I", "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_without_a_c_compiler_pip_says_so(tmp_path: Path) -> None:
    """An editable install and one from source take one; wheels do not."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps"]
    done = subprocess.run(
        [*command, "-w", str(tmp_path), str(REPOSITORY)],
        capture_output=True,
        text=True,
        check=False,
        env=without_python() | {"CC": "/there/is/no/compiler"},
    )
    assert done.returncode != 0
    assert "Could not find compiler" in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_with_numpy_alone_a_lot_is_scored_from_the_command_line(
    old_wheel: Path, bench: Path, tmp_path: Path
) -> None:
    python = installed(old_wheel, "3.10", None)
    model, lot = bench / "model.kgd", bench / "lot.stdf"
    done = knowngood(python, tmp_path, "score", str(model), str(lot), "-o", "v.csv")
    assert (done.returncode, done.stderr) == (0, "")
    expected = load(model).score_lot(read_lot(lot))
    table = read_verdicts(tmp_path / "v.csv")
    np.testing.assert_array_equal(table.score, expected.scores)
    assert np.isfinite(table.score).any()
    assert table.run is not None
    assert table.run["model"]["model_id"] == load(model).model_id


def test_with_numpy_alone_it_inspects_and_names_the_extras(
    old_wheel: Path, bench: Path, tmp_path: Path
) -> None:
    python = installed(old_wheel, "3.10", None)
    model, lot = str(bench / "model.onnx"), str(bench / "lot.stdf")
    for arguments in (["--help"], ["--version"], ["inspect", model], ["inspect", lot]):
        done = knowngood(python, tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert done.stdout
    (tmp_path / "v.csv").write_text("lot\n")
    for extra, arguments in {
        "onnxruntime": ["score", model, lot, "-o", "w.csv"],
        "parquet": ["score", model, lot, "-o", "w.parquet"],
        "export": ["train", lot, "-o", "out"],
        "report": ["report", "v.csv", "-o", "r.html"],
    }.items():
        done = knowngood(python, tmp_path, *arguments)
        assert done.returncode == 2, done.stderr
        assert f"pip install 'knowngood[{extra}]'" in done.stderr
        assert "Traceback" not in done.stderr
    for arguments in (["export", "model.pt", "-o", "out"], ["demo", "-o", "out"]):
        done = knowngood(python, tmp_path, *arguments)
        assert done.returncode == 2, done.stderr
        assert "pip install 'knowngood[" in done.stderr
    assert not list(tmp_path.glob("[wr].*"))
