"""The other end of ``_tflite_runtime``; run by a Python that has tflite-runtime and NumPy 1.

usage: tflite_worker.py MODEL. Requests and answers are one line of JSON each, arrays are files.
"""

import json
import sys

import numpy as np

import knowngood

scorer = knowngood.load(sys.argv[1], engine="tflite", extrapolate=True)
answers = sys.stdout
sys.stdout = sys.stderr  # what the runtime prints is no answer
print(json.dumps({"version": scorer.engine_version}), file=answers, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    np.save(request["scores"], scorer.score(np.load(request["values"])).scores)
    print(json.dumps({}), file=answers, flush=True)
