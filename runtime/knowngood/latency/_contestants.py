"""Who is timed: a scorer, its name, the dies it gets, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError
from .._opening import open_scorer
from .._scorer import Scorer
from .._verdicts import Verdict
from ._dies import N_DISTINCT, are_rescored, dies_near_threshold, likely_dies
from ._plan import refuse_repeated
from ._result import TimedDies, TimedModel
from ._timing import TimedCall


@dataclass(frozen=True, eq=False)
class Contestant:
    """One of those that take turns.

    Attributes:
        name: as every row of the result has it.
        scorer: what is timed.
        dies: such as it takes for good ones, float32 ``(n_dies, n_tests)`` for the largest batch.
        near_dies: as many that it scores in int8 and then in fp32; None unless it is "verified".
        rescored: bool, of the dies that ``dies`` repeats, which of them it scores twice; None
            unless it is "verified".
    """

    name: str
    scorer: Scorer
    dies: NDArray[np.float32]
    near_dies: NDArray[np.float32] | None = None
    rescored: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, scorer: Scorer, dies: NDArray[np.float32]) -> Contestant:
        name = describe_scorer(scorer)
        if scorer.precision != "verified":
            return cls(name, scorer, dies)
        int8 = _in_int8(scorer)
        near = dies_near_threshold(scorer, int8, len(dies))
        return cls(name, scorer, dies, near, are_rescored(scorer, int8, dies[:N_DISTINCT]))

    def call(self, batch: int) -> TimedCall:
        return TimedCall(self.name, self.scorer, self.dies[:batch])

    def near_call(self, batch: int) -> TimedCall | None:
        """A call with dies that are all scored twice; None where there are no such dies."""
        if self.near_dies is None:
            return None
        return TimedCall(self.name, self.scorer, self.near_dies[:batch])

    def timed_dies(self, batches: Sequence[int]) -> list[TimedDies]:
        """What becomes of the dies of each batch."""
        verdicts = self.scorer.score(self.dies[:N_DISTINCT]).verdicts
        return [self._of_batch(np.resize(verdicts, batch)) for batch in batches]

    def _of_batch(self, verdicts: NDArray[np.int8]) -> TimedDies:
        n_pass, n_reject, n_unscored = (
            int(np.count_nonzero(verdicts == verdict))
            for verdict in (Verdict.PASS, Verdict.REJECT, Verdict.UNSCORED)
        )
        twice = self.rescored
        n_rescored = None if twice is None else int(np.resize(twice, len(verdicts)).sum())
        return TimedDies(self.name, len(verdicts), n_pass, n_reject, n_unscored, n_rescored)

    def timed_model(self) -> TimedModel:
        scorer = self.scorer
        (largest,) = self.timed_dies([len(self.dies)])
        return TimedModel(
            name=self.name,
            path=str(scorer.path),
            model_id=scorer.model_id,
            precision=scorer.precision,
            engine=scorer.engine_name,
            engine_version=scorer.engine_version,
            cpu_path=scorer.cpu_path,
            n_tests=scorer.schema.n_tests,
            n_pass=largest.n_pass,
            n_reject=largest.n_reject,
            n_unscored=largest.n_unscored,
        )


def contestants_of(scorers: Sequence[Scorer], n_dies: int) -> list[Contestant]:
    """Each scorer with up to ``n_dies`` dies, the same ones where the schema is the same.

    Raises:
        UsageError: no scorers, or two that cannot be told apart.
    """
    if not scorers:
        raise UsageError("there is nothing to time: give one scorer or more")
    refuse_repeated("what is to be timed", [describe_scorer(scorer) for scorer in scorers])
    made: dict[str, NDArray[np.float32]] = {}
    for scorer in scorers:
        if scorer.schema.digest not in made:
            made[scorer.schema.digest] = likely_dies(scorer, n_dies)
    return [Contestant.of(scorer, made[scorer.schema.digest]) for scorer in scorers]


def describe_scorer(scorer: Scorer) -> str:
    """The model's path, its precision, engine and path through the processor."""
    engine = f"{scorer.engine_name} {scorer.engine_version}"
    cpu_path = f" {scorer.cpu_path}" if scorer.cpu_path else ""
    is_default = scorer.fpr == scorer.screen.default_fpr
    point = "" if is_default else f" at a yield loss of {scorer.fpr:.6g}"
    return f"{scorer.path} [{scorer.precision}{point}, {engine}{cpu_path}]"


def _in_int8(scorer: Scorer) -> Scorer:
    """The same file and engine in int8, at its default yield loss: only its scores matter."""
    return open_scorer(
        scorer._model,
        engine=scorer.engine_name,
        precision="int8",
        extrapolate=True,
        check=False,
        cpu_path=scorer.cpu_path,
    )
