"""Runs ``score_models.py`` with the Python of an environment and takes its scores."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent


def scores_of(python: Path, engine: str, folder: Path) -> dict[str, NDArray[np.float32]]:
    """Scores of the models in ``folder`` by file name, and the engine's ``version``."""
    runtime = HERE.parents[1] / "runtime"
    done = subprocess.run(
        [str(python), str(HERE / "score_models.py"), engine, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(runtime)},
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "scores.npz") as stored:
        return dict(stored)
