"""tflite-runtime 2.14, which needs NumPy 1: a worker process that scores on request."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import knowngood
from knowngood._model_file import read_model

from ._contestants import Float32, thresholds_of
from ._other_python import other_python

REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy<2")
WORKER = Path(__file__).with_name("tflite_worker.py")


class TfliteRuntime:
    """A ``.tflite`` file through ``knowngood.load(..., engine="tflite").score`` elsewhere."""

    def __init__(self, path: Path, *, may_install: bool = True) -> None:
        manifest = read_model(path).manifest
        self.form = manifest.precision
        self.name = f"tflite-runtime {self.form}"
        self.thresholds = thresholds_of(manifest.screen)
        self._folder = tempfile.TemporaryDirectory(prefix="knowngood-bench-")
        source = Path(knowngood.__path__[0]).parent
        self._worker = subprocess.Popen(
            [str(other_python(*REQUIREMENTS, may_install=may_install)), str(WORKER), str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(source)},
        )  # fmt: skip
        self.version: str = self._answer()["version"]

    def score(self, values: Float32) -> Float32:
        scores = Path(self._folder.name, "scores.npy")
        self._ask({"values": self._save("dies", values), "scores": str(scores)})
        result: Float32 = np.load(scores)
        return result

    def close(self) -> None:
        """End the worker."""
        self._worker.communicate()
        self._folder.cleanup()

    def _save(self, name: str, values: Float32) -> str:
        path = Path(self._folder.name, f"{name}.npy")
        np.save(path, values)
        return str(path)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._worker.stdin is not None
        self._worker.stdin.write(json.dumps(request) + "\n")
        self._worker.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        if not line:
            code = self._worker.wait()
            self.close()
            raise RuntimeError(f"{self.name}: the worker ended, code {code}")
        answer: dict[str, Any] = json.loads(line)
        return answer
