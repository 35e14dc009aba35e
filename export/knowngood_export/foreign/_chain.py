"""What every reader builds: steps in a row, with the shape that a die's values have in between."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._network import Activation, Dense

from .._affine_steps import MOST_ALONE, Affine, Step, StepError, batch_norm, dense_layers

_IMPORTED = (
    "knowngood imports autoencoders of dense layers, ReLU, LeakyReLU, ELU, sigmoid, tanh, batch "
    "normalisation, constants added or multiplied, and what leaves values as they are"
)
Shape = tuple[int, ...]
MOST_TESTS = 2**20
MOST_BYTES = 2**31
"""What ONNX and TFLite files can hold."""
MOST_OPERATORS = 10_000
_MOST_VALUES = 2**26
"""Weights and constants that any file may make, ``_VALUES_PER_BYTE`` times its size beyond that:
a few kilobytes that share, spread or compress weights cannot fill the memory."""
_VALUES_PER_BYTE = 8
"""An int8 weight is held as itself, dequantised, transposed, cast and as a layer."""


class RefusedError(ValueError):
    """Why a file is not taken; the text names the operator, and `read_network` adds the file."""


def unsupported(operator: str, place: str = "") -> RefusedError:
    """A refusal of an operator by its name."""
    where = f" ({place!r})" if place else ""
    return RefusedError(f"the operator {operator}{where} is not supported: {_IMPORTED}")


def require_known(operators: Iterable[str], known: Collection[str]) -> None:
    """Refuse a file by the names of all its operators that no reader knows."""
    unknown = [name for name in dict.fromkeys(operators) if name not in known]
    if len(unknown) == 1:
        raise unsupported(unknown[0])
    if unknown:
        raise RefusedError(f"the operators {', '.join(unknown)} are not supported: {_IMPORTED}")


def require_few(n_operators: int) -> None:
    """Refuse more operators, layers or tensors than any dense autoencoder has."""
    if n_operators > MOST_OPERATORS:
        raise RefusedError(
            f"it has {n_operators:,} operators or tensors, at most {MOST_OPERATORS:,} are taken"
        )


def require_spread(operator: str, array: NDArray[Any], *others: NDArray[Any]) -> None:
    """Refuse what would be larger than ``array`` once the others are combined with it."""
    if np.broadcast_shapes(array.shape, *(other.shape for other in others)) != array.shape:
        shapes = ", ".join(str(other.shape) for other in others)
        raise RefusedError(f"{operator} has constants of shape {shapes} for {array.shape}")


def require_same_width(n_in: int, n_out: int) -> None:
    """Refuse a network that does not give as many values as it takes."""
    if n_in != n_out:
        raise RefusedError(f"it is not an autoencoder: {n_in} values in, {n_out} out")


class Chain:
    """A network under construction, from its input on.

    Attributes:
        input_shape: of one die.
        shape: of one die's values after the steps so far; 0 or more axes, in C order.
        steps: so far.
        is_quantized: the file computes in integers somewhere, so its own results are coarser.
        files_beside: SHA-256 by name of further files that weights were read from.

    Args:
        n_bytes: of the file and those beside it, which bounds how much may come of them.
    """

    def __init__(self, input_shape: Sequence[int], n_bytes: int) -> None:
        self.input_shape: Shape = tuple(int(n) for n in input_shape)
        if not self.input_shape or min(self.input_shape) < 1:
            raise RefusedError(
                f"its input has the shape (n, {', '.join(map(str, input_shape))}): expected "
                "(n dies, n tests), with the number of tests known"
            )
        if math.prod(self.input_shape) > MOST_TESTS:
            raise RefusedError(f"its input has {math.prod(self.input_shape):,} values, too many")
        self.shape = self.input_shape
        self.steps: list[Step] = []
        self.is_quantized = False
        self.files_beside: dict[str, str] = {}
        self._room = _MOST_VALUES + _VALUES_PER_BYTE * n_bytes

    def hold(self, operator: str, n_values: int) -> None:
        """Count values that are about to be read or computed.

        Raises:
            RefusedError: they are more than the file's size explains.
        """
        self._room -= int(n_values)
        if self._room < 0:
            raise RefusedError(
                f"{operator} makes its weights larger than the size of the file explains"
            )

    def dense(self, operator: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> None:
        """Append ``weight @ x + bias``, weight ``(n_out, n_in)``, bias n_out values or one."""
        if (
            weight.ndim != 2
            or math.prod(self.shape[:-1]) != 1
            or self.shape[-1:] != weight.shape[1:]
        ):
            raise RefusedError(
                f"{operator} has weights of shape {weight.shape} for values of shape "
                f"{self.shape}: expected one row of {weight.shape[-1]} values a die"
            )
        n_out = weight.shape[0]
        self.hold(operator, weight.size + n_out)
        offset = _spread(operator, 0.0 if bias is None else bias, (n_out,))
        self.steps.append(Affine(_finite(operator, weight), _finite(operator, offset)))
        self.shape = (*self.shape[:-1], n_out)

    def scale(self, operator: str, factor: Any, offset: Any) -> None:
        """Append ``x * factor + offset``, each of them broadcast to a die's values."""
        self.hold(operator, 2 * math.prod(self.shape))
        weight, bias = (_spread(operator, v, self.shape).ravel() for v in (factor, offset))
        self.steps.append(Affine(_finite(operator, weight), _finite(operator, bias)))

    def normalise(
        self, operator: str, mean: Any, variance: Any, epsilon: float, gain: Any, shift: Any
    ) -> None:
        """Append a batch normalisation over the last axis; see `batch_norm`."""
        width = self.shape[-1:]
        mean, variance, gain, shift = (
            _spread(operator, v, width) for v in (mean, variance, gain, shift)
        )
        step = batch_norm(mean, variance, epsilon, gain, shift)
        self.scale(operator, step.weight, step.bias)

    def activate(self, activation: Activation) -> None:
        """Append an activation."""
        if activation.kind == "linear":
            return
        width = math.prod(self.shape)
        if self._needs_layer_of_its_own() and width <= MOST_ALONE:  # wider ones are refused later
            self.hold(f"an activation of {width:,} values alone", width**2)
        self.steps.append(activation)

    def _needs_layer_of_its_own(self) -> bool:
        """Whether no dense layer stands between the last activation and here."""
        for step in reversed(self.steps):
            if isinstance(step, Activation):
                break
            if not step.is_diagonal:
                return False
        return True

    def rounded(self, zero_point: int, dtype: np.dtype[Any]) -> None:
        """Note that the file has integers here, as which ``zero_point`` stands for 0.

        Where that is the smallest integer the file has no numbers below 0: quantisers leave a relu
        out there, and it is put back.
        """
        self.is_quantized = True
        last = self.steps[-1] if self.steps else None
        is_positive = isinstance(last, Activation) and last.is_positive
        if last is not None and zero_point == np.iinfo(dtype).min and not is_positive:
            self.activate(Activation("relu"))

    def reshape(self, operator: str, shape: Sequence[int]) -> None:
        """Give a die's values another shape; they stay in order."""
        found = tuple(int(n) for n in shape)
        if math.prod(found) != math.prod(self.shape) or not found or min(found) < 1:
            raise RefusedError(f"{operator} makes {found} of a die's {self.shape} values")
        self.shape = found

    def layers(self) -> tuple[Dense, ...]:
        """The steps as layers.

        Raises:
            RefusedError: it is no autoencoder, or has no layers.
        """
        require_same_width(math.prod(self.input_shape), math.prod(self.shape))
        try:
            layers = tuple(dense_layers(self.steps, math.prod(self.input_shape)))
        except StepError as error:
            raise RefusedError(str(error)) from error
        if not layers:
            raise RefusedError("it has no layers that compute anything")
        if not all(np.isfinite(a).all() for la in layers for a in (la.weight, la.bias)):
            raise RefusedError("its layers, folded together, have weights beyond float32")
        return layers


def _spread(operator: str, values: Any, shape: Shape) -> NDArray[np.float64]:
    """Values in float64, broadcast to ``shape``; a leading axis of 1 is that of the dies."""
    array = np.asarray(values, dtype=np.float64)
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    try:
        return np.array(np.broadcast_to(array, shape))
    except ValueError as error:
        raise RefusedError(
            f"{operator} has a constant of shape {array.shape} for values of shape {shape}"
        ) from error


def _finite(operator: str, array: NDArray[Any]) -> NDArray[np.float64]:
    exact = array.astype(np.float64)
    if not np.isfinite(exact).all():
        raise RefusedError(f"the weights of {operator} are not finite")
    return exact
