"""The other end of ``_tflite_runtime``; run by a Python that has tflite-runtime and NumPy 1.

usage: tflite_worker.py MODEL. Requests and answers are one line of JSON each, arrays are files.
"""

import json
import sys

import numpy as np

import knowngood
from knowngood._bench import timer_of

scorer = knowngood.load(sys.argv[1], engine="tflite", extrapolate=True)
answers = sys.stdout
sys.stdout = sys.stderr  # what the runtime prints is no answer
print(json.dumps({"version": scorer.engine_version}), file=answers, flush=True)
timers = {}
for line in sys.stdin:
    request = json.loads(line)
    path = request["values"]
    if request["do"] == "score":
        np.save(request["scores"], scorer.score(np.load(path)).scores)
        answer = {}
    else:
        if path not in timers:
            timers[path] = timer_of(scorer.score, np.load(path))
        answer = {"ns": timers[path](request["n_calls"]).tolist()}
    print(json.dumps(answer), file=answers, flush=True)
