"""What a host in ``examples/hosts`` is to print, made of Python's answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowngood import Reason, Scorer, ScoreResult, Verdict


def lines(scorer: Scorer, values: NDArray[np.float32]) -> list[str]:
    """A line for each die."""
    result = scorer.score(values)
    return [_line(scorer, result, die) for die in range(len(values))]


def _line(scorer: Scorer, result: ScoreResult, die: int) -> str:
    verdict = Verdict(result.verdicts[die])
    if verdict is Verdict.UNSCORED:
        return f"die {die}: UNSCORED, {Reason(result.reasons[die]).text}"
    text = f"die {die}: {verdict.name}, score {result.scores[die]:.6g}"
    if verdict is Verdict.PASS:
        return text
    worst = result.top_tests(die, k=1)[0]
    column = scorer.schema.tests.index(worst.test)
    return f"{text}; column {column} reads {worst.value:.6g}, expected {worst.expected:.6g}"
