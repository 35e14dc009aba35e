"""Timing: that the right thing is called the right number of times; never how long it took."""

from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest

from knowngood._bench import (
    MIN_CALLS,
    Latency,
    Timer,
    _summarise,
    latency_table,
    made_up_dies,
    time_contestants,
    time_in_turn,
)
from knowngood._commands.bench import parse_batches
from knowngood._errors import UsageError
from knowngood._network import Head, Scaler, Screen
from knowngood._schema import Schema


def make_screen() -> Screen:
    scaler = Scaler(
        np.array([-1], np.int32), np.array([[1e9, -2e-9, 0.0]]), np.array([[1e-6, 1e12, 1.0]])
    )
    ones = np.ones(3, np.float32)
    gain, offset = np.ones(4, np.float32), np.zeros(4, np.float32)
    return Screen(Schema.anonymous(3), scaler, Head("mse", ones, ones, gain, offset, 1))


def test_made_up_dies_look_like_good_dies_to_the_scaler() -> None:
    screen = make_screen()
    u = screen.scaler.standardise(made_up_dies(screen, 4000), np.zeros(4000, np.int32))
    assert np.abs(u.mean(axis=0)).max() < 0.1
    assert np.abs(u.std(axis=0) - 1).max() < 0.1


def test_contestants_are_called_in_turn_with_the_batch_asked_for() -> None:
    calls: list[tuple[str, int]] = []
    values = np.zeros((8, 3), np.float32)
    latencies = time_contestants(
        {"a": lambda v: calls.append(("a", len(v))), "b": lambda v: calls.append(("b", len(v)))},
        values,
        (1, 8),
        seconds=0,
    )
    assert [(item.contestant, item.batch) for item in latencies] == [
        ("a", 1),
        ("b", 1),
        ("a", 8),
        ("b", 8),
    ]
    assert all(item.n_calls == MIN_CALLS for item in latencies)
    changes = sum(x[0] != y[0] for x, y in itertools.pairwise(calls))
    assert changes > 20
    assert {n for _, n in calls} == {1, 8}


def test_a_slow_contestant_is_called_less_often_and_in_turn_all_the_same() -> None:
    """Its clock says 2 s for each call: 200 of them would take seven minutes."""
    calls: list[str] = []

    def timer(name: str, ns: int) -> Timer:
        def make(n_calls: int) -> np.ndarray:
            calls.extend([name] * n_calls)
            return np.full(n_calls, ns, np.int64)

        return make

    latencies = time_in_turn({"slow": timer("slow", 2 * 10**9), "fast": timer("fast", 1000)}, 4)
    n_calls = {item.contestant: item.n_calls for item in latencies}
    assert n_calls == {"slow": 5, "fast": pytest.approx(10**6, abs=1)}
    turns = [name for name, _ in itertools.groupby(calls)]
    assert turns.count("slow") == 1 + 5


def test_the_garbage_collector_is_left_as_it_was() -> None:
    def fail(values: object) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        time_contestants({"a": fail}, np.zeros((1, 3), np.float32), (1,), seconds=0)
    assert gc.isenabled()


def test_percentiles_are_those_of_the_calls() -> None:
    item = _summarise("x", 10, np.arange(1, 1001, dtype=np.int64) * 1000)
    assert item.median_us == pytest.approx(500.5)
    assert item.p99_us == pytest.approx(990.01)
    assert item.worst_us == 1000
    assert item.us_per_die == pytest.approx(50.05)
    assert "x" in latency_table([item, Latency("longer", 1, 5, 1, 2, 3, 4)])


@pytest.mark.parametrize("text", ["", "0", "1,x", "-3"])
def test_bad_batches_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--batches"):
        parse_batches(text)
