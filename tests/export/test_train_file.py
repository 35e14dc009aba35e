"""model.pt: what is written is read back, and nothing damaged or foreign is."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from knowngood._errors import ModelFileError, UsageError
from knowngood._manifest import DetectionCurve, Evaluation, Provenance, Source
from knowngood._network import Activation, Dense, Network, OperatingPoint, Scaler, Screen
from knowngood._schema import Purpose, Schema, Test
from knowngood_export._fit import Part
from knowngood_export._trained import CalibrationSet, Int8Dies, TrainedModel, load_model, save_model
from knowngood_quantize.heads import unfitted_head


@pytest.fixture
def model() -> TrainedModel:
    rng = np.random.default_rng(0)

    def dense(n_out: int, n_in: int, activation: Activation) -> Dense:
        weight = rng.standard_normal((n_out, n_in)).astype(np.float32)
        return Dense(weight, rng.standard_normal(n_out).astype(np.float32), activation)

    tests = tuple(Test(i, f"T{i} µA", units="A", low=-1.0, high=None) for i in range(5))
    scaler = Scaler(
        np.array([-1, 257], np.int32), rng.standard_normal((2, 5)), 1 + rng.random((2, 5))
    )
    point = OperatingPoint(0.02, 1.5, 1.25, 1.75, 600, True)
    screen = Screen(Schema(tests, Purpose("KG1")), scaler, unfitted_head(5), (point,), 0.02)
    layers = (dense(3, 5, Activation("leaky_relu", 0.01)), dense(5, 3, Activation()))
    return TrainedModel(
        network=Network(screen, layers, latent_layer=0),
        baselines=(Network(screen, (), detector="pat"),),
        calibration=CalibrationSet(
            np.array([[1, np.nan, 3, 4, 5]], np.float32),
            np.array([257], np.int32),
            np.zeros((0, 5), np.float32),
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.array([7], np.int32),
        ),
        int8_dies=Int8Dies(
            Part(np.ones((2, 5), np.float32), np.array([257, 1], np.int32)),
            Part(np.full((1, 5), 2, np.float32), np.array([1], np.int32)),
        ),
        provenance=Provenance(
            created="2026-01-01T00:00:00+00:00",
            seed=3,
            sources=(Source("lot1.stdf.gz", "ab" * 32, 700),),
            dropped={"tester fail": 4},
            learning_curve=((1, 0.5, 0.625),),
        ),
        evaluation=Evaluation(
            "held out", 600, (0.02,), (DetectionCurve("pat", "single_test", 9, (0.5,)),), {"a": 1.0}
        ),
    )


def same(a: Any, b: Any) -> bool:
    """Equality of nested dataclasses with arrays; NaN equals NaN."""
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a)]
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def test_a_model_is_read_back_as_it_was_written(model: TrainedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", model)
    assert same(load_model(tmp_path / "model.pt"), model)
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_the_file_is_plain_tensors_and_text(model: TrainedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", model)
    checkpoint = torch.load(tmp_path / "model.pt", weights_only=True)
    assert {type(value) for value in checkpoint.values()} == {torch.Tensor, str}


def test_no_changed_byte_loads_as_another_model(model: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_model(path, model)
    data = path.read_bytes()
    for place in range(0, len(data), 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        try:
            loaded = load_model(path)
        except ModelFileError:
            continue
        assert same(loaded, model), f"byte {place}"  # padding and zip bookkeeping carry nothing


def test_a_member_that_claims_to_be_compressed_is_damage(
    model: TrainedModel, tmp_path: Path
) -> None:
    """One flipped bit of the archive's directory, and zlib is given what it cannot read."""
    path = tmp_path / "model.pt"
    save_model(path, model)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] ^= zipfile.ZIP_DEFLATED
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"model\.pt"):
        load_model(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(model: TrainedModel, tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.pt"
    save_model(path, model)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFileError, match=r"model\.pt"):
        load_model(path)


def write_pickle(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps({"description": content}))


def write_checkpoint(path: Path, content: object) -> None:
    torch.save({"description": content}, path)


@pytest.mark.parametrize("write", [write_pickle, write_checkpoint])
def test_a_file_that_would_run_code_is_refused_unrun(
    write: Callable[[Path, object], None], tmp_path: Path
) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    write(tmp_path / "model.pt", Touch())
    with pytest.raises(ModelFileError, match=r"no model\.pt"):
        load_model(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "checkpoint",
    [{}, {"weight": torch.zeros(3)}, {"description": "{}"}, {"description": "not JSON"}],
)
def test_another_torch_file_is_refused(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / "model.pt")
    with pytest.raises(ModelFileError, match=r"model\.pt"):
        load_model(tmp_path / "model.pt")


def test_a_missing_file_and_a_missing_folder_are_named(model: TrainedModel, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nowhere\.pt"):
        load_model(tmp_path / "nowhere.pt")
    with pytest.raises(UsageError, match="no_folder"):
        save_model(tmp_path / "no_folder" / "model.pt", model)
