"""Turns a plain torch autoencoder into the layers of a `Network`, or says why it cannot.

The module is traced, so nesting, functional calls and a ``forward`` of its own are fine as long as
each step takes the result of the one before. BatchNorm is folded, Dropout removed, and at the end
the layers must give what the module gives.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its customary name)
from torch import fx, nn

from knowngood._errors import UsageError
from knowngood._network import Activation, Dense, FloatArray

from ._affine_steps import Affine, Matrix, Step, StepError, batch_norm, dense_layers

SUPPORTED = "Linear, ReLU, LeakyReLU, ELU, Sigmoid, Tanh, BatchNorm1d, Dropout and Identity"
CHECK_DIES = 64
CHECK_TOLERANCE = 1e-5
"""Weights are rounded to float32 once, which costs about 1e-7 a layer."""


def layers_from_module(module: nn.Module, n_tests: int) -> tuple[Dense, ...]:
    """The layers of an autoencoder over ``n_tests`` tests, in evaluation mode.

    Args:
        module: maps float ``(n, n_tests)`` to ``(n, n_tests)``. A chain of Linear, ReLU,
            LeakyReLU, ELU, Sigmoid, Tanh, BatchNorm1d, Dropout and Identity, as modules, as
            functions of ``torch`` and ``torch.nn.functional``, or as tensor methods. It is left
            as it is.
        n_tests: width of its input and output.

    Raises:
        UsageError: a layer that is not supported, named with its place in the module; a forward
            that is no chain; other widths; or layers that do not give what the module gives.
    """
    frozen = copy.deepcopy(module).to("cpu", torch.float64).eval()
    try:
        layers = tuple(dense_layers(_steps(frozen), n_tests))
    except StepError as error:
        raise UsageError(f"{error}, in {type(module).__name__}") from error
    if not layers:
        raise UsageError(f"{type(module).__name__} has no layers that compute anything")
    _check_same(frozen, layers, n_tests)
    return layers


def _steps(module: nn.Module) -> Iterator[Step]:
    traced = _trace(module)
    previous: fx.Node | None = None
    for node in traced.graph.nodes:
        if node.op == "placeholder" and previous is None:
            previous = node
            continue
        if node.op == "output":
            _refuse_unless_chained(node, previous)
            return
        _refuse_unless_chained(node, previous)
        step = _step(traced, node)
        if step is not None:
            yield step
        previous = node


def _trace(module: nn.Module) -> fx.GraphModule:
    if type(module).__module__.startswith("torch.nn.modules") and not list(module.children()):
        module = nn.Sequential(module)  # a bare layer has no forward to trace
    try:
        return fx.symbolic_trace(module)
    except Exception as error:  # whatever the module's own forward raises on traced values
        raise UsageError(
            f"the forward of {type(module).__name__} cannot be traced ({error}): "
            "pass its layers as one torch.nn.Sequential"
        ) from error


def _refuse_unless_chained(node: fx.Node, previous: fx.Node | None) -> None:
    if node.op == "placeholder" or node.all_input_nodes != [previous]:
        raise UsageError(
            f"the module is not a plain chain: {_place(node)} does not take the result of "
            f"{_place(previous)} alone. One input, one output, no branches; "
            "parameters belong to layers"
        )
    if node.op == "output" and node.args[0] is not previous:
        raise UsageError(
            "the module returns several values: wrap it so that it returns the reconstruction alone"
        )


def _place(node: fx.Node | None) -> str:
    if node is None:
        return "the input"
    return repr(str(node.target)) if node.op == "call_module" else repr(node.name)


def _step(traced: fx.GraphModule, node: fx.Node) -> Step | None:
    """What a node computes; None if nothing (Dropout in evaluation mode)."""
    if node.op == "call_module":
        layer = traced.get_submodule(str(node.target))
        convert = next((c for kind, c in _MODULES.items() if isinstance(layer, kind)), None)
        found = f"layer {str(node.target)!r} ({type(layer).__name__})"
        arguments: tuple[Any, ...] = (layer,)
    else:
        convert = _FUNCTIONS.get(node.target)
        found = f"{node.name!r} ({getattr(node.target, '__name__', node.target)})"
        arguments = (*node.args[1:],)
    if convert is None:
        raise UsageError(f"{found} is not supported: knowngood exports {SUPPORTED}")
    try:
        return convert(*arguments, **({} if node.op == "call_module" else node.kwargs))
    except ValueError as error:
        raise UsageError(f"{found}: {error}") from error


def _array(tensor: torch.Tensor) -> Matrix:
    array: Matrix = tensor.detach().numpy().astype(np.float64)
    return array


def _linear(layer: nn.Linear) -> Affine:
    bias = np.zeros(layer.out_features) if layer.bias is None else _array(layer.bias)
    return Affine(_array(layer.weight), bias)


def _batch_norm(layer: nn.BatchNorm1d) -> Affine:
    if layer.running_mean is None or layer.running_var is None:
        raise ValueError("a BatchNorm without running statistics depends on the other dies")
    mean, variance = _array(layer.running_mean), _array(layer.running_var)
    if layer.affine:
        return batch_norm(mean, variance, layer.eps, _array(layer.weight), _array(layer.bias))
    return batch_norm(mean, variance, layer.eps, 1.0, 0.0)


def _nothing(*_arguments: Any, **_options: Any) -> None:
    return None


def _functional_dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> None:
    if training:
        raise ValueError("dropout that stays on in evaluation: pass training=self.training")


def _functional_leaky_relu(negative_slope: float = 0.01, inplace: bool = False) -> Activation:
    return Activation("leaky_relu", negative_slope)


def _functional_elu(alpha: float = 1.0, inplace: bool = False) -> Activation:
    return Activation("elu", alpha)


def _plain(kind: Any) -> Callable[..., Activation]:
    return lambda *_arguments, **_options: Activation(kind)


_MODULES: dict[type[nn.Module], Callable[..., Step | None]] = {
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.ReLU: _plain("relu"),
    nn.LeakyReLU: lambda layer: Activation("leaky_relu", layer.negative_slope),
    nn.ELU: lambda layer: Activation("elu", layer.alpha),
    nn.Sigmoid: _plain("sigmoid"),
    nn.Tanh: _plain("tanh"),
    nn.Dropout: _nothing,
    nn.AlphaDropout: _nothing,
    nn.Identity: _nothing,
}
_FUNCTIONS: dict[Any, Callable[..., Step | None]] = {
    **dict.fromkeys((F.relu, torch.relu, "relu"), _plain("relu")),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid"), _plain("sigmoid")),
    **dict.fromkeys((F.tanh, torch.tanh, "tanh"), _plain("tanh")),
    F.leaky_relu: _functional_leaky_relu,
    F.elu: _functional_elu,
    F.dropout: _functional_dropout,
}


def _check_same(module: nn.Module, layers: tuple[Dense, ...], n_tests: int) -> None:
    """Compare the layers with the module on random dies, both in float64."""
    x = np.random.default_rng(0).normal(size=(CHECK_DIES, n_tests))
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    if expected.shape != x.shape:
        raise UsageError(
            f"the module gives {expected.shape[1:]} values for {n_tests} tests: "
            "an autoencoder gives one for each test"
        )
    y: FloatArray = x
    for layer in layers:
        y = layer.activation.apply(y @ layer.weight.T.astype(np.float64) + layer.bias)
    difference = float(np.abs(y - expected).max() / (1 + np.abs(expected).max()))
    if not difference <= CHECK_TOLERANCE:
        raise UsageError(
            f"the layers found in the module do not give what it gives (difference "
            f"{difference:.1e}): a subclass or hook computes something else"
        )
