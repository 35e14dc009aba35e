"""Keras HDF5 files put together by hand, in the layouts of Keras 2 and Keras 3."""

from __future__ import annotations

import json

import h5py
import numpy as np


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}, "name": name}


def write_keras(path, layers, weights, *, n_in, model="Sequential", keras=2):
    """A model file.

    Args:
        layers: as `layer` makes them, in order.
        weights: by layer name, arrays by their own name.
        n_in: shape of one die.
        model: "Sequential" or "Functional".
        keras: 2 or 3.
    """
    shape = {"batch_input_shape" if keras == 2 else "batch_shape": [None, *n_in]}
    every = [layer("InputLayer", "input", **shape), *layers]
    config = {"name": "autoencoder", "layers": every}
    if model == "Functional":
        for place, one in enumerate(every):
            one.setdefault("inbound_nodes", inbound(every[place - 1]["name"], keras))
        every[0]["inbound_nodes"] = []
        ends = [["input", 0, 0]], [[every[-1]["name"], 0, 0]]
        found = ends if keras == 2 else [end[0] for end in ends]
        config["input_layers"], config["output_layers"] = found
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": model, "config": config})
        stored = file.create_group("model_weights")
        for one in every:
            group = stored.create_group(one["name"])
            names = [
                f"{one['name']}/{name}" + (":0" if keras == 2 else "")
                for name in weights.get(one["name"], {})
            ]
            group.attrs["weight_names"] = np.array(names, dtype="S") if names else []
            for name, array in zip(names, weights.get(one["name"], {}).values(), strict=True):
                group[name] = array


def inbound(name, keras):
    """The layer whose result a layer takes, as written by each version."""
    if keras == 2:
        return [[[name, 0, 0, {}]]]
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}
    return [{"args": [tensor], "kwargs": {}}]
