"""Rivals' graphs and the job around them: what ONNX Runtime, LiteRT and arrays make of them is the
float64 oracle's score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.rivals import _arrays, _litert, _onnxruntime
from benchmarks.rivals._job import Job, around
from benchmarks.rivals._protocol import Contestant, Folder, UnsuitedError
from benchmarks.speed._files import write_job, write_lean_files
from benchmarks.speed._lean_onnx import lean_onnx
from benchmarks.speed._lean_tflite import lean_tflite
from knowngood import Verdict
from knowngood._forward import forward, reconstruct
from knowngood._network import Network, OperatingPoint
from random_networks import make_dies, make_network

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # as in a worker
HEADS = ("topk", "normalized")
RIVALS = {
    "onnxruntime": _onnxruntime.contestants,
    "litert": _litert.contestants,
    "numpy": _arrays.contestants_of_numpy,
    "torch": _arrays.contestants_of_torch,
}
RELATIVE_ERROR = {"fp32": 2e-5, "int8": 0.15}
N_DIES = 240
THRESHOLD_RANK = 0.7


def complete_head(network: Network) -> Network:
    """As heads are fitted: nothing is added to the score of a complete die."""
    offset = network.screen.head.present_offset.copy()
    offset[-1] = 0
    head = replace(network.screen.head, present_offset=offset)
    return replace(network, screen=replace(network.screen, head=head))


@pytest.fixture(scope="module", params=HEADS)
def scene(request, tmp_path_factory) -> tuple[Network, Folder, np.ndarray]:
    network = complete_head(make_network((40, 24, 8, 24, 40), head=request.param))
    values, _ = make_dies(network, N_DIES, missing=0)
    scores = forward(network, values).scores
    threshold = float(np.float32(np.quantile(scores, THRESHOLD_RANK)))
    point = OperatingPoint(0.005, threshold, threshold, threshold, N_DIES, True)
    network = replace(network, screen=network.screen.with_operating_points([point]))
    folder = tmp_path_factory.mktemp("case")
    write_lean_files(network, values, folder)
    write_job(network, folder)
    return network, Folder(folder), values


def test_every_rival_comes_in_every_way(scene):
    ways = {(c.precision, c.configuration) for c in RIVALS["onnxruntime"](scene[1])}
    assert len(ways) == 8
    assert ("int8", "job in the graph, in blocks") in ways


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("n_dies", [1, 3, N_DIES])
def test_scores_and_verdicts_of_complete_dies(scene, rival: str, n_dies: int):
    network, folder, values = scene
    expected = forward(network, values[:n_dies]).scores
    threshold = network.screen.operating_point(0.005).threshold
    for contestant in RIVALS[rival](folder):
        try:
            judge = contestant.prepare(n_dies)
        except UnsuitedError:
            assert "blocks" in contestant.configuration
            continue
        for _ in range(2):  # the second call finds the buffers of the first
            scores, verdicts = judge(values[:n_dies])
            assert_allclose(
                scores, expected, rtol=RELATIVE_ERROR[contestant.precision], err_msg=str(contestant)
            )
            rejected = np.where(scores <= threshold, Verdict.PASS, Verdict.REJECT)
            assert_array_equal(verdicts, rejected)


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("n_dies", [1, 20])
def test_a_die_with_missing_tests_is_scored_with_masks(scene, rival: str, n_dies: int):
    network, folder, values = scene
    values = values[:n_dies].copy()
    values[0, [2, 7]] = np.nan
    if n_dies > 4:
        values[1] = np.nan
        values[3, 4] = np.inf
        values[4, :30] = np.nan
        values[5, 6] *= 1e12
    expected = forward(network, values).scores
    assert np.isfinite(expected[0])
    for contestant in (c for c in RIVALS[rival](folder) if "blocks" not in c.configuration):
        scores, verdicts = contestant.prepare(n_dies)(values)
        assert_array_equal(np.isnan(scores), np.isnan(expected), err_msg=str(contestant))
        assert_allclose(scores, expected, rtol=RELATIVE_ERROR[contestant.precision])
        assert_array_equal(verdicts == Verdict.UNSCORED, np.isnan(expected))


def test_blocks_divide_the_batch(scene):
    _, _, values = scene
    made: list[int] = []

    def prepare(n_dies: int) -> Callable:
        made.append(n_dies)
        return lambda dies: (dies[:, 0].copy(), np.ones(len(dies), np.int8))

    from benchmarks.rivals._protocol import prepared_in_blocks

    scores, _ = prepared_in_blocks(prepare)(N_DIES)(values)
    assert made == [120]
    assert_array_equal(scores, values[:, 0])
    with pytest.raises(UnsuitedError):
        prepared_in_blocks(prepare)(64)


@pytest.mark.parametrize("write", [lean_onnx, lean_tflite])
def test_an_activation_that_is_not_written_is_refused(write: Callable):
    with pytest.raises(ValueError, match="only relu"):
        write(make_network(activation="tanh"), is_bare=True)


def test_the_bare_network_gives_the_reconstruction(scene):
    network, folder, values = scene
    u = network.screen.scaler.standardise(values, np.zeros(len(values), np.int32))
    bound = _onnxruntime._open(folder.file("bare.fp32.onnx"))(len(values))
    bound.x[...] = u
    assert_allclose(bound.run(), reconstruct(network, u), atol=1e-5)


def test_what_contestants_say_of_themselves():
    contestant = Contestant("some engine", "int8", "in its way", "1.2", lambda _: around)
    assert contestant.introduction() == "some engine\tint8\tin its way\t1.2\t0\t0"


def test_a_job_is_what_was_written(scene):
    network, folder, _ = scene
    job = Job.read(folder.file("job.npz"))
    assert job.is_topk == (network.screen.head.kind == "topk")
    assert job.k == network.screen.head.k
    centre = job.high.astype(np.float64) + job.low
    assert_allclose(centre, network.screen.scaler.centre[0], rtol=1e-14)
    assert isinstance(job.threshold, np.float32)
