"""Keras HDF5 files read as layers, against torch."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from keras_files import inbound, layer, write_keras
from torch import nn

from knowngood._errors import ModelFileError
from knowngood_export.foreign import read_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("keras")


def norm_of(width):
    norm = nn.BatchNorm1d(width, eps=1e-3)
    for tensor, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.2, 3),
                              (norm.weight, 0.5, 2), (norm.bias, -1, 1)):  # fmt: skip
        nn.init.uniform_(tensor, low, high)
    return norm


def dense_weights(linear):
    return {"kernel": linear.weight.detach().numpy().T, "bias": linear.bias.detach().numpy()}


def norm_weights(norm):
    arrays = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return {n: a.detach().numpy() for n, a in zip(names, arrays, strict=True)}


@pytest.mark.parametrize("keras", [2, 3])
@pytest.mark.parametrize("model", ["Sequential", "Functional"])
def test_each_layout_gives_what_torch_gives(folder, apply_layers, model, keras):
    torch.manual_seed(0)
    first, norm, last = nn.Linear(6, 4), norm_of(4), nn.Linear(4, 6)
    module = nn.Sequential(first, norm, nn.ReLU(), last, nn.Sigmoid()).eval()
    layers = [
        layer("Dense", "encoder", activation="linear", units=4),
        layer("BatchNormalization", "norm", axis=[1] if keras == 2 else -1, epsilon=1e-3),
        layer("Activation", "act", activation="relu"),
        layer("Dropout", "drop", rate=0.5),
        layer("Dense", "decoder", activation="sigmoid", units=6),
    ]
    weights = {"encoder": dense_weights(first), "norm": norm_weights(norm),
               "decoder": dense_weights(last)}  # fmt: skip
    path = folder / "model.h5"
    write_keras(path, layers, weights, n_in=[6], model=model, keras=keras)
    network = read_network(path)
    assert len(network.layers) == 2
    x = torch.randn(30, 6)
    with torch.no_grad():
        np.testing.assert_allclose(apply_layers(network, x.numpy()), module(x), atol=1e-6)


ACTIVATIONS = [
    ("Activation", {"activation": "tanh"}, nn.Tanh()),
    ("Activation", {"activation": "elu"}, nn.ELU()),
    ("Activation", {"activation": "leaky_relu"}, nn.LeakyReLU(0.2)),
    ("LeakyReLU", {"alpha": 0.3}, nn.LeakyReLU(0.3)),
    ("LeakyReLU", {"negative_slope": 0.1}, nn.LeakyReLU(0.1)),
    ("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}, nn.ReLU()),
    ("ReLU", {"max_value": None, "negative_slope": 0.4, "threshold": 0.0}, nn.LeakyReLU(0.4)),
    ("ELU", {"alpha": 0.7}, nn.ELU(0.7)),
    ("GaussianNoise", {"stddev": 3.0}, nn.Identity()),
]


@pytest.mark.parametrize(("kind", "config", "expected"), ACTIVATIONS)
def test_each_activation(folder, apply_layers, kind, config, expected):
    torch.manual_seed(1)
    linear = nn.Linear(5, 5)
    layers = [layer("Dense", "d", activation="linear"), layer(kind, "a", **config)]
    write_keras(folder / "a.h5", layers, {"d": dense_weights(linear)}, n_in=[5])
    x = torch.randn(30, 5)
    with torch.no_grad():
        found = apply_layers(read_network(folder / "a.h5"), x.numpy())
        np.testing.assert_allclose(found, expected(linear(x)), atol=1e-6)


def test_images_are_flattened_and_rescaled(folder, apply_layers):
    torch.manual_seed(2)
    linear = nn.Linear(6, 6)
    layers = [
        layer("Rescaling", "s", scale=0.5, offset=-1.0),
        layer("Flatten", "f"),
        layer("Dense", "d", activation="linear"),
        layer("Reshape", "r", target_shape=[2, -1]),
    ]
    write_keras(folder / "image.h5", layers, {"d": dense_weights(linear)}, n_in=[2, 3])
    network, x = read_network(folder / "image.h5"), torch.randn(30, 6)
    assert network.input_shape == (2, 3)
    with torch.no_grad():
        expected = linear(x * 0.5 - 1)
    np.testing.assert_allclose(apply_layers(network, x.numpy()), expected, atol=1e-6)


DENSE = layer("Dense", "d", activation="linear")
WEIGHTS = {"d": {"kernel": np.eye(3, dtype=np.float32), "bias": np.ones(3, np.float32)}}


def refused(folder, layers, message, *, weights=WEIGHTS, n_in=(3,), **options):
    write_keras(folder / "refused.h5", layers, weights, n_in=n_in, **options)
    with pytest.raises(ModelFileError, match=message):
        read_network(folder / "refused.h5")


def test_what_is_not_supported_is_refused_by_name(folder):
    wrapped = layer("Bidirectional", "b", layer={"class_name": "LSTM", "config": {}})
    refused(folder, [DENSE, wrapped, layer("Conv1D", "c")], "Bidirectional of LSTM, Conv1D are not")
    refused(folder, [layer("Dense", "d", activation="softmax")], "activation softmax")
    limited = layer("ReLU", "r", max_value=6.0)
    refused(folder, [DENSE, limited], "ReLU with a maximum")


def test_no_autoencoder_is_refused(folder):
    weights = {"d": {"kernel": np.ones((3, 2), np.float32)}}
    refused(folder, [DENSE], "not an autoencoder: 3 values in, 2 out", weights=weights)


def test_skips_are_refused(folder):
    both = {**layer("Activation", "a", activation="relu"),
            "inbound_nodes": [[["d", 0, 0, {}], ["input", 0, 0, {}]]]}  # fmt: skip
    refused(folder, [dict(DENSE), both], "takes 2 results: branches, skips", model="Functional")
    twice = {**layer("Activation", "a", activation="relu"), "inbound_nodes": inbound("input", 2)}
    refused(folder, [dict(DENSE), twice], "taken more than once", model="Functional")


def test_weights_that_are_not_finite_are_refused(folder):
    kernel = np.eye(3, dtype=np.float32)
    kernel[2, 0] = np.inf
    refused(folder, [DENSE], r"weights of Dense \('d'\) are not", weights={"d": {"kernel": kernel}})


def test_a_file_of_weights_alone_is_refused(folder):
    import h5py

    with h5py.File(folder / "weights.h5", "w") as file:
        file.create_group("d")
    with pytest.raises(ModelFileError, match="weights but no layers: save the whole model"):
        read_network(folder / "weights.h5")


@pytest.fixture(scope="module")
def valid(folder):
    write_keras(folder / "valid.h5", [DENSE], WEIGHTS, n_in=[3])
    return (folder / "valid.h5").read_bytes()


@hypothesis_settings(deadline=None, max_examples=100)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
                        max_size=4),
       length=st.floats(0, 1))  # fmt: skip
def test_damaged_files_are_refused_or_read(folder, valid, changes, length):
    data = bytearray(valid)
    for place, value in changes:
        data[int(place * len(data))] = value
    (folder / "damaged.h5").write_bytes(data[: int(length * len(data))])
    with suppress(ModelFileError):  # any other exception fails
        network = read_network(folder / "damaged.h5")
        assert all(np.isfinite(la.weight).all() for la in network.layers)


@pytest.fixture
def own_file(folder):
    """A valid file, open to be changed; and one beside it that it has no business with."""
    import h5py

    (folder / "secret").write_bytes(np.float32([1, 2, 3]).tobytes())
    write_keras(folder / "own.h5", [DENSE], WEIGHTS, n_in=[3])
    with h5py.File(folder / "own.h5", "r+") as file:
        del file["model_weights/d/d/bias:0"]
        yield file


def refused_as_changed(file, message):
    path = file.filename
    file.close()
    with pytest.raises(ModelFileError, match=message):
        read_network(path)


def test_weights_stored_in_another_file_are_refused(folder, own_file):
    own_file["model_weights/d/d"].create_dataset(
        "bias:0", (3,), "f4", external=[(str(folder / "secret"), 0, 12)]
    )
    refused_as_changed(own_file, r"d/bias:0 lie in another file, which is not read")


def test_weights_put_together_of_other_files_are_refused(folder, own_file):
    import h5py

    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "valid.h5"), "model_weights/d/d/bias:0", (3,))
    own_file["model_weights/d/d"].create_virtual_dataset("bias:0", layout)
    refused_as_changed(own_file, r"d/bias:0 lie in another file, which is not read")


@pytest.mark.parametrize("place", ["model_weights/d/d/bias:0", "model_weights/d", "model_weights"])
@pytest.mark.parametrize("kind", ["ExternalLink", "SoftLink"])
def test_links_are_not_followed(folder, valid, own_file, kind, place):
    import h5py

    if place in own_file:
        own_file.move(place, "elsewhere")
    target = "/elsewhere" if "elsewhere" in own_file else "/model_weights/d/d/kernel:0"
    link = h5py.SoftLink(target)
    if kind == "ExternalLink":
        link = h5py.ExternalLink(str(folder / "valid.h5"), place)
    own_file[place] = link
    refused_as_changed(own_file, f"{place} is a link to something else")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (20_000, 20_000), "dtype": "f4", "chunks": (1000, 1000)}, "larger than the"),
        (
            {"shape": (3,), "maxshape": (None,), "dtype": "f4", "chunks": (2**28,)},
            "larger than the",
        ),
        ({"shape": (3, 1, 1), "dtype": "f4"}, "at most 2 axes"),
        ({"shape": (3,), "dtype": "S9"}, r"are \|S9 of shape \(3,\): expected numbers"),
    ],
)
def test_weights_that_would_fill_the_memory_are_refused_unread(own_file, options, message):
    own_file["model_weights/d/d"].create_dataset("bias:0", **options)
    tracemalloc.start()
    refused_as_changed(own_file, f"d/bias:0.*{message}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24
