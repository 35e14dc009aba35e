"""What tester software does: load a model once, then a verdict for each touchdown.

    python examples/score_a_touchdown.py out/demo/model.kgd [--extrapolate]

Needs NumPy, and for .onnx and .tflite their engine. The values here are made up from the model's
own centres; a tester has them in its result buffers, one row per site, NaN where a test was not
run. A file whose default threshold too few good dies support is refused, and the message says
what to do; ``--extrapolate`` takes it all the same.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import knowngood
from knowngood import Verdict

N_SITES = 4


def main(path: str, *, extrapolate: bool = False) -> None:
    scorer = knowngood.load(path, extrapolate=extrapolate)
    centre = scorer.screen.scaler.centre[0].astype(np.float32)
    values = np.tile(centre, (N_SITES, 1))
    values[1, 0] += 20 / scorer.screen.scaler.inv_scale[0, 0]  # site 1: one test 20 sigma out
    values[2, :] = np.nan  # site 2: no device

    result = scorer.score(values)
    for site in range(N_SITES):
        verdict = Verdict(result.verdicts[site])
        print(f"site {site}: {verdict.name:8} score {result.scores[site]:.3g}", end=" ")
        if verdict is Verdict.REJECT:
            worst = result.top_tests(site, k=1)[0]
            test = worst.test
            print(f"{test.label}: {worst.value:.6g} {test.units}, expected {worst.expected:.6g}")
        elif verdict is Verdict.UNSCORED:
            print(knowngood.Reason(result.reasons[site]).text)
        else:
            print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="scores one made-up touchdown")
    parser.add_argument("model")
    parser.add_argument("--extrapolate", action="store_true")
    asked = parser.parse_args()
    try:
        main(asked.model, extrapolate=asked.extrapolate)
    except knowngood.KnowngoodError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
