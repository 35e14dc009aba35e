"""Scores dies in this process and in its children; run as a program of its own.

usage: score_in_children.py ENGINE VALUES.npy MODEL... ENGINE may be "default". Prints, for each
model and way of starting a child, the ways in which the children's scores differ from the parent's,
and how they ended. A forked child that hangs is ended by SIGALRM.
"""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np

import knowngood

HANG_S = 40
# Python 3.12 and newer warn of what is tried here.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def bits(scorer, values):
    return scorer.score(values).scores.view(np.uint32).tolist()


def in_pool(method, scorer, values):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.starmap(bits, [(scorer, values)] * 4)


def forked(scorer, values, n_children=3):
    """Children that leave as a program does, with an exit code and no ``os._exit``."""
    expected, codes = bits(scorer, values), []
    for _ in range(n_children):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            signal.alarm(HANG_S)
            sys.exit(0 if bits(scorer, values) == expected else 3)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return codes


def forked_while_scoring(scorer, values):
    """Another thread holds the engine's locks more often than not when the child is made."""
    done = threading.Event()

    def keep_scoring():
        while not done.is_set():
            scorer.score(values)

    thread = threading.Thread(target=keep_scoring)
    thread.start()
    try:
        return forked(scorer, values, n_children=5)
    finally:
        done.set()
        thread.join()


def main(engine, values_path, *paths):
    values = np.load(values_path)
    for path in paths:
        scorer = knowngood.load(path, fpr=0.02, engine=None if engine == "default" else engine)
        expected, name = bits(scorer, values), Path(path).name
        say(name, "fork", forked(scorer, values))
        say(name, "fork while scoring", forked_while_scoring(scorer, values))
        for method in ("fork", "spawn"):
            say(name, method, [found == expected for found in in_pool(method, scorer, values)])


if __name__ == "__main__":
    main(*sys.argv[1:])
