"""One scorer in several threads, in pickles, and in forked and spawned processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from knowngood import ModelFileError, Scorer, load
from knowngood._kgd import encode
from knowngood_export.tflite_writer import network_to_tflite
from sealed_models import seal_up, tiny_sealed
from tiny_models import tiny_manifest, tiny_network, tiny_onnx

NAMES = ("model.kgd", "model.onnx", "model.tflite")
PRECISIONS = ("verified", "int8", "fp32")
CHILDREN = Path(__file__).with_name("score_in_children.py")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model of each kind, all of the same six tests."""
    folder = tmp_path_factory.mktemp("models")
    network = tiny_network()
    (folder / "model.kgd").write_bytes(encode(tiny_sealed()))
    (folder / "model.onnx").write_bytes(tiny_onnx(network))
    (folder / "model.tflite").write_bytes(network_to_tflite(network, tiny_manifest(network)))
    return folder


def some_dies(n_dies: int = 64) -> np.ndarray:
    scaler = tiny_network().screen.scaler
    z = np.random.default_rng(4).normal(size=(n_dies, 6))
    values = (scaler.centre[0] + z / scaler.inv_scale[0]).astype(np.float32)
    values[3], values[5, 1] = np.nan, np.inf
    return values


def bits(scorer: Scorer, values: np.ndarray) -> list[int]:
    return scorer.score(values).scores.view(np.uint32).tolist()


def all_scorers(models: Path) -> list[Scorer]:
    sealed = [
        load(models / "model.kgd", engine=engine, precision=precision)
        for engine in ("native", "reference")
        for precision in PRECISIONS
    ]
    return [*sealed, *(load(models / name) for name in NAMES[1:])]


def test_eight_threads_on_one_scorer_get_the_same_bits(models: Path) -> None:
    values = some_dies()
    for scorer in all_scorers(models):
        expected = np.array(bits(scorer, values), dtype=np.uint32)
        wrong: list[tuple[int, int]] = []

        def work(offset: int, scorer: Scorer = scorer, expected=expected, wrong=wrong) -> None:
            outputs = np.empty(64, np.float32), np.empty(64, np.int8), np.empty(64, np.int8)
            for i in range(25):
                n_dies = 1 + (offset + i) % 7
                rows = slice(offset, offset + n_dies)
                scores, verdicts, reasons = (array[:n_dies] for array in outputs)
                scorer.score_into(values[rows], scores, verdicts, reasons)
                if scores.view(np.uint32).tolist() != expected[rows].tolist():
                    wrong.append((offset, i))

        threads = [threading.Thread(target=work, args=(7 * t,)) for t in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, scorer


def test_a_pickle_brings_file_engine_precision_and_operating_point_back(models: Path) -> None:
    values = some_dies()
    for scorer in all_scorers(models):
        pickled = pickle.dumps(scorer.at(0.02))
        assert b"pathlib" not in pickled  # the Path of one system is none on another
        copy = pickle.loads(pickled)
        assert bits(copy, values) == bits(scorer.at(0.02), values)
        for name in ("fpr", "precision", "engine_name", "model_id", "model_digest", "path"):
            assert getattr(copy, name) == getattr(scorer.at(0.02), name), name
        assert copy.threshold == scorer.at(0.02).threshold


def test_an_unsupported_point_survives_its_pickle(models: Path) -> None:
    scorer = load(models / "model.kgd", fpr=0.001, extrapolate=True)
    assert pickle.loads(pickle.dumps(scorer)).fpr == 0.001


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_whose_model_was_changed_is_refused(models: Path, name: str) -> None:
    pickled = bytearray(pickle.dumps(load(models / name)))
    data = (models / name).read_bytes()
    start = bytes(pickled).index(data)
    pickled[start + len(data) // 2] ^= 1
    with pytest.raises(ModelFileError):
        pickle.loads(bytes(pickled))


def test_a_pickle_is_checked_against_the_engine_that_opens_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose engine computes something else says so before it scores a die."""
    from knowngood.engines._reference import ReferenceEngine

    pickled = pickle.dumps(load(models / "model.kgd", engine="reference"))
    score = ReferenceEngine.score
    monkeypatch.setattr(
        ReferenceEngine, "score", lambda self, *given: np.nextafter(score(self, *given), 9)
    )
    with pytest.raises(ModelFileError, match="golden"):
        pickle.loads(pickled)


@forks
def test_children_score_the_same_bits_and_exit(models: Path, tmp_path: Path) -> None:
    lines = score_in_children("default", tmp_path, some_dies(), *(models / name for name in NAMES))
    assert lines == [line for name in NAMES for line in lines_of_equal_scores(name)]


@forks
def test_children_score_the_same_bits_with_the_reference(models: Path, tmp_path: Path) -> None:
    lines = score_in_children("reference", tmp_path, some_dies(), models / "model.kgd")
    assert lines == lines_of_equal_scores("model.kgd")


@forks
def test_no_fork_falls_into_a_product_on_several_threads(tmp_path: Path) -> None:
    """Layers so wide that NumPy's own threads multiply them."""
    network = tiny_network(widths=(512, 256, 64, 256, 512), n_tests=512)
    (tmp_path / "wide.kgd").write_bytes(encode(seal_up(network, precisions=("int8",))))
    values = np.random.default_rng(5).normal(size=(512, 512)).astype(np.float32)
    lines = score_in_children("reference", tmp_path, values, tmp_path / "wide.kgd")
    assert lines == lines_of_equal_scores("wide.kgd")


def score_in_children(engine: str, folder: Path, values: np.ndarray, *models: Path) -> list[str]:
    """What `score_in_children.py` says, with as many threads as NumPy takes by itself."""
    np.save(folder / "values.npy", values)
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, str(CHILDREN), engine, str(folder / "values.npy"), *map(str, models)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def lines_of_equal_scores(name: str) -> list[str]:
    return [
        f"{name} fork {[0] * 3}",
        f"{name} fork while scoring {[0] * 5}",
        f"{name} fork {[True] * 4}",
        f"{name} spawn {[True] * 4}",
    ]
