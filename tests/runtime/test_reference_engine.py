"""The reference engine against torch in float64, other people's engines, and its own promises."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knowngood._errors import OperatingPointError, UsageError
from knowngood._model_file import ModelFile, parse_model
from knowngood._network import Network, OperatingPoint, QuantizedDense, QuantizedNetwork, Screen
from knowngood._scorer import Scorer
from knowngood._sealed import Band, Golden, SealedModel
from knowngood._verdicts import Reason
from knowngood.engines import open_engine
from knowngood.engines._reference import ReferenceEngine, score_sealed
from random_networks import (
    ACTIVATIONS,
    make_dies,
    make_manifest,
    make_network,
    quantize_roughly,
    without_layers,
)

torch = pytest.importorskip("torch")

F32 = np.float32
HEADS = ("mse", "normalized", "topk", "mahalanobis")
NAN_BITS = 0x7FC00000


def point_at(fpr: float, threshold: float = 2.0) -> OperatingPoint:
    return OperatingPoint(fpr, threshold, threshold, threshold, 4000, True)


def sealed_from(network: Network, quantized: QuantizedNetwork | None = None) -> SealedModel:
    n_tests = network.screen.schema.n_tests
    points = {"fp32": (point_at(0.005), point_at(0.02)), "int8": (point_at(0.005), point_at(0.02))}
    return SealedModel(
        replace(network.screen, operating_points=()),
        network.detector,
        network.layers,
        None if quantized is None else quantized.layers,
        points,
        Golden(np.empty((0, n_tests), F32), np.empty(0, np.int32), {}, {}),
        latent_layer=network.latent_layer,
    )


def both_precisions(network: Network, values: np.ndarray) -> SealedModel:
    u = network.screen.scaler.standardise(values, np.zeros(len(values), np.int32))
    return sealed_from(network, quantize_roughly(network, np.nan_to_num(u)))


def verified(model: SealedModel, limits: float, *bands: tuple[float, float]) -> SealedModel:
    return replace(
        model,
        bands=tuple(Band(lo, hi) for lo, hi in bands),
        scale_limits=np.full(len(model.int8 or ()), limits, F32),
    )


def as_file(model: SealedModel, precision="fp32") -> ModelFile:
    manifest = model.manifest(precision)
    return ModelFile(Path("made.kgd"), b"", "kgd", "0" * 64, "0" * 64, manifest, model)


def bits(x: np.ndarray) -> list:
    return np.ascontiguousarray(x, F32).view(np.uint32).tolist()


class InDoubles:
    """The whole model in torch, float64: scores, reconstruction and latent code."""

    def __init__(self, network: Network, values: np.ndarray, group: np.ndarray) -> None:
        scaler, head = network.screen.scaler, network.screen.head
        rows = scaler.rows(group, len(values))
        raw = torch.tensor(values.astype(np.float64))
        u = (raw - torch.tensor(scaler.centre[rows])) * torch.tensor(scaler.inv_scale[rows])
        present = ~u.isnan()
        u = torch.where(present, u, 0.0)
        y, self.latent = u, None
        for index, layer in enumerate(network.layers):
            weight, bias = (torch.tensor(a.astype(np.float64)) for a in (layer.weight, layer.bias))
            y = _activation(layer.activation)(torch.nn.functional.linear(y, weight, bias))
            self.latent = y.numpy() if index == network.latent_layer else self.latent
        y = y if network.layers else torch.zeros_like(u)
        self.reconstruction = y.numpy()
        z = torch.where(present, (u - y) * torch.tensor(head.residual_weight), 0.0)
        if head.low_rank is not None:
            project, subtract = map(torch.tensor, (head.low_rank.project, head.low_rank.subtract))
            part = z @ project.double().T @ subtract.double().T
            z = torch.where(present, z - part, 0.0)
        self.scores = _score(head, z, present).numpy()


def _activation(activation):
    kinds = torch.nn.functional
    return {
        "linear": lambda x: x,
        "relu": kinds.relu,
        "leaky_relu": lambda x: kinds.leaky_relu(x, activation.alpha),
        "elu": lambda x: kinds.elu(x, activation.alpha),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }[activation.kind]


def _score(head, z, present):
    n_present = present.sum(dim=1)
    if head.kind == "topk":
        largest = z.abs().topk(head.k, dim=1).values.sum(dim=1)
        gain, offset = (torch.tensor(a).double() for a in (head.present_gain, head.present_offset))
        return largest * gain[n_present] + offset[n_present]
    expected = torch.tensor(head.expected_square).double()
    return (z * z).sum(dim=1) * expected.mean() / (present * expected).sum(dim=1)


def dies_of(network: Network, n_dies: int = 60, seed: int = 1):
    values, group = make_dies(network, n_dies, seed=seed)
    return values, group, network.screen.scaler.rows(group, n_dies)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fp32_is_torch_in_doubles(activation, head):
    network = make_network((40, 20, 6, 20, 40), activation=activation, head=head, n_groups=3)
    values, group, rows = dies_of(network)
    oracle = InDoubles(network, values, group)
    result = score_sealed(sealed_from(network), "fp32", values, rows)
    error = np.abs(result.scores / oracle.scores - 1)
    assert np.median(error) <= 2e-7  # 1e-6 is asked of large networks
    assert error.max() <= 2e-6
    np.testing.assert_allclose(result.reconstruction, oracle.reconstruction, atol=3e-6)
    np.testing.assert_allclose(result.latent, oracle.latent, atol=3e-6)
    assert not result.rescored.any()


@pytest.mark.parametrize("head", HEADS)
def test_without_layers_every_test_is_expected_at_its_centre(head):
    network = without_layers(make_network((12, 4, 12), head=head))
    values, group, rows = dies_of(network)
    result = score_sealed(sealed_from(network), "fp32", values, rows)
    np.testing.assert_allclose(result.scores, InDoubles(network, values, group).scores, rtol=1e-6)
    assert bits(result.reconstruction) == np.zeros(values.shape, int).tolist()
    assert result.latent is None


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("activation", ["relu", "elu", "tanh", "sigmoid"])
@pytest.mark.parametrize("head", HEADS)
def test_other_peoples_engines_agree_in_fp32(kind, activation, head):
    network = make_network(activation=activation, head=head, n_groups=2)
    values, _, rows = dies_of(network)
    engine = open_engine(other_file(kind, network))
    result = score_sealed(sealed_from(network), "fp32", values, rows)
    np.testing.assert_allclose(engine.score(values, rows), result.scores, rtol=5e-6)
    np.testing.assert_allclose(
        engine.reconstruct(values, rows), result.reconstruction, atol=5e-6, rtol=5e-6
    )


def other_file(kind: str, network: Network) -> ModelFile:
    if kind == "onnx":
        writer = pytest.importorskip("knowngood_export.onnx_writer")
        pytest.importorskip("onnxruntime")
        return parse_model(writer.network_to_onnx(network, make_manifest(network)), "made.onnx")
    writer = pytest.importorskip("knowngood_export.tflite_writer")
    pytest.importorskip("ai_edge_litert")
    return parse_model(writer.network_to_tflite(network, make_manifest(network)), "made.tflite")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_int8_lies_as_close_as_its_rounding_allows(activation, head):
    """And not closer: fp32 layers in int8's place would."""
    network = make_network((40, 20, 6, 20, 40), activation=activation, head=head)
    values, group, rows = dies_of(network)
    oracle = InDoubles(network, values, group)
    found = score_sealed(both_precisions(network, values), "int8", values, rows).reconstruction
    error = np.abs(found - oracle.reconstruction)
    assert 1e-3 < np.median(error) < 2e-2


@pytest.mark.parametrize(("kind", "small"), [("relu", 1.0), ("linear", 0.0), ("leaky_relu", 0.0)])
def test_after_relu_int8_has_twice_the_levels(kind, small):
    """Of a layer's inputs 255 and 1, the smaller one is lost in 127 levels."""
    screen = unit_screen(without_layers(make_network((2, 2))).screen)
    weight = np.array([[127, 0], [0, 127]], np.int8)
    stretch = np.array([255 / 127**2, 1 / 127], F32)
    layers = tuple(
        QuantizedDense(weight, scale, np.zeros(2, F32), ACTIVATIONS[activation])
        for scale, activation in ((stretch, kind), (np.full(2, 1 / 127, F32), "linear"))
    )
    model = sealed_from(Network(screen, ()), QuantizedNetwork(Network(screen, ()), layers))
    y = score_sealed(model, "int8", np.array([[127, 1]], F32)).reconstruction
    np.testing.assert_allclose(y, [[255, small]], rtol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "int8", "verified"])
@pytest.mark.parametrize("head", HEADS)
def test_a_die_has_the_same_bits_in_any_company(precision, head):
    network = make_network((20, 9, 3, 9, 20), activation="elu", head=head, n_groups=3)
    values, _, rows = dies_of(network, 37)
    values[5], values[6, 2], values[7, 3] = np.nan, np.inf, 3e38
    model = both_precisions(network, values)
    middle = float(np.nanmedian(score_sealed(model, "int8", values, rows).scores))
    model = verified(model, 1e30, (middle * 0.8, middle * 1.2), (0, 0))
    together = score_sealed(model, precision, values, rows)
    order = np.random.default_rng(0).permutation(37)
    shuffled = score_sealed(model, precision, values[order], rows[order])
    many = score_sealed(model, precision, np.tile(values, (60, 1)), np.tile(rows, 60))
    for part in ("scores", "reconstruction", "latent", "rescored"):
        expected = getattr(together, part)
        np.testing.assert_array_equal(getattr(shuffled, part), expected[order])
        np.testing.assert_array_equal(getattr(many, part)[-37:], expected)
        for die in range(37):
            alone = score_sealed(model, precision, values[die : die + 1], rows[die : die + 1])
            np.testing.assert_array_equal(getattr(alone, part)[0], expected[die])
    assert not together.rescored.all()
    assert together.rescored.any() == (precision == "verified")


@pytest.mark.parametrize("precision", ["fp32", "int8", "verified"])
def test_no_dies(precision):
    network = make_network()
    values, _, rows = dies_of(network)
    model = verified(both_precisions(network, values), 1e30, (0, 1), (0, 1))
    result = score_sealed(model, precision, values[:0], rows[:0])
    assert result.scores.shape == (0,)
    assert result.reconstruction.shape == (0, 12)
    assert result.latent.shape == (0, 4)


@pytest.mark.parametrize("precision", ["fp32", "int8", "verified"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, 3e38, -3e38])
def test_dies_that_are_not_evaluable_are_nan_throughout(precision, bad):
    network = make_network(centre_over_sigma=1.0)
    values, _, rows = dies_of(network, 4)
    model = verified(both_precisions(network, values), 1e-30, (0, 1), (0, 1))
    expected = score_sealed(model, precision, values[[0, 2, 3]], rows[[0, 2, 3]])
    scaler = network.screen.scaler
    values[1] = (scaler.centre[0] + 1 / scaler.inv_scale[0]).astype(F32)
    values[1, np.argmax(scaler.inv_scale[0])] = bad  # the smallest unit: far out of its range
    result = score_sealed(model, precision, values, rows)
    for part in ("scores", "reconstruction", "latent"):
        found = getattr(result, part)
        assert set(np.ravel(bits(found[1:2])).tolist()) == {NAN_BITS}
        np.testing.assert_array_equal(found[[0, 2, 3]], getattr(expected, part))
    assert result.rescored.tolist() == [precision == "verified" and die != 1 for die in range(4)]


@pytest.mark.parametrize("head", HEADS)
def test_scores_need_min_present_tests(head):
    network = make_network(head=head)  # 12 tests, 4 at least
    values, _, rows = dies_of(network, 13)
    values = np.nan_to_num(values, nan=0.0)
    for die in range(13):
        values[die, die:] = np.nan
    result = score_sealed(sealed_from(network), "fp32", values, rows)
    assert np.isfinite(result.scores).tolist() == [False] * 4 + [True] * 9
    assert np.isfinite(result.reconstruction).all()


def test_no_score_without_a_test_even_if_none_is_needed():
    network = make_network()
    network = replace(
        network, screen=replace(network.screen, head=replace(network.screen.head, min_present=0))
    )
    values = np.full((1, 12), np.nan, F32)
    assert bits(score_sealed(sealed_from(network), "fp32", values).scores) == [NAN_BITS]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("head", HEADS)
def test_what_overflows_has_no_score_and_raises_no_warning(precision, head):
    network = make_network(head=head)
    huge = [replace(la, weight=la.weight * F32(1e38)) for la in network.layers]
    network = replace(network, layers=tuple(huge))
    values, _, rows = dies_of(network)
    quantized = quantize_roughly(make_network(head=head), np.eye(12, dtype=F32))
    scales = [replace(la, weight_scale=la.weight_scale * F32(1e38)) for la in quantized.layers]
    model = sealed_from(network, QuantizedNetwork(network, tuple(scales)))
    with np.errstate(all="raise"):  # as a host may have set it
        result = score_sealed(model, precision, values, rows)
    assert set(bits(result.scores)) == {NAN_BITS}
    not_finite = ~np.isfinite(result.reconstruction)
    assert not_finite.any(axis=1).all()
    nans = np.isnan(result.reconstruction)
    assert set(np.ravel(bits(result.reconstruction[nans])).tolist()) <= {NAN_BITS}


class TestVerified:
    @pytest.fixture
    def scored(self):
        network = make_network((20, 9, 3, 9, 20))
        values, _, rows = dies_of(network, 50)
        values[3, 1:] = np.nan  # too few tests for a score
        model = both_precisions(network, values)
        int8, fp32 = (score_sealed(model, p, values, rows) for p in ("int8", "fp32"))
        return model, values, rows, int8, fp32

    def check(self, scored, model, expected, **which) -> None:
        """The result is fp32's for the ``expected`` dies, int8's for the others."""
        _, values, rows, int8, fp32 = scored
        found = score_sealed(model, "verified", values, rows, **which)
        np.testing.assert_array_equal(found.rescored, expected)
        for part in ("scores", "reconstruction", "latent"):
            a, b = getattr(int8, part), getattr(fp32, part)
            rescored = expected.reshape([-1] + [1] * (a.ndim - 1))
            np.testing.assert_array_equal(getattr(found, part), np.where(rescored, b, a))

    def test_scores_within_the_band_ends_included(self, scored):
        model, *_, int8, _ = scored
        lo, hi = np.sort(int8.scores)[[10, 20]].tolist()
        near = (int8.scores >= lo) & (int8.scores <= hi)
        assert near.sum() == 11
        self.check(scored, verified(model, 1e30, (lo, hi), (0, 0)), near)

    def test_each_operating_point_has_its_band(self, scored):
        model, *_, int8, _ = scored
        score = float(int8.scores[7])
        model = verified(model, 1e30, (0, 0), (score, score))
        self.check(scored, model, np.zeros(50, bool))
        self.check(scored, model, int8.scores == F32(score), fpr=0.02)
        with pytest.raises(OperatingPointError, match=r"0\.1"):
            score_sealed(model, "verified", scored[1], scored[2], fpr=0.001)

    def test_inputs_larger_than_the_bands_were_calibrated_for(self, scored):
        model, values, rows, *_ = scored
        u = np.nan_to_num(model.screen.scaler.standardise(values, rows))
        largest = np.abs(u).max(axis=1)
        limit = np.sort(largest)[40]
        model = verified(model, 1e30, (0, 0), (0, 0))
        model.scale_limits[0] = limit
        self.check(scored, model, largest > limit)
        assert (largest > limit).sum() == 9

    def test_dies_that_int8_gives_no_score(self, scored):
        model, values, rows, _, fp32 = scored
        *layers, last = model.int8
        layers.append(replace(last, weight_scale=np.full_like(last.weight_scale, 3e38)))
        broken = verified(replace(model, int8=tuple(layers)), 1e30, (0, 0), (0, 0))
        has_none = np.isnan(score_sealed(broken, "int8", values, rows).scores)
        assert has_none.sum() > 30
        has_none[3] = False  # it has too few tests for a score in any precision
        result = score_sealed(broken, "verified", values, rows)
        np.testing.assert_array_equal(result.rescored, has_none)
        np.testing.assert_array_equal(result.scores[has_none], fp32.scores[has_none])

    def test_infinite_inputs_exceed_every_limit(self, scored):
        model, values, rows, *_ = scored
        layers = tuple(replace(la, weight_scale=la.weight_scale * F32(1e38)) for la in model.int8)
        broken = verified(replace(model, int8=layers), np.finfo(F32).max, (0, 0), (0, 0))
        assert score_sealed(broken, "verified", values, rows).rescored[3]


class TestEngine:
    def test_opens_in_the_precision_of_the_manifest(self):
        network = make_network()
        values, _, rows = dies_of(network)
        model = verified(both_precisions(network, values), 1e30, (0, 9e9), (0, 0))
        for precision in ("fp32", "int8", "verified"):
            engine = ReferenceEngine.open(as_file(model, precision))
            expected = score_sealed(model, precision, values, rows)
            np.testing.assert_array_equal(engine.score(values, rows), expected.scores)
            np.testing.assert_array_equal(engine.reconstruct(values, rows), expected.reconstruction)
            np.testing.assert_array_equal(engine.latent(values, rows), expected.latent)

    def test_another_operating_point_matters_to_verified_only(self):
        network = make_network()
        values, _, rows = dies_of(network)
        model = verified(both_precisions(network, values), 1e30, (0, 0), (0, 9e9))
        int8, fp32 = (ReferenceEngine(model, p) for p in ("int8", "fp32"))
        assert int8.at(0.02) is int8
        engine = ReferenceEngine(model, "verified")
        assert bits(engine.score(values, rows)) == bits(int8.score(values, rows))
        assert bits(engine.at(0.02).score(values, rows)) == bits(fp32.score(values, rows))
        with pytest.raises(OperatingPointError):
            engine.at(0.3)

    def test_refuses_what_it_cannot_do(self):
        network = make_network((12, 12))
        model = sealed_from(network)
        with pytest.raises(UsageError, match=r"no precision 'int8': it has fp32"):
            score_sealed(model, "int8", np.zeros((1, 12), F32))
        with pytest.raises(UsageError, match="no latent layer"):
            ReferenceEngine(model, "fp32").latent(np.zeros((1, 12), F32), None)
        foreign = replace(as_file(model), sealed=None, kind="onnx", path=Path("a.onnx"))
        with pytest.raises(UsageError, match=r"a\.onnx"):
            ReferenceEngine.open(foreign)

    def test_threads_share_it(self):
        network = make_network((40, 20, 6, 20, 40))
        values, _, rows = dies_of(network, 30)
        engine = ReferenceEngine(both_precisions(network, values), "int8")
        expected = engine.score(values, rows)
        found = [None] * 8

        def work(i: int) -> None:
            found[i] = engine.score(values[i:], rows[i:])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(8):
            np.testing.assert_array_equal(found[i], expected[i:])


def scorer_of(network: Network) -> Scorer:
    file = as_file(sealed_from(network))
    return Scorer(file, ReferenceEngine.open(file), point_at(0.005))


def test_the_range_of_an_exact_file_ends_at_two_to_the_thirty():
    """A graph's ends a little earlier, as its reason does."""
    network = without_layers(make_network())
    screen = unit_screen(network.screen)
    scorer = scorer_of(replace(network, screen=screen))
    values = np.zeros((3, 12), F32)
    values[:, 4] = 2.0**30, np.nextafter(F32(2.0**30), F32(np.inf)), np.inf
    result = scorer.score(values)
    assert result.reasons.tolist() == [Reason.NONE, Reason.RANGE, Reason.NOT_FINITE]


def test_just_below_the_range_an_overflow_is_not_called_range():
    network = without_layers(make_network(head="mse"))
    screen = unit_screen(network.screen)
    head = replace(screen.head, residual_weight=np.full(12, 1e30, F32))
    scorer = scorer_of(replace(network, screen=replace(screen, head=head)))
    values = np.zeros((1, 12), F32)
    values[0, 4] = np.nextafter(F32(2.0**30), F32(0))
    assert scorer.score(values).reasons.tolist() == [Reason.NOT_FINITE]


def unit_screen(screen: Screen) -> Screen:
    scaler = replace(
        screen.scaler,
        centre=np.zeros_like(screen.scaler.centre),
        inv_scale=np.ones_like(screen.scaler.inv_scale),
    )
    return replace(screen, scaler=scaler)


@pytest.mark.parametrize("head", HEADS)
def test_contributions_are_of_the_residuals_that_make_the_score(head):
    network = make_network(head=head)
    values, _, _ = dies_of(network, 6)
    result = scorer_of(network).score(values)
    gains = network.screen.head.present_gain
    for die in range(6):
        n_present = int(np.count_nonzero(~np.isnan(values[die])))
        top = result.top_tests(die, k=12)
        assert len(top) == n_present
        z = np.array([c.z for c in top])
        assert (np.diff(np.abs(z)) <= 0).all()
        part = np.abs(z) * (np.arange(n_present) < 5) if head == "topk" else z * z
        assert [c.share for c in top] == pytest.approx((part / part.sum()).tolist(), rel=1e-12)
        score = float(result.scores[die])
        if head == "topk":
            offset = network.screen.head.present_offset[n_present]
            assert np.abs(z[:5]).sum() * gains[n_present] + offset == pytest.approx(score, rel=1e-6)
        elif n_present == 12:
            assert (z * z).mean() == pytest.approx(score, rel=1e-6)
