"""The package's public names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import knowngood_export


def test_the_public_names() -> None:
    assert knowngood_export.__all__ == sorted(knowngood_export.__all__)
    assert {
        "AutoencoderConfig",
        "AutoencoderDetector",
        "TrainedModel",
        "TrainingRecipe",
        "export_model",
        "export_trained",
        "load_model",
        "save_model",
        "train_lots",
    } <= set(knowngood_export.__all__)
    for name in knowngood_export.__all__:
        assert getattr(knowngood_export, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = knowngood_export.no_such_name


def test_importing_the_package_and_its_generator_needs_no_torch() -> None:
    code = "import sys, knowngood_export, knowngood_export.synthetic; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"
