"""The library as a host's maker gets it: built alone by CMake, and installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from installation import Installation, Touchdown
from printed import lines
from programs import ENGINE, require, run

from knowngood._kgd import encode
from knowngood._model_file import parse_model
from knowngood._opening import open_scorer
from sealed_models import seal_up, varied_network

SIGMAS = np.linspace(-1, 2, 9)[:, None]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    require("cmake", "cc")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("made") / "prefix"
    run("cmake", "-S", ENGINE, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DKG_DEVELOPER=ON")
    run("cmake", "--build", build, "--parallel", 2)
    run("cmake", "--install", build, "--prefix", prefix)
    return Installation(prefix.rename(tmp_path_factory.mktemp("moved") / "anywhere"))


@pytest.fixture(scope="session")
def touchdown(tmp_path_factory: pytest.TempPathFactory) -> Touchdown:
    """By the reference engine: dies that pass and are rejected, without results, with infinity."""
    folder = tmp_path_factory.mktemp("touchdown")
    data = encode(seal_up(varied_network((10, 5, 3, 5, 10), "relu", "topk", 1)))
    (folder / "model.kgd").write_bytes(data)
    scorer = open_scorer(parse_model(data, "model.kgd"), engine="reference")
    scaler, rng = scorer.screen.scaler, np.random.default_rng(5)
    u = rng.normal(size=(9, 10)) * 10.0**SIGMAS
    values = (scaler.centre[0] + u / scaler.inv_scale[0]).astype(np.float32)
    values[6], values[7, 1:], values[8, 3] = np.nan, np.nan, np.inf
    values.tofile(folder / "values.f32")
    return Touchdown(folder / "model.kgd", folder / "values.f32", lines(scorer, values))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every precision, three groups, all tests of a die needed for nothing."""
    path = tmp_path_factory.mktemp("small") / "small.kgd"
    path.write_bytes(encode(seal_up(varied_network((21, 9, 5, 9, 21), "relu", "topk", 3))))
    return path


@pytest.fixture(scope="session")
def reference_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """512-256-128-32-128-256-512, in fp32 and int8, with bands."""
    path = tmp_path_factory.mktemp("reference") / "reference.kgd"
    widths = (512, 256, 128, 32, 128, 256, 512)
    path.write_bytes(encode(seal_up(varied_network(widths, "relu", "topk", 1))))
    return path
