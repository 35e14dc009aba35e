"""The autoencoder as a torch module: widths, activations, and the way back to plain layers.

A dense encoder narrows to a linear code, and a mirrored decoder widens back to a linear output:
512-256-128-32-128-256-512 for 512 tests. The code is linear because a ReLU there lets units die,
which a narrow code cannot afford.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from knowngood._errors import UsageError
from knowngood._network import Activation, Dense

HiddenActivation = Literal["relu", "leaky_relu", "elu", "sigmoid", "tanh"]
LEAKY_SLOPE = 0.01
ELU_SCALE = 1.0


@dataclass(frozen=True)
class Architecture:
    """Shape of a dense autoencoder.

    Attributes:
        hidden: widths of the encoder's layers before the code; the decoder mirrors them.
        latent: width of the code.
        activation: of every layer but the code and the last, which are linear.
        dropout: share of hidden activations set to 0 in training.
    """

    hidden: tuple[int, ...]
    latent: int
    activation: HiddenActivation = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if any(width < 1 for width in (*self.hidden, self.latent)):
            raise UsageError(
                f"widths must be 1 or more, found hidden={self.hidden}, latent={self.latent}"
            )
        if self.activation not in get_args(HiddenActivation):
            raise UsageError(
                f"activation must be one of {', '.join(get_args(HiddenActivation))}, "
                f"found {self.activation!r}"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be from 0 to below 1, found {self.dropout}")

    @property
    def latent_layer(self) -> int:
        """Index of the dense layer whose output is the code."""
        return len(self.hidden)

    def widths(self, n_tests: int) -> tuple[int, ...]:
        """Width of the input and of every layer's output."""
        return (n_tests, *self.hidden, self.latent, *reversed(self.hidden), n_tests)


def default_latent(n_tests: int) -> int:
    """32, or √(2·n_tests) if that is more, but at most half the tests; 32 for 512 tests.

    Process factors grow much more slowly in number than tests do.
    """
    return max(1, min(max(32, round(math.sqrt(2 * n_tests))), n_tests // 2))


def default_hidden(n_tests: int, latent: int) -> tuple[int, int]:
    """A half and a quarter of the tests, at most 512 and 256, and at least 2·latent and 16.

    (256, 128) for 512 tests.
    """
    second = max(min(n_tests // 4, 256), 2 * latent, 16)
    return max(min(n_tests // 2, 512), second), second


def build_module(n_tests: int, architecture: Architecture) -> nn.Sequential:
    """An untrained autoencoder with orthogonal weights, drawn from torch's global generator.

    It takes and gives float32 ``(n_dies, n_tests)``, standardised.
    """
    widths = architecture.widths(n_tests)
    linear = {architecture.latent_layer, len(widths) - 2}
    modules: list[nn.Module] = []
    for index, (n_in, n_out) in enumerate(pairwise(widths)):
        kind = "linear" if index in linear else architecture.activation
        modules.append(_dense(n_in, n_out, kind))
        if kind != "linear":
            modules.append(_activation_module(kind))
            if architecture.dropout:
                modules.append(nn.Dropout(architecture.dropout))
    return nn.Sequential(*modules)


def _dense(n_in: int, n_out: int, kind: str) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    nn.init.orthogonal_(layer.weight, gain=_gain(kind))
    nn.init.zeros_(layer.bias)
    return layer


def _gain(kind: str) -> float:
    """What keeps the variance of the activations from layer to layer."""
    if kind == "elu":
        return 1.0
    return nn.init.calculate_gain(kind, LEAKY_SLOPE if kind == "leaky_relu" else None)  # type: ignore[arg-type]  # a str here, a Literal there


def _activation_module(kind: str) -> nn.Module:
    match kind:
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            return nn.LeakyReLU(LEAKY_SLOPE)
        case "elu":
            return nn.ELU(ELU_SCALE)
        case "sigmoid":
            return nn.Sigmoid()
        case _:
            return nn.Tanh()


def dense_layers(module: nn.Sequential) -> tuple[Dense, ...]:
    """The layers of a module made by ``build_module``, as float32 NumPy arrays."""
    layers: list[Dense] = []
    for part in module:
        if isinstance(part, nn.Linear):
            layers.append(Dense(_numpy(part.weight), _numpy(part.bias)))
        elif not isinstance(part, nn.Dropout):
            last = layers[-1]
            layers[-1] = Dense(last.weight, last.bias, _activation(part))
    return tuple(layers)


def _numpy(tensor: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return tensor.detach().numpy().astype(np.float32, copy=True)


def _activation(module: nn.Module) -> Activation:
    match module:
        case nn.ReLU():
            return Activation("relu")
        case nn.LeakyReLU():
            return Activation("leaky_relu", module.negative_slope)
        case nn.ELU():
            return Activation("elu", module.alpha)
        case nn.Sigmoid():
            return Activation("sigmoid")
        case nn.Tanh():
            return Activation("tanh")
    raise UsageError(f"{type(module).__name__} is not an activation of this autoencoder")
