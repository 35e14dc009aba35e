"""Keras models in HDF5, as ``model.save("model.h5")`` writes them: Sequential or Functional.

The file holds the layers as JSON, in the order they were made, and their weights by layer. Keras
itself is not needed, and no code of the file is run.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._extras import require
from knowngood._network import Activation

from ._chain import Chain, RefusedError, require_few, require_known, unsupported
from ._hdf5 import Stored

Array = NDArray[Any]
_DAMAGE = (
    OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    MemoryError,
)  # fmt: skip
"""What h5py and json raise on a file whose bytes were changed."""
_MODELS = ("Functional", "Model", "Sequential")
_LEAKY_BY_NAME = 0.2
"""The slope of Keras' activation ``leaky_relu``; the layer has its own."""


def read_keras(path: Path, data: bytes) -> Chain:
    """The chain of steps in a Keras HDF5 file.

    Raises:
        RefusedError: see `read_network`.
        MissingExtraError: h5py is not installed.
    """
    h5py = require("h5py", extra="export", needed_for="importing Keras HDF5 files")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _follow(file, len(data))
    except _DAMAGE as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(
            f"it is damaged or no Keras HDF5 file ({error}); save the model again with "
            "model.save('model.h5')"
        ) from error


def _follow(file: Any, n_bytes: int) -> Chain:
    if "model_config" not in file.attrs:
        raise RefusedError(
            "it has weights but no layers: save the whole model with model.save('model.h5'), "
            "not its weights alone"
        )
    config = json.loads(file.attrs["model_config"])
    layers = list(_layers_in_order(config))
    require_few(len(layers))
    require_known(map(_name, layers), _LAYERS)
    chain = Chain(_input_shape(config, layers), n_bytes)
    stored = Stored(file, chain.hold).group("model_weights")
    for layer in layers:
        name = layer["config"]["name"]
        _append(chain, layer, _weights(stored.group(name)) if stored.has(name) else {})
    return chain


def _layers_in_order(model: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The layers of a Sequential or Functional model as a chain, input layers left out."""
    kind, config = model["class_name"], model["config"]
    if kind not in _MODELS:
        raise unsupported(f"{kind} as a model")
    layers = config if isinstance(config, list) else config["layers"]
    if kind != "Sequential":
        _require_one(config, "input_layers", "inputs")
        _require_one(config, "output_layers", "outputs")
        layers = _sorted_chain(layers)
        if layers[-1]["name"] != _flat(config["output_layers"])[0]:
            raise RefusedError("its output is not at the end of a plain chain of layers")
    return (layer for layer in layers if layer["class_name"] != "InputLayer")


def _require_one(config: Mapping[str, Any], key: str, what: str) -> None:
    found = [name for name in _flat(config[key]) if isinstance(name, str)]
    if len(found) != 1:
        raise RefusedError(f"it has {len(found)} {what} ({', '.join(found)}), expected one")


def _flat(entry: Any) -> list[Any]:
    """Names and indices out of ``["x", 0, 0]`` or ``[["x", 0, 0], …]``."""
    return [leaf for e in entry for leaf in (_flat(e) if isinstance(e, list) else [e])]


def _sorted_chain(layers: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Layers such that each takes the result of the one before."""
    taken = {_source(layer): layer for layer in layers}
    if len(taken) != len(layers) or None not in taken:
        raise RefusedError(
            "a layer's result is taken more than once: branches and skips are not supported"
        )
    order = [taken[None]]
    while len(order) < len(layers):
        following = taken.get(order[-1]["name"])
        if following is None:
            raise RefusedError("its layers are no plain chain")
        order.append(following)
    return order


def _source(layer: Mapping[str, Any]) -> str | None:
    """The layer whose result this one takes; None for the input."""
    sources = list(_sources(layer.get("inbound_nodes") or []))
    if layer["class_name"] == "InputLayer":
        return None
    if len(sources) != 1:
        raise RefusedError(
            f"the layer {layer['class_name']} ({layer['name']!r}) takes {len(sources)} results: "
            "branches, skips and shared layers are not supported"
        )
    return sources[0]


def _sources(nodes: Any) -> Iterator[str]:
    """Names in Keras 2's ``[[["dense", 0, 0, {}]]]`` or Keras 3's ``keras_history``."""
    if isinstance(nodes, dict):
        if "keras_history" in nodes:
            yield nodes["keras_history"][0]
        else:
            for value in nodes.values():
                yield from _sources(value)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str):
            yield nodes[0]
        else:
            for value in nodes:
                yield from _sources(value)


def _input_shape(model: Mapping[str, Any], layers: list[Mapping[str, Any]]) -> list[int]:
    config = model["config"]
    every = config if isinstance(config, list) else config["layers"]
    for layer in (*every[:1], *layers[:1]):
        shape = layer["config"].get("batch_input_shape") or layer["config"].get("batch_shape")
        if shape is not None:
            return [0 if n is None else n for n in shape[1:]]
    raise RefusedError("the shape of its input is not stored; build the model before saving it")


def _weights(group: Stored) -> dict[str, Array]:
    """Weights of a layer by their own name, ``kernel`` of ``dense/kernel:0``."""
    names = [n.decode() if isinstance(n, bytes) else n for n in group.names("weight_names")]
    return {name.split("/")[-1].split(":")[0]: group.array(name) for name in names}


def _name(layer: Mapping[str, Any]) -> str:
    """The layer's class; of a wrapper, what it wraps too."""
    wrapped = layer["config"].get("layer")
    name = str(layer["class_name"])
    return f"{name} of {wrapped['class_name']}" if wrapped else name


def _append(chain: Chain, layer: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
    kind, config = layer["class_name"], layer["config"]
    convert = _LAYERS.get(kind)
    if convert is None:
        raise unsupported(kind, config.get("name", ""))
    convert(chain, config, weights)


def _dense(chain: Chain, config: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
    chain.dense(f"Dense ({config['name']!r})", weights["kernel"].T, weights.get("bias"))
    _activation(chain, config["activation"])


def _activation(chain: Chain, named: Any) -> None:
    """An activation by name, or a layer of its own in place of the name."""
    if isinstance(named, dict):
        _append(chain, named, {})
    elif named not in _ACTIVATIONS:
        raise unsupported(f"activation {named}")
    else:
        chain.activate(_ACTIVATIONS[named])


def _activation_layer(chain: Chain, config: Mapping[str, Any], _: Mapping[str, Array]) -> None:
    _activation(chain, config["activation"])


def _batch_norm(chain: Chain, config: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
    axis = config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) else axis
    if axis not in (-1, len(chain.shape)):
        raise unsupported(f"BatchNormalization over axis {axis}", config["name"])
    chain.normalise(
        f"BatchNormalization ({config['name']!r})", weights["moving_mean"],
        weights["moving_variance"], config["epsilon"],
        weights.get("gamma", 1.0), weights.get("beta", 0.0),
    )  # fmt: skip


def _relu(chain: Chain, config: Mapping[str, Any], _: Mapping[str, Array]) -> None:
    slope = float(config.get("negative_slope") or 0.0)
    if config.get("max_value") is not None or config.get("threshold"):
        raise unsupported("ReLU with a maximum or threshold", config["name"])
    chain.activate(Activation("leaky_relu", slope) if slope else Activation("relu"))


def _leaky_relu(chain: Chain, config: Mapping[str, Any], _: Mapping[str, Array]) -> None:
    slope = config["alpha"] if "alpha" in config else config["negative_slope"]
    chain.activate(Activation("leaky_relu", float(np.asarray(slope))))


def _elu(chain: Chain, config: Mapping[str, Any], _: Mapping[str, Array]) -> None:
    chain.activate(Activation("elu", float(config.get("alpha", 1.0))))


def _flatten(chain: Chain, config: Mapping[str, Any], _: Mapping[str, Array]) -> None:
    chain.reshape("Flatten", [int(np.prod(chain.shape))])


def _reshape(chain: Chain, config: Mapping[str, Any], _: Mapping[str, Array]) -> None:
    wanted = [int(n) for n in config["target_shape"]]
    if -1 in wanted:
        known = int(np.prod([n for n in wanted if n != -1]))
        wanted[wanted.index(-1)] = int(np.prod(chain.shape)) // max(known, 1)
    chain.reshape("Reshape", wanted)


def _rescaling(chain: Chain, config: Mapping[str, Any], _: Mapping[str, Array]) -> None:
    chain.scale("Rescaling", config["scale"], config["offset"])


def _nothing(chain: Chain, config: Mapping[str, Any], _: Mapping[str, Array]) -> None:
    """A layer that does nothing when a trained model is used."""


_ACTIVATIONS = {
    None: Activation(),
    "linear": Activation(),
    "relu": Activation("relu"),
    "leaky_relu": Activation("leaky_relu", _LEAKY_BY_NAME),
    "elu": Activation("elu", 1.0),
    "sigmoid": Activation("sigmoid"),
    "tanh": Activation("tanh"),
}
_LAYERS: dict[str, Callable[[Chain, Mapping[str, Any], Mapping[str, Array]], None]] = {
    "Activation": _activation_layer,
    "ActivityRegularization": _nothing,
    "AlphaDropout": _nothing,
    "BatchNormalization": _batch_norm,
    "Dense": _dense,
    "Dropout": _nothing,
    "ELU": _elu,
    "Flatten": _flatten,
    "GaussianDropout": _nothing,
    "GaussianNoise": _nothing,
    "Identity": _nothing,
    "LeakyReLU": _leaky_relu,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
}
