"""The native engine beside the reference: the same bits, verdicts, reasons and contributions."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from native_models import CASES, bits, sealed_file, some_dies

from knowngood import (
    KnowngoodError,
    ModelFileError,
    OperatingPointError,
    UsageError,
    Verdict,
    _native,
    cpu_paths,
    load,
)
from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._opening import open_scorer
from knowngood._scorer import Scorer
from knowngood.engines._native import NativeEngine
from random_networks import without_layers
from sealed_models import seal_up, tiny_sealed
from tiny_models import tiny_network

BATCHES = (0, 1, 2, 3, 4, 15, 16, 17, 45)


@pytest.mark.parametrize(("shape", "activation", "head", "seed"), CASES)
@pytest.mark.parametrize("cpu_path", cpu_paths())
def test_a_scorer_gives_what_the_reference_gives(shape, activation, head, seed, cpu_path):
    file = sealed_file(shape, activation, head, seed)
    values, group = some_dies(file, 45, seed)
    for precision in file.precisions:
        options = {"precision": precision, "extrapolate": True}
        native = open_scorer(file, cpu_path=cpu_path, **options)
        reference = open_scorer(file, engine="reference", check=False, **options)
        assert (native.engine_name, native.cpu_path) == ("native", cpu_path)
        for point in native.screen.operating_points:
            compare(
                native.at(point.fpr, extrapolate=True),
                reference.at(point.fpr, extrapolate=True),
                values,
                group,
            )


def compare(native: Scorer, reference: Scorer, values: np.ndarray, group: np.ndarray) -> None:
    expected = reference.score(values, group)
    assert set(expected.verdicts.tolist()) >= {Verdict.UNSCORED, Verdict.REJECT}
    for n_dies in BATCHES:
        found = native.score(values[:n_dies], group[:n_dies])
        assert bits(found.scores) == bits(expected.scores[:n_dies])
        assert found.verdicts.tolist() == expected.verdicts[:n_dies].tolist()
        assert found.reasons.tolist() == expected.reasons[:n_dies].tolist()
    assert native.score(values, group).n_unknown_groups == expected.n_unknown_groups
    assert bits(native.score(values).scores) == bits(reference.score(values).scores)
    made = reference.reconstruct(values, group)
    assert bits(native.reconstruct(values, group)) == bits(made)
    if native.manifest.latent_layer is not None:
        assert bits(native.encode(values, group)) == bits(reference.encode(values, group))


@pytest.mark.parametrize(("shape", "activation", "head", "seed"), CASES[:4])
def test_contributions_are_those_of_the_reference(shape, activation, head, seed):
    file = sealed_file(shape, activation, head, seed)
    values, group = some_dies(file, 25, seed)
    native, reference = open_scorer(file), open_scorer(file, engine="reference", check=False)
    here, there = native.score(values, group), reference.score(values, group)
    n_told = 0
    for die in range(len(values)):
        for k in (0, 2, 5, shape[0], 999):
            found, expected = here.top_tests(die, k), there.top_tests(die, k)
            assert [(c.test, c.value, c.z) for c in found] == [
                (c.test, c.value, c.z) for c in expected
            ]
            np.testing.assert_allclose(
                [(c.expected, c.share) for c in found],
                [(c.expected, c.share) for c in expected],
                rtol=1e-12,
            )
            n_told += len(found)
    assert n_told > 200


def test_arrays_as_hosts_have_them_are_scored_like_any():
    file = sealed_file()
    values, group = some_dies(file, 30)
    scorer = open_scorer(file)
    expected = scorer.score(values, group)
    wide = np.zeros((30, 20), np.float32)
    wide[:, ::2] = values
    shapes = [wide[:, ::2], np.asfortranarray(values), values.astype(">f4"), values.astype("f8")]
    shapes += [values.view(np.memmap), values[::-1][::-1]]
    for given in shapes:
        for given_group in (group, group.astype(np.int64), np.repeat(group, 2)[::2]):
            found = scorer.score(given, given_group)
            assert bits(found.scores) == bits(expected.scores)
            assert [c.z for c in found.top_tests(4)] == [c.z for c in expected.top_tests(4)]
        scores, codes = np.zeros(60, np.float32), np.zeros((4, 30), np.int8)
        scorer.score_into(given, scores[::2], codes[0], codes[2], group)
        assert bits(scores[::2]) == bits(expected.scores)
        assert codes[0].tolist() == expected.verdicts.tolist()
        assert not codes[1].any()


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_arrays_with_a_dtype_object_of_their_own_are_scored_like_any(engine):
    """Those from a pickle, such as a worker process is sent, and those with metadata."""
    file = sealed_file()
    values, group = some_dies(file, 30)
    scorer = open_scorer(file, engine=engine)
    expected = scorer.score(values, group)
    for own in (pickled, with_metadata):
        assert own(values).dtype is not values.dtype
        wide = own(np.repeat(values, 2, axis=1))[:, ::2]
        for given in (own(values), own(np.asfortranarray(values)), wide):
            found = scorer.score(given, own(group))
            assert bits(found.scores) == bits(expected.scores)
            assert [c.z for c in found.top_tests(4)] == [c.z for c in expected.top_tests(4)]
            assert scorer.explain(given[4:5], own(group)[4:5]) == expected.top_tests(4)
            assert bits(scorer.reconstruct(given)) == bits(scorer.reconstruct(values))
            assert bits(scorer.encode(given)) == bits(scorer.encode(values))
            arrays = own(np.zeros(30, np.float32)), *(own(c) for c in np.zeros((2, 30), np.int8))
            scorer.score_into(given, *arrays, own(group))
            assert bits(arrays[0]) == bits(expected.scores)
            assert arrays[1].tolist() == expected.verdicts.tolist()


def pickled(array: np.ndarray) -> np.ndarray:
    found: np.ndarray = pickle.loads(pickle.dumps(array))
    return found


def with_metadata(array: np.ndarray) -> np.ndarray:
    return array.view(np.dtype(array.dtype, metadata={"unit": "V"}))


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_results_that_would_be_written_over_an_input_or_another_are_refused(engine):
    file = sealed_file()
    values, group = some_dies(file, 4)
    scorer = open_scorer(file, engine=engine, check=False)
    scores, verdicts, reasons = np.empty(4, np.float32), *np.ones((2, 4), np.int8)
    inside = values.view(np.int8).reshape(-1)
    for names, over in (
        ("scores and values", (values.reshape(-1)[3:7], verdicts, reasons)),
        ("scores and values", (values[:, 3], verdicts, reasons)),
        ("scores and group", (group.view(np.float32), verdicts, reasons)),
        ("verdicts and values", (scores, inside[::7][:4], reasons)),
        ("verdicts and group", (scores, group.view(np.int8)[:4], reasons)),
        ("reasons and values", (scores, verdicts, inside[9:13])),
        ("verdicts and scores", (scores, scores.view(np.int8)[2:6], reasons)),
        ("scores and reasons", (scores, verdicts, scores.view(np.int8)[::4])),
        ("verdicts and reasons", (scores, reasons, reasons)),
    ):
        with pytest.raises(UsageError, match=f"^{names} share memory"):
            scorer.score_into(values, *over, group)
        assert not over[1].any()
    record = np.zeros(
        4, [("v", np.float32, values.shape[1]), ("s", "f4"), ("d", "i1"), ("r", "i1")]
    )
    record["v"] = values = some_dies(file, 4)[0]
    scorer.score_into(record["v"], record["s"], record["d"], record["r"])
    assert bits(record["s"].copy()) == bits(scorer.score(values).scores)


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("head", ["topk", "mse"])
def test_more_contributions_than_tests_are_all_of_them(engine, head):
    file = sealed_file(head=head)
    values, group = some_dies(file, 45)
    scorer = open_scorer(file, engine=engine)
    result = scorer.score(values, group)
    die = int(np.flatnonzero(result.verdicts == Verdict.REJECT)[0])
    every = result.top_tests(die, values.shape[1])
    assert len(every) == np.count_nonzero(~np.isnan(values[die]))
    assert result.top_tests(die, 10**10) == every
    assert scorer.explain(values[die : die + 1], group[die : die + 1], 10**10) == every
    (ranking,) = scorer._rankings(values[die : die + 1], group[die : die + 1], 10**10)
    assert len(ranking.columns) == len(every)
    with pytest.raises(UsageError, match="k is how many tests to tell, 0 or more, found -1"):
        result.top_tests(die, -1)
    with pytest.raises(UsageError, match="k is how many tests to tell, 0 or more, found -1"):
        next(scorer._rankings(values[:1], group[:1], -1))


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_an_empty_result_has_no_die_to_explain(engine):
    result = open_scorer(sealed_file(), engine=engine).score(np.zeros((0, 10), np.float32))
    with pytest.raises(IndexError, match="index 0 is out of bounds"):
        result.top_tests(0)


def test_errors_of_the_compiled_module_are_errors_of_knowngood():
    assert issubclass(_native.Error, KnowngoodError)
    engine = NativeEngine.open(sealed_file())

    class Refusing:
        def judge(self, *arrays: object) -> int:
            raise _native.Error(1, "an argument is not what it must be")

    engine._handle = Refusing()
    with pytest.raises(UsageError, match=r"^model\.kgd: an argument"):
        engine.score(np.zeros((1, 10), np.float32), None)


def test_a_result_keeps_nothing_of_the_callers_buffers():
    file = sealed_file()
    values, group = some_dies(file, 4)
    result = open_scorer(file).score(values, group)
    kept = result.top_tests(0), result.n_unknown_groups
    values[:], group[:] = 0, 0
    assert (result.top_tests(0), result.n_unknown_groups) == kept


def test_what_the_reference_refuses_is_refused():
    file = sealed_file()
    values, group = some_dies(file, 4)
    for given, given_group in (
        (values[0], None),
        (values[:, :9], None),
        (values.tolist(), None),
        (memoryview(values), None),
        (np.ma.masked_invalid(values), None),
        (values.astype(complex), None),
        (np.float32(3), None),
        (None, None),
        (values, group[:3]),
        (values, group.tolist()),
        (values, group.astype(np.float32)),
    ):
        says = []
        for engine in ("native", "reference"):
            scorer = open_scorer(file, engine=engine, check=False)
            verdicts = np.full(4, Verdict.PASS, np.int8)
            outputs = np.empty(4, np.float32), verdicts, np.empty(4, np.int8)
            with pytest.raises(UsageError) as caught:
                scorer.score(given, given_group)
            with pytest.raises(UsageError) as into:
                scorer.score_into(given, *outputs, given_group)
            assert not verdicts.any()
            says.append((str(caught.value), str(into.value)))
        assert says[0] == says[1]


def test_a_pickle_keeps_the_path_that_was_asked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("KNOWNGOOD_CPU_PATH", raising=False)
    path = tmp_path / "model.kgd"
    path.write_bytes(encode(tiny_sealed()))
    pinned = load(path, cpu_path="scalar").at(0.02)
    assert pickle.loads(pickle.dumps(pinned)).cpu_path == "scalar"
    free = pickle.dumps(load(path))
    assert pickle.loads(free).cpu_path == cpu_paths()[0]
    monkeypatch.setenv("KNOWNGOOD_CPU_PATH", "scalar")
    assert pickle.loads(free).cpu_path == "scalar"  # as the machine that opens it says


def test_golden_dies_are_scored_as_the_file_is_opened():
    model = tiny_sealed()
    wrong = {p: bits.copy() for p, bits in model.golden.score_bits.items()}
    wrong["fp32"][0] ^= 1
    data = encode(replace(model, golden=replace(model.golden, score_bits=wrong)))
    edited = replace(sealed_file(), data=data)
    with pytest.raises(ModelFileError, match=r"model\.kgd: golden die 0 in fp32 .*selftest"):
        NativeEngine.open(edited)
    assert NativeEngine.open(edited, check=False).name == "native"


def test_what_the_c_reader_refuses_is_an_error_of_the_file():
    file = sealed_file()
    for place in (0, 40, 400, len(file.data) - 200):
        data = bytearray(file.data)
        data[place] ^= 1
        with pytest.raises(ModelFileError, match=r"^model\.kgd: "):
            NativeEngine.open(replace(file, data=bytes(data)))


def test_points_and_kinds_that_are_not_there():
    with pytest.raises(OperatingPointError, match=r"model\.kgd: the file has no such operating"):
        NativeEngine.open(sealed_file()).at(0.123)
    with pytest.raises(UsageError, match=r"runs \.kgd files"):
        NativeEngine.open(replace(sealed_file(), sealed=None, kind="onnx"))


def test_a_model_without_layers_or_latent_code():
    file = parse_model(
        encode(seal_up(without_layers(tiny_network()), precisions=("fp32",))), "m.kgd"
    )
    values, group = some_dies(file, 45)
    native = open_scorer(file)
    compare(native, open_scorer(file, engine="reference", check=False), values, group)
    with pytest.raises(UsageError, match=r"m\.kgd has no latent layer"):
        native.encode(values)
    with pytest.raises(UsageError, match="no latent layer"):
        NativeEngine.open(file).latent(values, None)
