"""Scores every model of a folder with the runtime alone; run by the Python of an environment.

usage: score_models.py ENGINE FOLDER. Reads dies.npz and MODEL files, writes scores.npz.
"""

import sys
from pathlib import Path

import numpy as np

from knowngood._model_file import read_model
from knowngood.engines import open_engine

engine_name, folder = sys.argv[1], Path(sys.argv[2])
dies = np.load(folder / "dies.npz")
scores = {}
for path in sorted([*folder.glob("*.onnx"), *folder.glob("*.tflite")]):
    model = read_model(path)
    engine = open_engine(model, engine_name)
    case = path.name.split(".")[0]
    scaler = model.manifest.screen.scaler
    values = dies[f"{case}_values"]
    rows = None
    if len(scaler.groups) > 1:
        rows = scaler.rows(dies[f"{case}_group"], len(values))
    scores[path.name] = engine.score(values, rows)
    scores[f"{path.name} alone"] = engine.score(values[:1], None if rows is None else rows[:1])
np.savez(folder / "scores.npz", version=engine.version, **scores)
