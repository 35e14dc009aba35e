"""Scores every ``.kgd`` of a folder; run by the Python of an environment with the wheel and NumPy.

What quantises on a workstation needs no more, so its modules are imported here too.

usage: score_sealed.py FOLDER OUTPUT.npz. Reads <model>.npz with values and group.
"""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np

import knowngood
from knowngood.engines._native import READS_ARRAYS

for module in ("heads", "int8", "static_ranges"):
    import_module(f"knowngood_quantize.{module}")
folder, output = Path(sys.argv[1]), sys.argv[2]
found = {}
for path in sorted(folder.glob("*.kgd")):
    dies = np.load(path.with_suffix(".npz"))
    for precision in knowngood.load(path).precisions:
        scorer = knowngood.load(path, precision=precision)
        assert READS_ARRAYS, "the short way to NumPy's arrays"
        assert (scorer.engine_name, scorer.cpu_path) == ("native", knowngood.cpu_paths()[0])
        result = scorer.score(dies["values"], dies["group"])
        for other in (*knowngood.cpu_paths(), "reference"):
            kind = {"engine": other} if other == "reference" else {"cpu_path": other}
            again = knowngood.load(path, precision=precision, **kind)
            scores = again.score(dies["values"], dies["group"]).scores
            assert scores.tobytes() == result.scores.tobytes(), (path, precision, other)
        name = f"{path.stem} {precision}"
        found[f"{name} scores"] = result.scores
        found[f"{name} verdicts"] = result.verdicts
        found[f"{name} reconstruction"] = scorer.reconstruct(dies["values"], dies["group"])
        found[f"{name} codes"] = scorer.encode(dies["values"], dies["group"])
needless = {"torch", "onnx", "onnxruntime", "ai_edge_litert", "pyarrow"} & set(sys.modules)
assert not needless, needless
np.savez(output, where=f"{sys.version_info[0]}.{sys.version_info[1]} {np.__version__}", **found)
