"""The network by array library: NumPy, and eager PyTorch without gradients; in fp32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ._job import Bind, Float32, Judge, around
from ._protocol import Contestant, Folder, prepared_in_blocks

Layers = list[tuple[Float32, Float32, bool]]
"""Weight ``(n_out, n_in)``, bias, and whether relu follows, of each layer."""


def contestants_of_numpy(folder: Folder) -> list[Contestant]:
    layers = _layers(folder)
    return _both_ways(folder, "numpy", np.__version__, lambda n_dies: _NumPy(layers, n_dies))


def contestants_of_torch(folder: Folder) -> list[Contestant]:
    import torch

    torch.set_num_threads(1)
    layers = _layers(folder)
    version = str(torch.__version__)
    return _both_ways(folder, "torch", version, lambda n_dies: _Torch(layers, n_dies))


def _both_ways(folder: Folder, engine: str, version: str, bind: Bind) -> list[Contestant]:
    def prepare(n_dies: int) -> Judge:
        return around(folder.job, bind, n_dies)

    ways: dict[str, Callable[[int], Judge]] = {
        "job in NumPy": prepare,
        "job in NumPy, in blocks": prepared_in_blocks(prepare),
    }
    return [Contestant(engine, "fp32", how, version, way) for how, way in ways.items()]


def _layers(folder: Folder) -> Layers:
    with np.load(folder.file("layers.npz")) as arrays:
        n_layers = len(arrays["is_relu"])
        return [
            (arrays[f"weight_{i}"], arrays[f"bias_{i}"], bool(arrays["is_relu"][i]))
            for i in range(n_layers)
        ]


class _NumPy:
    def __init__(self, layers: Layers, n_dies: int) -> None:
        self.x = np.zeros((n_dies, layers[0][0].shape[1]), np.float32)
        self._steps: list[Callable[[], object]] = []
        x = self.x
        for weight, bias, is_relu in layers:
            y = np.empty((n_dies, len(weight)), np.float32)
            self._steps.append(partial(np.matmul, x, weight.T, out=y))
            self._steps.append(partial(np.add, y, bias, out=y))
            if is_relu:
                self._steps.append(partial(np.maximum, y, np.float32(0), out=y))
            x = y
        self._y = x

    def run(self) -> Float32:
        for step in self._steps:
            step()
        return self._y


class _Torch:
    def __init__(self, layers: Layers, n_dies: int) -> None:
        import torch

        self.x = np.zeros((n_dies, layers[0][0].shape[1]), np.float32)
        modules: list[torch.nn.Module] = []
        for weight, bias, is_relu in layers:
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight = torch.nn.Parameter(torch.from_numpy(weight))
            linear.bias = torch.nn.Parameter(torch.from_numpy(bias))
            modules += [linear, torch.nn.ReLU(inplace=True)] if is_relu else [linear]
        network, source = torch.nn.Sequential(*modules).eval(), torch.from_numpy(self.x)
        self._run: Callable[[], torch.Tensor] = torch.inference_mode()(lambda: network(source))

    def run(self) -> Float32:
        result: Float32 = self._run().numpy()
        return result
