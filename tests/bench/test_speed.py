"""The benchmark of speed: cases, workers, rounds, wrong answers, figures; never how long a call
took."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmarks._cases import read_cases
from benchmarks._markdown import answers, markdown_table
from benchmarks.rivals._job import Judge
from benchmarks.rivals._protocol import Contestant
from benchmarks.rivals.worker import Worker
from benchmarks.speed._cases import CASES_FILE, Allowed, SpeedCase, read_speed_cases
from benchmarks.speed._figures import figures_of
from benchmarks.speed._files import Dies, write_job, write_lean_files
from benchmarks.speed._page import speed_section
from benchmarks.speed._plot import plot_speed
from benchmarks.speed._rivals import NATIVE, ROOT, Programs, compile_programs
from benchmarks.speed._run import SpeedResult, what_is_wrong
from benchmarks.speed._seats import Seat, WorkerError, WorkerProcess, seats_of
from benchmarks.speed._timing import ROUNDS, Timing, ratio, time_in_rounds
from knowngood._forward import forward
from knowngood._kgd import encode
from knowngood._network import Network, OperatingPoint
from knowngood.engines._reference import score_sealed
from random_networks import make_dies, make_network
from sealed_models import seal_up

EXPECTED = {"fp32": Allowed(1e-5, 1e-4), "int8": Allowed(0.05, 0.1)}


# --- cases


def test_every_case_names_a_model_and_a_head_that_rivals_have():
    models = {case.name for case in read_cases()}
    for case in read_speed_cases():
        assert case.model in models
        assert case.head in ("topk", "normalized")
        assert set(case.expected) == {"fp32", "int8"}
        assert bool(case.cold) == bool(case.n_cold)


def test_the_reference_model_is_timed_at_every_number_of_dies_that_a_figure_asks_for():
    case = read_speed_cases()[0]
    assert case.hot == (1, 3, 4, 8, 16, 64, 256, 1000)
    assert case.cold == (1,)
    assert case.n_dies == 1000


def test_quick_is_one_small_case():
    (quick,) = read_speed_cases(quick=True)
    (full,) = read_speed_cases(only="small-48")
    assert quick.model == full.model == "small-48"
    assert quick.seconds < full.seconds


def test_a_mistake_in_the_file_is_no_case(tmp_path: Path):
    text = CASES_FILE.read_text(encoding="utf-8")
    for before, after in (("n_cold = 75", "n_colds = 75"), ("median = 1e-6, ", "")):
        path = tmp_path / "cases.toml"
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(ValueError, match="reference-512, mean square"):
            read_speed_cases(path)
    with pytest.raises(ValueError, match="no case of the model 'large'"):
        read_speed_cases(only="large")


# --- what is wrong with an answer


@pytest.fixture
def dies() -> Dies:
    scores = np.array([1, 2, 3, np.nan], np.float32)
    return Dies(np.zeros((4, 2), np.float32), scores, {"int8": scores})


VERDICTS = np.array([1, 1, 2, 0], np.int8)


def complaint(dies: Dies, scores: list[float], verdicts=VERDICTS, engine="rival") -> str:
    found = np.array(scores, np.float32)
    return what_is_wrong(engine, "int8", found, verdicts, dies, EXPECTED)


def test_a_right_answer_is_not_complained_of(dies: Dies):
    assert complaint(dies, [1.05, 1.95, 3, np.nan]) == ""
    assert complaint(dies, [1, 2, 3, np.nan], engine="knowngood (AVX2)") == ""


def test_wrong_answers_are_named(dies: Dies):
    assert complaint(dies, [1, 2, 3.5, np.nan]).startswith("relative error 0.167, allowed 0.1")
    assert "verdict without a score" in complaint(dies, [1, 2, 3, 3])
    all_scored = np.array([1, 1, 2, 2], np.int8)
    assert "have no score" in complaint(dies, [1, 2, 3, 3], all_scored)
    assert "passes 2 and rejects 1" in complaint(dies, [1, 2, 3, np.nan], VERDICTS[[2, 1, 2, 3]])


def test_the_median_die_is_judged_where_there_are_enough():
    allowed = Allowed(0.05, 0.1)
    few, many = np.full(63, 0.07, np.float32), np.full(64, 0.07, np.float32)
    assert allowed.breach(few) == ""
    assert allowed.breach(many) == "median relative error 0.07, allowed 0.05"
    assert allowed.breach(np.array([np.nan], np.float32)).startswith("relative error nan")


def test_knowngood_must_have_every_bit(dies: Dies):
    almost = float(np.nextafter(np.float32(3), np.float32(4)))
    assert complaint(dies, [1, 2, almost, np.nan]) == ""
    assert complaint(dies, [1, 2, almost, np.nan], engine="knowngood").startswith("1 scores differ")


# --- workers


def with_threshold(network: Network) -> Network:
    point = OperatingPoint(0.005, 2.0, 2.0, 2.0, 400, True)
    return replace(network, screen=network.screen.with_operating_points([point]))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    return compile_programs(tmp_path_factory.mktemp("programs"))


def start(tmp_path: Path, rival: str, chill: Path) -> WorkerProcess:
    command = [sys.executable, "-m", "benchmarks.rivals.worker", rival, str(tmp_path), str(chill)]
    return WorkerProcess(rival, command, tmp_path, {"PYTHONPATH": str(ROOT)})


def test_a_python_worker_introduces_answers_and_times(compiled: Programs, tmp_path: Path):
    network = with_threshold(make_network((40, 24, 8, 24, 40), head="normalized"))
    values, _ = make_dies(network, 6, missing=0)
    write_lean_files(network, values, tmp_path)
    write_job(network, tmp_path)
    values.tofile(tmp_path / "dies")
    worker = start(tmp_path, "numpy", compiled.chill)
    try:
        seats = seats_of(worker, " (limited)")
        assert [s.name for s in seats] == [
            "numpy (limited) fp32, job in NumPy",
            "numpy (limited) fp32, job in NumPy, in blocks",
        ]
        whole, in_blocks = seats
        assert whole.prepare(tmp_path / "dies", 6)
        assert not in_blocks.prepare(tmp_path / "dies", 6)
        scores, verdicts = whole.answer(tmp_path / "answer", 6)
        np.testing.assert_allclose(scores, forward(network, values).scores, rtol=1e-5)
        assert set(verdicts.tolist()) <= {1, 2}
        for is_cold in (False, True):
            ns = whole.time(7, is_cold=is_cold)
            assert ns.shape == (7,)
            assert (ns > 0).all()
    finally:
        worker.close()
    assert not worker.is_running


def test_a_worker_that_cannot_start_says_why(compiled: Programs, tmp_path: Path):
    worker = start(tmp_path, "numpy", compiled.chill)  # in a folder without files
    with pytest.raises(WorkerError, match=r"worker of numpy failed: .*layers\.npz"):
        seats_of(worker)
    worker.close()


def test_the_engine_from_c_has_the_reference_scores_and_limits_beside_it(
    compiled: Programs, tmp_path: Path
):
    network = make_network((40, 24, 8, 24, 40))
    model = seal_up(network)
    values, _ = make_dies(network, 9)
    (tmp_path / "model.kgd").write_bytes(encode(model))
    values.tofile(tmp_path / "dies")
    command = [str(compiled.worker), str(tmp_path / "model.kgd"), "4096"]
    worker = WorkerProcess("from C", command, tmp_path, {})
    try:
        seats = seats_of(worker)
        assert {"int8", "fp32", "verified"} <= {s.precision for s in seats if s.is_judge}
        for seat in (s for s in seats if s.is_judge):
            assert seat.prepare(tmp_path / "dies", 9)
            scores, verdicts = seat.answer(tmp_path / "answer", 9)
            expected = score_sealed(model, seat.precision, values).scores
            assert_array_equal(scores.view(np.uint32), expected.view(np.uint32))
            assert_array_equal(verdicts == 0, np.isnan(expected))
        limits = [s for s in seats if s.engine == "limit"]
        assert all(s.amount > 0 and s.n_instructions > 0 for s in limits)
        read = next((s for s in limits if s.precision == "read"), None)
        assert read is None or read.amount == 16 * 4096
        assert [s.engine for s in seats if not s.is_judge][-1] == "nothing"
        assert (seats[0].time(5, is_cold=True) > 0).all()
    finally:
        worker.close()


def test_a_pinned_path_is_what_the_engine_takes_or_refuses(compiled: Programs, tmp_path: Path):
    (tmp_path / "model.kgd").write_bytes(encode(seal_up(make_network())))
    command = [str(compiled.worker), str(tmp_path / "model.kgd"), "4096", "abacus"]
    worker = WorkerProcess("from C", command, tmp_path, {})
    with pytest.raises(WorkerError, match="abacus"):
        seats_of(worker)
    worker.close()


@pytest.mark.parametrize("machine", ["aarch64-linux-gnu-gcc", "clang"])
def test_the_limits_compile_for_other_machines_and_compilers(machine: str, tmp_path: Path):
    compiler = shutil.which(machine)
    if compiler is None:
        pytest.skip(f"no {machine}")
    import subprocess

    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-c"]
    for name in ("limits.c", "chill.c"):
        output = ["-o", str(tmp_path / "object.o")]
        done = subprocess.run(
            [compiler, *flags, str(NATIVE / name), *output],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_a_worker_takes_file_names_with_spaces(tmp_path: Path):
    np.ones((2, 3), np.float32).tofile(tmp_path / "a b")

    def prepare(n_dies: int) -> Judge:
        return lambda values: (values[:, 0].copy(), np.full(n_dies, 7, np.int8))

    worker = Worker([Contestant("e", "int8", "how", "1", prepare)], lambda: None)
    assert worker.answer(f"prepare 0 2 {tmp_path}/a b") == "ok"
    assert worker.answer(f"answer 0 {tmp_path}/c d") == "ok"
    assert (tmp_path / "c d").read_bytes() == np.ones(2, np.float32).tobytes() + b"\7\7"


# --- rounds


class FakeSeat:
    """A contestant whose clock says what it is told."""

    engine, precision, configuration, version = "fake", "int8", "so", "1"
    amount = n_instructions = 0

    def __init__(self, calls: list[tuple[str, int, bool]], name: str, ns: int) -> None:
        self._calls, self._name, self._ns = calls, name, ns

    def time(self, n_calls: int, *, is_cold: bool) -> np.ndarray:
        self._calls.append((self._name, n_calls, is_cold))
        return np.full(n_calls, self._ns * (1 + len(self._calls)), np.int64)


def test_everybody_has_a_turn_in_every_round_and_the_order_changes():
    calls: list[tuple[str, int, bool]] = []
    seats: list[Seat] = [FakeSeat(calls, "a", 10), FakeSeat(calls, "b", 1000)]  # type: ignore[list-item]
    a, b = time_in_rounds(seats, 4, seconds=1e-3)
    turns = [name for name, _, _ in calls[2:]]
    assert turns[:8] == list("abbaabba")
    assert len(turns) == 2 * ROUNDS
    assert len(a.rounds_us) == len(b.rounds_us) == ROUNDS
    assert a.n_calls > b.n_calls
    assert a.n_dies == 4
    assert ratio(b, a) == pytest.approx(100, rel=0.2)


def test_cold_calls_are_as_many_as_asked_for():
    calls: list[tuple[str, int, bool]] = []
    (timing,) = time_in_rounds(
        [FakeSeat(calls, "a", 10)],
        1,
        seconds=0,
        n_cold=ROUNDS * 2,  # type: ignore[list-item]
    )
    assert timing.is_cold
    assert timing.n_calls == 2 * ROUNDS
    assert {is_cold for _, _, is_cold in calls} == {True}


# --- figures


def timing(
    engine: str, precision: str, how: str, n_dies: int, us: float,
    *, is_cold: bool = False, amount: int = 0, n_instructions: int = 0,
) -> Timing:  # fmt: skip
    return Timing(
        engine, precision, how, "1", amount, n_instructions, n_dies, is_cold, 10,
        us, us, us, us, us, (us,) * 3,
    )  # fmt: skip


def result(*timings: Timing, hot=(1, 64), cold=(), is_held=True) -> SpeedResult:
    case = SpeedCase(
        "made up", "reference-512", "topk", hot, cold, 1.0, 10, True, is_held, EXPECTED
    )
    return SpeedResult(case, (10, 5, 10), 100, timings, ("litert: gone",), ())


def found(outcome: SpeedResult) -> dict[str, tuple[float, bool]]:
    return {f.what: (pytest.approx(f.found), f.is_met) for f in figures_of(outcome)}


def test_ratios_are_to_the_fastest_configuration_of_each_rival():
    figures = found(
        result(
            timing("knowngood", "int8", "score_into", 1, 2.0),
            timing("litert", "int8", "slow", 1, 9.0),
            timing("litert", "int8", "fast", 1, 3.0),
            timing("litert", "fp32", "fast", 1, 1.0),
            timing("onnxruntime", "int8", "fast", 1, 11.0),
            timing("litert (AVX2)", "int8", "fast", 1, 2.0),
        )
    )
    assert figures["one die, int8, from Python: litert over knowngood"] == (1.5, True)
    assert figures["one die, int8, from Python: onnxruntime over knowngood"] == (5.5, False)


def test_shares_of_the_peak_and_of_reading():
    figures = found(
        result(
            timing("knowngood", "int8", "from C", 64, 8.0),
            timing("limit", "int8", "multiply", 64, 2.0, amount=2000, n_instructions=500),
            timing("limit", "clock", "add", 64, 1.0, amount=1000),
            timing("knowngood", "int8", "from C", 1, 0.15),
            timing("limit", "read", "load", 1, 16.0, amount=16_000),
        )
    )
    assert figures["64 dies, int8, from C: of the peak"] == (80, False)
    assert figures["limit of int8, multiply"] == (1.0, True)
    assert figures["limit of int8, multiply: instructions"] == (0.25, True)
    read = "one die, int8, from C: over reading the weights from the cache"
    assert figures[read] == (1.5, False)


def test_the_best_rival_is_named():
    figures = found(
        result(
            timing("knowngood", "int8", "score_into", 64, 10),
            timing("openvino", "int8", "x", 64, 12),
            timing("onnxruntime", "int8", "x", 64, 18),
        )
    )
    assert figures["64 dies, int8: the best rival, openvino, over knowngood"] == (1.2, False)
    assert figures["64 dies, int8: onnxruntime over knowngood"] == (1.8, True)


def test_python_is_charged_what_the_clock_does_not_cost():
    figures = found(
        result(
            timing("knowngood", "int8", "score_into", 1, 2.2),
            timing("knowngood", "int8", "score", 1, 3.6),
            timing("knowngood", "int8", "from C", 1, 2.0),
            timing("nothing", "", "from C", 1, 0.02),
            timing("nothing", "", "from Python", 1, 0.08),
        )
    )
    into, score = "`score_into`", "`score`"
    what = "one die, int8: {} from Python, beyond the call from C"
    assert figures[what.format(into)] == (140, True)
    assert figures[what.format(score)] == (1540, False)


def test_cold_verified_and_avx2():
    outcome = result(
        timing("knowngood", "int8", "score_into", 1, 10, is_cold=True),
        timing("litert", "int8", "x", 1, 24, is_cold=True),
        timing("knowngood", "int8", "from C", 1000, 700),
        timing("knowngood", "verified", "from C", 1000, 714),
        timing("knowngood (AVX2)", "int8", "score_into", 64, 20),
        timing("openvino (AVX2)", "int8", "x", 64, 30),
        hot=(64, 1000),
        cold=(1,),
    )
    figures = found(outcome)
    assert figures["one die, int8, caches cold: litert over knowngood"] == (2.4, False)
    verified = "1,000 dies, two of them rescored: verified over int8"
    assert figures[verified] == (1.02, True)
    assert figures["64 dies, int8, AVX2: openvino over knowngood"] == (1.5, True)


def test_nothing_is_asked_of_a_model_that_is_not_held_to_figures():
    timings = (timing("knowngood", "int8", "score_into", 1, 2), timing("litert", "int8", "x", 1, 1))
    assert not all(f.is_met for f in figures_of(result(*timings)))
    assert all(f.is_met for f in figures_of(result(*timings, is_held=False)))


def test_the_page_and_the_plot_show_what_was_found():
    outcome = result(
        timing("knowngood", "int8", "score_into", 1, 2.0),
        timing("litert", "int8", "x", 1, 2.5),
        timing("knowngood", "int8", "from C", 64, 8.0),
        timing("limit", "int8", "multiply", 64, 2.0, amount=2000),
        timing("litert", "int8", "x", 1, 50.0, is_cold=True),
        cold=(1,),
    )
    page = speed_section(outcome, "plot.png")
    row = "| one die, int8, from Python: litert over knowngood | 1.25 × | at least 1.45 (1.6) |"
    assert row in page
    assert "**missed**" in page
    assert "Left out: litert: gone." in page
    assert "| litert int8, x (1) | 2.50 |  |" in page
    assert "| litert int8, x (1) | 50.00 |" in page
    assert plot_speed(outcome, "a processor").startswith(b"\x89PNG")


def test_wrong_answers_stand_at_the_top():
    assert answers((), ("x: far off",)) == "**Wrong answers:** x: far off."


def test_markdown_table_aligns_numbers_to_the_right():
    assert markdown_table(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | --: |\n| x | 1 |"
