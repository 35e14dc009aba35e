"""Wheel and sdist: what is in them, and what the wheel can do where little else is installed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
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


def build(what: str, source: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{what}", "-o", str(out)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", REPOSITORY, tmp_path_factory.mktemp("wheel"))


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
        files = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        expected |= {p.relative_to(folder.parent).as_posix() for p in files}
    information = {name for name in found if ".dist-info/" in name}
    assert found - information == expected
    assert {"knowngood/py.typed", "knowngood_quantize/py.typed"} < found
    assert {"knowngood_export/py.typed", "knowngood/report/template.html.j2"} < found
    assert any(name.endswith("/licenses/LICENSE") for name in information)
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path / "source", filter="data")
    assert {"LICENSE", "README.md", "pyproject.toml", "Makefile", "constraints.txt"} < names
    assert any(name.startswith("tests/") for name in names)
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


def installed(
    wheel: Path, version: str, extra: str | None, wanted: Sequence[str] | None = None
) -> Path:
    """The Python of an environment with the wheel and what it asks for; only the wheel is new."""
    python, wanted = interpreter(version), wanted or requirements(wheel, extra)
    key = hashlib.sha256("\n".join([version, *wanted]).encode()).hexdigest()[:12]
    folder = REPOSITORY / ".venvs" / f"wheel-{extra or 'alone'}-{version}-{key}"
    inside = folder / "bin" / "python"
    with locked(folder):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([python, "-m", "venv", str(folder)], check=True)
            if (why := pip(inside, *wanted)) is not None:
                pytest.skip(f"pip cannot install {' '.join(wanted)} on Python {version}: {why}")
            (folder / "complete").touch()
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
    without = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [str(python.with_name("knowngood")), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=without,
    )


@pytest.mark.parametrize("version", ["3.10", "3.11"])
def test_with_the_onnxruntime_extra_alone_it_scores(
    wheel: Path, bench: Path, tmp_path: Path, version: str
) -> None:
    python = installed(wheel, version, "onnxruntime")
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
    wheel: Path, sealed_models: Path, tmp_path: Path, version: str, numpy: str
) -> None:
    python = installed(wheel, version, None, [numpy] if numpy else None)
    done = knowngood(python, tmp_path, "selftest", str(sealed_models / "topk.kgd"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    golden = json.loads(done.stdout)["golden"]
    assert {score["precision"] for score in golden} == {"verified", "int8", "fp32"}
    score_sealed(python, sealed_models, tmp_path / "there.npz")
    assert str(np.load(tmp_path / "there.npz")["where"]).startswith(version)
    here = dict(bits(sealed_models.parent / "here.npz"))
    assert dict(bits(tmp_path / "there.npz")) == here
    assert len(here) == len(SEALED) * 3 * 4


def test_with_numpy_alone_a_lot_is_scored_from_the_command_line(
    wheel: Path, bench: Path, tmp_path: Path
) -> None:
    python = installed(wheel, "3.10", None)
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
    wheel: Path, bench: Path, tmp_path: Path
) -> None:
    python = installed(wheel, "3.10", None)
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
