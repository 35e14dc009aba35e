"""Layers of torch autoencoders against what torch itself computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (its customary name)
from torch import nn

from knowngood._errors import UsageError
from knowngood_export.torch_layers import layers_from_module

N_TESTS = 10


def apply(layers, x):
    y = x.astype(np.float64)
    for layer in layers:
        y = layer.activation.apply(y @ layer.weight.T.astype(np.float64) + layer.bias)
    return y


def trained_norm(width):
    """A BatchNorm1d whose statistics are not those of a fresh one."""
    norm = nn.BatchNorm1d(width)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.2, 3)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.uniform_(norm.bias, -1, 1)
    return norm


def assert_same(module, n_layers):
    torch.manual_seed(0)
    x = torch.randn(50, N_TESTS)
    with torch.no_grad():
        expected = module.eval()(x).numpy()
    layers = layers_from_module(module, N_TESTS)
    assert len(layers) == n_layers
    np.testing.assert_allclose(apply(layers, x.numpy()), expected, rtol=1e-4, atol=1e-5)
    return layers


@pytest.mark.parametrize(
    ("activation", "kind", "alpha"),
    [
        (nn.ReLU(), "relu", 0.0),
        (nn.LeakyReLU(0.2), "leaky_relu", 0.2),
        (nn.ELU(0.6), "elu", 0.6),
        (nn.Sigmoid(), "sigmoid", 0.0),
        (nn.Tanh(), "tanh", 0.0),
    ],
)
def test_each_activation(activation, kind, alpha):
    module = nn.Sequential(nn.Linear(N_TESTS, 4), activation, nn.Linear(4, N_TESTS))
    first, last = assert_same(module, 2)
    assert (first.activation.kind, first.activation.alpha) == (kind, alpha)
    assert last.activation.kind == "linear"


def test_nested_sequential_with_dropout_and_identity():
    encoder = nn.Sequential(nn.Linear(N_TESTS, 6), nn.Dropout(0.5), nn.ReLU(), nn.Identity())
    decoder = nn.Sequential(nn.Linear(6, N_TESTS, bias=False), nn.Sigmoid())
    assert_same(nn.Sequential(encoder, decoder), 2)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_before_and_after_linear_is_folded(training):
    module = nn.Sequential(
        trained_norm(N_TESTS), nn.Linear(N_TESTS, 4), trained_norm(4), nn.ReLU(),
        nn.Linear(4, N_TESTS), trained_norm(N_TESTS),
    )  # fmt: skip
    assert_same(module, 2)
    module.train(training)
    layers_from_module(module, N_TESTS)
    assert module.training is training


def test_batch_norm_between_activations_and_after_the_last():
    module = nn.Sequential(
        nn.Linear(N_TESTS, 4), nn.ReLU(), trained_norm(4), nn.Tanh(),
        nn.Linear(4, N_TESTS), nn.ReLU(), trained_norm(N_TESTS),
    )  # fmt: skip
    assert_same(module, 4)


def test_batch_norm_after_activation_goes_into_the_next_linear():
    module = nn.Sequential(nn.Linear(N_TESTS, 4), nn.ReLU(), trained_norm(4), nn.Linear(4, N_TESTS))
    assert_same(module, 2)


def test_activation_before_any_linear():
    assert_same(nn.Sequential(nn.Tanh(), nn.Linear(N_TESTS, N_TESTS)), 2)


def test_two_linear_layers_keep_their_bottleneck():
    layers = assert_same(nn.Sequential(nn.Linear(N_TESTS, 2), nn.Linear(2, N_TESTS)), 2)
    assert [len(layer.bias) for layer in layers] == [2, N_TESTS]


def test_a_single_linear_module():
    assert_same(nn.Linear(N_TESTS, N_TESTS), 1)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(N_TESTS, 4), nn.Linear(4, N_TESTS)
        self.middle = nn.Linear(4, 4)

    def forward(self, x):
        x = F.dropout(F.leaky_relu(self.enter(x), 0.3), 0.4, training=self.training)
        x = torch.tanh(self.middle(x))
        x = F.elu(self.middle(x), alpha=0.5).relu()
        return torch.sigmoid(self.leave(x))


def test_functional_calls_and_a_layer_used_twice():
    layers = assert_same(Functional(), 5)
    kinds = [layer.activation.kind for layer in layers]
    assert kinds == ["leaky_relu", "tanh", "elu", "relu", "sigmoid"]


def test_double_precision_weight_norm():
    module = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(N_TESTS, 4)), nn.Linear(4, N_TESTS)
    )
    assert_same(module, 2)


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(N_TESTS, N_TESTS)

    def forward(self, x):
        return x + self.layer(x)


class ReturnsCode(Skip):
    def forward(self, x):
        code = self.layer(x)
        return code, code


class Branches(Skip):
    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


class Scaled(nn.Linear):
    """A subclass of a supported layer that computes something else."""

    def forward(self, x):
        return 2 * super().forward(x)


class TwoInputs(Skip):
    def forward(self, x, weight=None):
        return self.layer(x)


class ScaledLayer(nn.BatchNorm1d):
    """Claims to be a leaf of torch, and is not what it claims."""

    __module__ = "torch.nn.modules.batchnorm"

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(10, 10), nn.Sequential(nn.GELU())), r"'1\.0' \(GELU\)"),
        (nn.Sequential(nn.Conv1d(1, 1, 3)), r"'0' \(Conv1d\).*knowngood exports Linear"),
        (nn.Sequential(nn.Linear(10, 10), nn.Softmax(dim=1)), "Softmax"),
        (nn.Sequential(nn.LSTM(10, 10)), "LSTM"),
        (Skip(), "not a plain chain|not supported"),
        (ReturnsCode(), "several values|not a plain chain"),
        (Branches(), "cannot be traced"),
        (TwoInputs(), "not a plain chain"),
        (nn.Sequential(nn.Linear(10, 4)), r"gives \(4,\) values for 10 tests"),
        (nn.Sequential(nn.Linear(9, 10)), "takes 9 values, it is given 10"),
        (nn.Sequential(nn.Linear(10, 4), nn.ReLU(), nn.Linear(5, 10)), "takes 5 values"),
        (nn.Sequential(nn.BatchNorm1d(10, track_running_stats=False)), "running statistics"),
        (nn.Sequential(nn.Identity()), "no layers that compute"),
        (nn.Sequential(ScaledLayer(10)), "do not give what it gives"),
        (Scaled(10, 10), "not supported|not a plain chain"),
    ],
)  # fmt: skip
def test_what_is_not_a_plain_autoencoder_is_refused_by_name(module, message):
    with pytest.raises(UsageError, match=message):
        layers_from_module(module, N_TESTS)


def test_the_module_is_left_as_it_is():
    module = nn.Sequential(nn.Linear(N_TESTS, N_TESTS), nn.Dropout()).train()
    layers_from_module(module, N_TESTS)
    assert module.training
    assert module[0].weight.dtype == torch.float32
