"""``bench``: what is called, in which order and between what; never how long it took."""

from __future__ import annotations

import gc
import itertools
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knowngood
from knowngood._errors import GateError, UsageError
from knowngood._golden import with_golden
from knowngood._kgd import decode, encode
from knowngood._sealed import Band
from knowngood.engines._reference import score_sealed
from knowngood.latency import BenchPlan, BenchResult, bench
from knowngood.latency._dies import (
    N_DISTINCT,
    N_NEAR,
    are_rescored,
    dies_near_threshold,
    likely_dies,
    residual_scale,
)
from knowngood.latency._timing import Condition, Eviction, TimedCall, count_calls, time_in_turn
from sealed_models import seal_up
from tiny_models import tiny_network

QUICK = BenchPlan(batches=(1, 4), seconds=0.001, cold=True, idle_ms=0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "model.kgd").write_bytes(encode(seal_up(tiny_network())))
    return tmp_path / "model.kgd"


@pytest.fixture
def small_eviction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evicting 96 MB takes a while, and these tests time nothing."""
    monkeypatch.setattr(Eviction, "FEWEST_BYTES", 4096)
    monkeypatch.setattr("knowngood.latency._host._last_level_cache", lambda _: None)


class Recorder:
    """Stands in for a scorer: notes who was called with how many dies, and answers."""

    def __init__(self, name: str, calls: list[tuple[str, int]]) -> None:
        self.name, self.calls = name, calls
        self.collects: set[bool] = set()

    def score_into(self, values: Any, scores: Any, verdicts: Any, reasons: Any) -> None:
        self.calls.append((self.name, len(values)))
        self.collects.add(gc.isenabled())
        scores[:], verdicts[:], reasons[:] = values[:, 0], 1, 0


def timed(recorder: Recorder, n_dies: int = 4) -> TimedCall:
    dies = np.arange(n_dies, dtype=np.float32)[:, np.newaxis]
    return TimedCall(recorder.name, recorder, dies)  # type: ignore[arg-type]


def test_contestants_take_turns_and_nothing_is_collected() -> None:
    calls: list[tuple[str, int]] = []
    recorders = [Recorder(name, calls) for name in "ab"]
    pair = [timed(recorder) for recorder in recorders]
    spells: list[float] = []
    for recorder in recorders:
        recorder.collects.clear()
    timings = time_in_turn(pair, Condition("hot", min_calls=200), 1e-9, after_round=spells.append)
    assert [len(timing.ns) for timing in timings] == [200, 200]
    assert all((timing.ns > 0).all() for timing in timings)
    turns = [name for name, _ in itertools.groupby(calls, key=lambda call: call[0])]
    assert turns[-40:] == ["a", "b"] * 20
    assert len(spells) == 20
    assert recorders[0].collects == {True, False}  # on while calls are counted, off while timed
    assert gc.isenabled()


@pytest.mark.parametrize("seconds", [5.0, 60.0])
def test_turns_stay_short_however_long_a_run(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """A real-time thread is stopped after most of a second without a rest."""
    monkeypatch.setattr("knowngood.latency._timing.count_calls", lambda *_: 480)
    spells: list[float] = []
    condition = Condition("hot", min_calls=1)
    time_in_turn([timed(Recorder("a", []))], condition, seconds, after_round=spells.append)
    assert max(spells) <= 0.25
    assert sum(spells) == pytest.approx(seconds)


def test_each_call_finds_what_the_condition_leaves() -> None:
    calls: list[tuple[str, int]] = []
    call = timed(Recorder("a", calls))
    call.fill(np.empty(3, np.int64), lambda: calls.append(("between", 0)))
    assert calls[1:] == [("between", 0), ("a", 4)] * 3


def test_real_time_threads_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    condition = Condition("hot", min_calls=200)
    time_in_turn([timed(Recorder("a", []))], condition, 1e-9, rest=True)
    assert len(naps) == 20
    assert min(naps) > 0


def test_a_slow_contestant_is_called_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock says 2 s for each call."""
    readings = itertools.count(step=2)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(readings)))
    call = timed(Recorder("slow", []))
    assert count_calls(call, Condition("hot", min_calls=200), 1.0) == 5
    assert count_calls(call, Condition("hot", min_calls=200), 40.0) == 20


def test_another_answer_stops_everything() -> None:
    class Fickle(Recorder):
        def score_into(self, values: Any, scores: Any, verdicts: Any, reasons: Any) -> None:
            super().score_into(values, scores, verdicts, reasons)
            scores[-1] += len(self.calls) == 9

    call = timed(Fickle("fickle", []))
    with pytest.raises(GateError, match=r"fickle: the same 4 dies got other scores"):
        call.fill(np.empty(20, np.int64))


def test_a_call_that_writes_nothing_is_noticed() -> None:
    class Lazy(Recorder):
        def score_into(self, values: Any, scores: Any, verdicts: Any, reasons: Any) -> None:
            if not self.calls:
                super().score_into(values, scores, verdicts, reasons)

    call = timed(Lazy("lazy", []))
    with pytest.raises(GateError, match="lazy"):
        call.fill(np.empty(1, np.int64))


def test_every_batch_condition_and_model_has_a_row(path: Path, small_eviction: None) -> None:
    scorers = [knowngood.load(path, precision=precision) for precision in ("int8", "fp32")]
    told: list[str] = []
    result = bench(scorers, QUICK, say=told.append)
    order = [(row.batch, row.condition, row.contestant.split("[")[1][:4]) for row in result.calls]
    assert order == list(itertools.product((1, 4), ("hot", "cold", "idle"), ("int8", "fp32")))
    assert told[:3] == ["1 dies in a call, hot", "1 dies in a call, cold", "1 dies in a call, idle"]
    assert len(result.shares) == 4
    assert {share.batch for share in result.shares} == {1, 4}
    assert all(row.n_calls >= (200 if row.condition == "hot" else 20) for row in result.calls)
    assert result.gaps.spun_ns >= 2 * 0.9 * 1e6
    for row in result.calls:
        known = [us for us in (*row.percentiles_us, row.worst_us) if us is not None]
        assert known == sorted(known)
        assert known[0] > 0


def test_the_record_is_json_and_the_text_says_what_is_missing(
    path: Path, small_eviction: None
) -> None:
    scorer = knowngood.load(path)
    result = bench([scorer], QUICK)
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["knowngood_bench"] == 1
    assert record["plan"]["batches"] == [1, 4]
    [model] = record["models"]
    assert (model["model_id"], model["n_tests"]) == (scorer.model_id, 6)
    assert (model["engine"], model["cpu_path"]) == (scorer.engine_name, scorer.cpu_path)
    assert model["n_pass"] + model["n_reject"] + model["n_unscored"] == 4
    row = record["latency_us"][0]
    assert set(row) == {
        *("contestant", "batch", "condition", "n_calls", "events", "us_per_die", "worst_us"),
        *("p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us"),
    }
    assert [dies["batch"] for dies in record["dies"]] == [1, 4]
    assert all(d["n_pass"] + d["n_reject"] == d["batch"] for d in record["dies"])
    assert record["dies"][1]["n_pass"] == model["n_pass"]
    assert row["p99_99_us"] is None
    assert set(record["tails"][0]) >= {"share", "worst_us", "worst_without_us"}
    assert record["clock"]["overhead_ns"] > 0
    text = str(result)
    assert "p99.99 needs 100,000 calls" in text
    assert "not subtracted" in text
    assert "Host interrupts:" in text
    assert "0.01 ms of sleep" in text


def test_a_thread_comes_back_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot bind a thread to a core")
    before = os.sched_getaffinity(0)
    seen: list[set[int]] = []

    def stop(*_: object) -> BenchResult:
        seen.append(os.sched_getaffinity(0))
        raise KeyboardInterrupt

    monkeypatch.setattr("knowngood.latency._run.run_plan", stop)
    with pytest.raises(KeyboardInterrupt):
        bench([knowngood.load(path)], BenchPlan(core=max(before)))
    assert seen == [{max(before)}]
    assert os.sched_getaffinity(0) == before


def test_a_verified_model_is_timed_on_dies_that_it_scores_twice(path: Path) -> None:
    scorers = [knowngood.load(path, precision=precision) for precision in ("verified", "int8")]
    result = bench(scorers, BenchPlan(batches=(1, 4), seconds=0.001))
    order = [(row.batch, row.condition, "[verified" in row.contestant) for row in result.calls]
    each = [("hot", True), ("hot", False), ("rescored", True)]
    assert order == [(batch, *row) for batch in (1, 4) for row in each]
    assert [dies.n_rescored is None for dies in result.dies] == [False, False, True, True]
    assert {share.batch for share in result.shares} == {1, 4}
    assert len(result.shares) == 4


def test_dies_near_the_threshold_lie_in_the_band(path: Path) -> None:
    verified, int8, fp32 = (knowngood.load(path, precision=p) for p in ("verified", "int8", "fp32"))
    dies = dies_near_threshold(verified, int8, 40)
    assert dies is not None
    assert dies.shape == (40, 6)
    scores = int8.score(dies).scores
    np.testing.assert_allclose(scores, verified.threshold, rtol=1e-3)
    np.testing.assert_array_equal(verified.score(dies).scores, fp32.score(dies).scores)
    assert are_rescored(verified, int8, dies).all()
    assert len(np.unique(dies, axis=0)) > N_NEAR // 2


def test_rescored_dies_are_those_that_the_specification_rescores(path: Path) -> None:
    verified, int8 = (knowngood.load(path, precision=p) for p in ("verified", "int8"))
    dies = likely_dies(verified, N_DISTINCT)
    sealed = decode(path.read_bytes(), "model.kgd").model
    expected = score_sealed(sealed, "verified", dies).rescored
    assert 0 < expected.sum() < N_DISTINCT
    np.testing.assert_array_equal(are_rescored(verified, int8, dies), expected)
    (counted,) = bench([verified], BenchPlan(batches=(N_DISTINCT,), seconds=0.001)).dies
    assert counted.n_rescored == expected.sum()


def test_a_band_that_no_die_lies_in_gives_no_row(tmp_path: Path) -> None:
    sealed = seal_up(tiny_network())
    points = tuple(replace(point, threshold=0.0, low=0.0) for point in sealed.points["fp32"])
    changed = replace(
        sealed,
        points=dict.fromkeys(sealed.points, points),
        bands=(Band(0.0, 0.0),) * len(points),
    )
    (tmp_path / "model.kgd").write_bytes(encode(with_golden(changed)))
    result = bench([knowngood.load(tmp_path / "model.kgd")], BenchPlan(batches=(4,), seconds=0.001))
    assert [row.condition for row in result.calls] == ["hot"]
    (dies,) = result.dies
    assert (dies.n_reject, dies.n_rescored) == (4, 0)


def test_the_same_thing_twice_is_refused(path: Path) -> None:
    scorer = knowngood.load(path, precision="int8")
    with pytest.raises(UsageError, match=r"model\.kgd \[int8, .* twice"):
        bench([scorer, knowngood.load(path, precision="int8")], QUICK)


def test_operating_points_of_one_file_are_told_apart(path: Path) -> None:
    scorer = knowngood.load(path)
    result = bench([scorer, scorer.at(0.02)], BenchPlan(batches=(1,), seconds=0.001))
    assert [" at a yield loss of 0.02" in model.name for model in result.models] == [False, True]


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to time"):
        bench([])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"batches": ()}, "--batches"),
        ({"batches": (1, 0)}, "--batches"),
        ({"batches": (10**9,)}, "--batches.*found 1000000000$"),
        ({"batches": (1, 4, 1)}, "--batches.* has 1 twice"),
        ({"seconds": 0.0}, "--seconds"),
        ({"seconds": float("inf")}, "--seconds"),
        ({"seconds": 1e9}, "--seconds"),
        ({"seconds": float("nan")}, "--seconds"),
        ({"idle_ms": 0.0}, "--idle-ms"),
        ({"idle_ms": float("nan")}, "--idle-ms"),
        ({"idle_ms": 1e300}, "--idle-ms"),
        ({"core": -1}, "--core"),
    ],
)
def test_a_plan_out_of_range_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        BenchPlan(**wrong)


def test_likely_dies_lie_as_far_off_as_good_ones(path: Path) -> None:
    scorer = knowngood.load(path, precision="fp32")
    dies = likely_dies(scorer, 3 * N_DISTINCT)
    assert dies.shape == (3 * N_DISTINCT, 6)
    assert dies.dtype == np.float32
    np.testing.assert_array_equal(dies[:N_DISTINCT], dies[-N_DISTINCT:])
    assert np.isfinite(scorer.score(dies).scores).all()
    head = scorer.screen.head
    z = residual_scale(scorer.screen) * head.residual_weight
    np.testing.assert_allclose(z**2, head.expected_square, rtol=1e-6)


@pytest.mark.parametrize(("cache", "expected"), [(None, 96), (32 * 2**20, 96), (260 * 2**20, 520)])
def test_caches_are_filled_beyond_the_largest(
    monkeypatch: pytest.MonkeyPatch, cache: int | None, expected: int
) -> None:
    made: list[int] = []

    def zeros(n_words: int, dtype: Any) -> Any:
        made.append(n_words * np.dtype(dtype).itemsize)
        return np.empty(64, dtype)

    monkeypatch.setattr("knowngood.latency._timing.np.zeros", zeros)
    eviction = Eviction(cache)
    assert made == [expected * 2**20]
    assert eviction._lines.strides == (64,)
