"""The compiled module: which arrays it takes, and what threads, forks and many calls make of it."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_models import bits, sealed_file, some_dies

import knowngood
from knowngood import _native, cpu_paths
from knowngood._opening import open_scorer
from knowngood.engines import _native as engine_module
from knowngood.engines._native import NativeEngine

N_TESTS = 10
OLD = 9
"""What stands in an array before a call."""
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture(params=["as they are laid out", "by the buffer protocol"])
def reads_arrays(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways to read arrays; the second is for a NumPy that lays them out otherwise."""
    assert engine_module.READS_ARRAYS
    probe, dtypes = engine_module._PROBE, engine_module._DTYPES
    is_laid_out = request.param == "as they are laid out"
    address = probe.ctypes.data if is_laid_out else 0
    assert _native.learn(probe, address, dtypes) == is_laid_out
    yield request.param
    assert _native.learn(probe, probe.ctypes.data, dtypes)


def outputs(n_dies: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(n_dies, OLD, np.float32), *np.full((2, n_dies), OLD, np.int8)


@pytest.mark.usefixtures("reads_arrays")
@pytest.mark.parametrize("n_dies", [0, 1, 7])
def test_right_arrays_are_filled(n_dies: int) -> None:
    file = sealed_file()
    values, group = some_dies(file, n_dies)
    engine, expected = NativeEngine.open(file), open_scorer(file, engine="reference")
    scores, verdicts, reasons = outputs(n_dies)
    assert engine.judge_arrays(values, group, scores, verdicts, reasons) == 0
    wanted = expected.score(values, group)
    assert bits(scores) == bits(wanted.scores)
    assert (verdicts.tolist(), reasons.tolist()) == (
        wanted.verdicts.tolist(), wanted.reasons.tolist(),
    )  # fmt: skip
    assert engine.judge_arrays(values, None, scores, verdicts, reasons) == 0
    assert bits(scores) == bits(expected.score(values).scores)


@pytest.mark.usefixtures("reads_arrays")
def test_an_equal_dtype_of_another_object_is_the_same_dtype() -> None:
    file = sealed_file()
    values, group = some_dies(file, 7)
    engine, expected = NativeEngine.open(file), outputs(7)
    engine.judge_arrays(values, group, *expected)
    arrays = tuple(foreign(a) for a in (values, group, *outputs(7)))
    assert engine.judge_arrays(*arrays) == 0
    for found, wanted in zip(arrays[2:], expected, strict=True):
        assert found.tobytes() == wanted.tobytes()


def foreign(array: np.ndarray) -> np.ndarray:
    """With a dtype object of its own, as arrays from a pickle or of a record have."""
    other = array.view(np.dtype(array.dtype, metadata={"unit": "V"}))
    assert other.dtype is not array.dtype
    return other


def unfit_arrays() -> Iterator[tuple[str, tuple[Any, ...]]]:
    values = np.zeros((2, N_TESTS), np.float32)
    group, (scores, verdicts, reasons) = np.zeros(2, np.int32), outputs(2)
    unaligned = np.zeros(8 * N_TESTS + 1, np.uint8)[1:].view(np.float32).reshape(2, N_TESTS)
    shared, locked = np.full(8, OLD, np.int8), np.full(2, OLD, np.int8)
    locked.flags.writeable = False

    def given(**other: Any) -> tuple[Any, ...]:
        right = {"v": values, "g": group, "s": scores, "d": verdicts, "r": reasons}
        return tuple((right | other).values())

    yield "too wide", given(v=np.zeros((2, N_TESTS + 1), np.float32))
    yield "one dimension", given(v=values.reshape(-1))
    yield "three dimensions", given(v=values.reshape(2, N_TESTS, 1))
    yield "no dimension", given(v=np.float32(0) + np.zeros((), np.float32))
    yield "backwards", given(v=values[::-1])
    yield "every other column", given(v=np.zeros((2, 2 * N_TESTS), np.float32)[:, ::2])
    yield "columns first", given(v=np.asfortranarray(values))
    yield "float64", given(v=values.astype(np.float64))
    yield "int32 values", given(v=values.view(np.int32))
    yield "other byte order", given(v=values.astype(values.dtype.newbyteorder()))
    yield "unaligned", given(v=unaligned)
    yield "objects", given(v=values.astype(object))
    yield "dates", given(v=np.zeros((2, N_TESTS), "M8[s]"))
    yield "masked", given(v=np.ma.array(values))
    yield "of a subclass", given(v=values.view(np.memmap))
    yield "a list", given(v=values.tolist())
    yield "a memoryview", given(v=memoryview(values))
    yield "bytes", given(v=values.tobytes())
    yield "none", given(v=None)
    yield "fewer scores", given(s=scores[:1])
    yield "more verdicts", given(d=np.zeros(3, np.int8))
    yield "no scores", given(s=None)
    yield "group of int64", given(g=group.astype(np.int64))
    yield "group too short", given(g=group[:1])
    yield "scores of int32", given(s=scores.view(np.int32))
    yield "verdicts of uint8", given(d=verdicts.view(np.uint8))
    yield "verdicts of bool", given(d=np.zeros(2, bool))
    yield "strided reasons", given(r=np.zeros(4, np.int8)[::2])
    yield "read-only verdicts", given(d=locked)
    yield "overlapping results", given(d=shared[:2], r=shared[1:3])
    yield "the same result twice", given(d=reasons)
    yield "scores over values", given(s=values.reshape(-1)[:2])
    yield "scores over group", given(s=group.view(np.float32))


@pytest.mark.usefixtures("reads_arrays")
@pytest.mark.parametrize("arrays", [pytest.param(a, id=name) for name, a in unfit_arrays()])
def test_unfit_arrays_are_not_taken_and_nothing_is_written(arrays: tuple[Any, ...]) -> None:
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in arrays]
    assert NativeEngine.open(sealed_file()).judge_arrays(*arrays) is None
    for array, old in zip(arrays, before, strict=True):
        if isinstance(array, np.ndarray):
            np.testing.assert_array_equal(array, old)


@pytest.mark.usefixtures("reads_arrays")
def test_reconstructions_and_contributions_take_right_arrays_only() -> None:
    file = sealed_file()
    engine = NativeEngine.open(file)
    values, group = some_dies(file, 3)
    values[0] = np.arange(N_TESTS)
    made, codes = np.zeros((3, N_TESTS), np.float32), np.zeros((3, 3), np.float32)
    handle = engine._handle
    assert handle.reconstruct(values, group, made, codes) == 0
    reference = open_scorer(file, engine="reference", check=False)
    assert bits(made) == bits(reference.reconstruct(values, group))
    assert bits(codes) == bits(reference.encode(values, group))
    assert handle.reconstruct(values, group, made, made) is None
    assert handle.reconstruct(values, group, made[:2], None) is None
    assert handle.reconstruct(values, group, None, codes[:, :2]) is None
    columns, z, expected = np.zeros(4, np.int32), np.zeros(4, np.float32), np.zeros(4)
    assert handle.contributions(values[:1], group[:1], columns, z, expected) == 4
    assert handle.contributions(values, group[:1], columns, z, expected) is None
    assert handle.contributions(values[:1], None, columns, z, expected) is None  # type: ignore[arg-type]
    assert handle.contributions(values[:1], group[:1], columns, z[:3], expected) is None
    with pytest.raises(TypeError, match="C-contiguous"):
        engine.reconstruct(values[::-1], None)


def test_wrong_calls_are_errors() -> None:
    model, path = _native.open_model(sealed_file().data, None, False)
    assert path in cpu_paths()
    for precision, fpr, status in ((1, 0.123, 8), (7, 0.005, 10), (-2, 0.005, 10), (1, np.nan, 8)):
        with pytest.raises(_native.Error) as caught:
            model.at(precision, fpr, 0)
        assert caught.value.args[0] == status
    with pytest.raises(OverflowError):
        model.at(2**40, 0.005, 0)
    with pytest.raises(TypeError, match="takes 5 arrays"):
        model.judge(np.zeros((1, N_TESTS), np.float32))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        type(model)()
    data = sealed_file().data
    for damaged, status in ((b"", 4), (b"hello", 4), (data[:500] + b"?" + data[501:], 6)):
        with pytest.raises(_native.Error) as caught:
            _native.open_model(damaged, None, False)
        assert caught.value.args[0] == status
    with pytest.raises(_native.Error) as caught:
        _native.open_model(data, "abacus", False)
    assert caught.value.args[0] == 11


def test_a_point_outlives_the_model_it_comes_from() -> None:
    file = sealed_file()
    values, _ = some_dies(file, 3)
    first = NativeEngine.open(file)
    expected = bits(first.score(values, None))
    others = [first.at(0.02).at(0.005) for _ in range(3)]
    del first
    gc.collect()
    assert all(bits(engine.score(values, None)) == expected for engine in others)


@pytest.fixture(scope="module")
def large() -> tuple[NativeEngine, list[np.ndarray], list[list[int]]]:
    """So large that bigger batches are scored without the GIL, and smaller ones with it."""
    file = sealed_file((600, 300, 600))
    engine = NativeEngine.open(file)
    batches = [some_dies(file, n, n)[0] for n in (1, 5, 60)]
    return engine, batches, [bits(engine.score(batch, None)) for batch in batches]


def keep_scoring(large: Any, wrong: list[int], is_done: Callable[[], bool], start: int) -> None:
    engine, batches, expected = large
    i = start
    while not is_done():
        i = (i + 1) % len(batches)
        if bits(engine.score(batches[i], None)) != expected[i]:
            wrong.append(i)


@forks
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_threads_and_forked_children_share_a_model(large: Any) -> None:
    engine, batches, expected = large
    deadline, wrong = time.monotonic() + 1.0, list[int]()

    def is_done() -> bool:
        return time.monotonic() > deadline

    threads = [
        threading.Thread(target=keep_scoring, args=(large, wrong, is_done, i)) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    codes = [
        code_of_child(lambda: bits(engine.score(batches[2], None)) == expected[2]) for _ in range(5)
    ]
    for thread in threads:
        thread.join()
    assert wrong == []
    assert codes == [0] * 5


def code_of_child(is_right: Callable[[], bool]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(0 if is_right() else 3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_other_threads_run_while_much_is_scored(large: Any) -> None:
    engine, batches, _ = large
    arrays = (np.resize(batches[2], (6000, 600)), None, *outputs(6000))
    assert counted_during(lambda: engine.judge_arrays(*arrays)) > 10


def test_other_threads_run_while_a_slow_path_scores_one_die_after_another() -> None:
    engine = NativeEngine.open(sealed_file((600, 300, 600)), cpu_path="scalar")
    arrays = (np.zeros((1, 600), np.float32), None, *outputs(1))

    def score() -> None:
        for _ in range(500):
            engine.judge_arrays(*arrays)

    assert counted_during(score) > 10


@pytest.mark.parametrize(
    ("cpu_path", "precision", "least", "most"),
    [  # dies of a model of 1.76 MB, of which 2 to 70 µs are a die in int8 and 7 to 1,000 in fp32
        ("avx512vnni", "int8", 4, 10),
        ("avx512vnni", "verified", 4, 10),
        ("avx512vnni", "fp32", 1, 3),
        ("avx2", "int8", 1, 3),
        ("sse41", "int8", 1, 2),
        ("sse41", "fp32", 0, 0),
        ("scalar", "int8", 0, 0),
        ("scalar", "fp32", 0, 0),
        ("abacus", "int8", 0, 0),
    ],
)
def test_the_gil_is_kept_for_some_microseconds_on_every_path(
    cpu_path: str, precision: str, least: int, most: int
) -> None:
    class Handle:
        def at(self, code: int, fpr: float, n_short: int) -> int:
            return n_short

    file = replace(sealed_file().in_precision(precision), data=bytes(1_758_464))
    handle: Any = Handle()
    assert least <= engine_module._at(handle, file, cpu_path, 0.0) <= most  # type: ignore[operator]


def counted_during(call: Callable[[], object]) -> int:
    """How often another thread counted; never, if the GIL is kept: nobody is asked for it."""
    counts, is_done = [0], threading.Event()

    def count() -> None:
        while not is_done.is_set():
            counts[0] += 1
            time.sleep(0)  # gives the GIL up

    thread = threading.Thread(target=count)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # nobody is asked for the GIL: it must be given up
    try:
        thread.start()
        before = counts[0]
        call()
        return counts[0] - before
    finally:
        is_done.set()
        sys.setswitchinterval(switch)
        thread.join()


def resident_bytes() -> int:
    """Of this process now; its peak would hide what is less than earlier tests took."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("this system does not say how much memory a process has")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(use: Callable[[], None]) -> tuple[int, int]:
    """Blocks and resident bytes that ``use`` adds: the least of three, as a leak adds to each.

    What a system brings in or takes out meanwhile is no leak.
    """
    blocks, resident = [], []
    for _ in range(3):
        gc.collect()
        before = sys.getallocatedblocks(), resident_bytes()
        use()
        gc.collect()
        blocks.append(sys.getallocatedblocks() - before[0])
        resident.append(resident_bytes() - before[1])
    return min(blocks), min(resident)


def test_many_calls_grow_nothing() -> None:
    file = sealed_file()
    scorer = open_scorer(file)
    values, group = some_dies(file, 2)
    arrays = outputs(2)

    def call(n: int) -> None:
        for _ in range(n):
            scorer.score_into(values, *arrays, group)

    call(1000)
    blocks, resident = growth(lambda: call(100_000))
    assert blocks < 50
    assert resident < 400_000  # 16 bytes a call are 1.6 MB


def test_models_results_and_unfit_arrays_are_freed() -> None:
    file = sealed_file()
    values, group = some_dies(file, 2)
    strided = np.zeros((2, 2 * N_TESTS), np.float32)[:, ::2]

    def use(n: int) -> None:
        for _ in range(n):
            engine = NativeEngine.open(file).at(0.02)
            engine.judge_arrays(strided, None, *outputs(2))
            open_scorer(file).score(values, group).top_tests(0)

    use(20)
    blocks, resident = growth(lambda: use(300))
    assert blocks < 100
    assert resident < 1_000_000  # a scratch block each would be 3 MB


def test_no_other_engine_of_the_process_takes_this_ones_place(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and the dynamic linker of Linux")
    source, other = tmp_path / "other.c", tmp_path / "libknowngood.so"
    source.write_text('const char *kg_version(void) { return "0.0.9"; }')
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", other], check=True)
    program = "from knowngood import _native; print(_native.version)"
    first = f"{os.environ.get('LD_PRELOAD', '')} {other}".strip()  # after a sanitizer's
    asked = {**os.environ, "LD_PRELOAD": first, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == knowngood.__version__
