"""The trained network in eager PyTorch, scaler and head included, as a data scientist runs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowngood._network import MAX_STANDARDISED, Activation, Dense, Head, LowRank, Network

from ._contestants import Float32, in_blocks, thresholds_of


def module_of(network: Network) -> nn.Sequential:
    """The layers as a module; float32 ``(n, n_tests)``, standardised, in and out."""
    modules: list[nn.Module] = []
    for layer in network.layers:
        modules.append(_linear(layer))
        if layer.activation.kind != "linear":
            modules.append(_activation(layer.activation))
    return nn.Sequential(*modules).eval()


def _linear(layer: Dense) -> nn.Linear:
    n_out, n_in = layer.weight.shape
    linear = nn.Linear(n_in, n_out)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(layer.weight))
        linear.bias.copy_(torch.from_numpy(layer.bias))
    return linear


def _activation(activation: Activation) -> nn.Module:
    modules: dict[str, nn.Module] = {
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(activation.alpha),
        "elu": nn.ELU(activation.alpha),
        "sigmoid": nn.Sigmoid(),
        "tanh": nn.Tanh(),
    }
    return modules[activation.kind]


class TorchEager:
    """Raw values to scores in eager mode, without gradients."""

    name = "torch fp32"
    form = "fp32"
    version = str(torch.__version__)

    def __init__(self, network: Network) -> None:
        screen = network.screen
        self._module = module_of(network)
        self._centre = torch.from_numpy(screen.scaler.centre[0])
        self._inv_scale = torch.from_numpy(screen.scaler.inv_scale[0])
        self._weight = torch.from_numpy(screen.head.residual_weight)
        self._head = _TorchHead(screen.head)
        self.thresholds = thresholds_of(screen)

    def score(self, values: Float32) -> Float32:
        return in_blocks(lambda dies: self._scores(dies).numpy(), values)

    @torch.inference_mode()
    def _scores(self, values: Float32) -> Tensor:
        u = ((torch.from_numpy(values).double() - self._centre) * self._inv_scale).float()
        present = ~u.isnan()
        u = torch.where(present, u, 0.0)
        z = torch.where(present, (u - self._module(u)) * self._weight, 0.0)
        scores = self._head(z, present)
        scored = scores.isfinite() & (u.abs().amax(1) <= MAX_STANDARDISED)
        return scores.masked_fill(~scored, torch.nan)


class _TorchHead:
    """Weighted residuals, 0 where missing, to scores; see ``knowngood._network.Head``."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._gain = torch.from_numpy(head.present_gain)
        self._offset = torch.from_numpy(head.present_offset)
        self._expected = torch.from_numpy(head.expected_square)

    def __call__(self, z: Tensor, present: Tensor) -> Tensor:
        n_present = present.sum(1)
        if self._head.low_rank is not None:
            z = _whitened(self._head.low_rank, z, present)
        if self._head.kind == "topk":
            k = min(self._head.k, z.shape[1])
            total = z.abs().topk(k, dim=1, sorted=False).values.sum(1)
            scores = total * self._gain[n_present] + self._offset[n_present]
        else:
            expected = present.float() @ self._expected
            scores = z.square().sum(1) * self._expected.mean() / expected
        return torch.where(n_present >= self._head.min_present, scores, torch.nan)


def _whitened(low_rank: LowRank, z: Tensor, present: Tensor) -> Tensor:
    project, subtract = torch.from_numpy(low_rank.project), torch.from_numpy(low_rank.subtract)
    return (z - (z @ project.T) @ subtract.T).masked_fill(~present, 0.0)
