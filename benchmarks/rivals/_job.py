"""The job around a network, in NumPy: values to standardised ones, reconstruction to verdicts.

What a host of a rival has to write, as fast as NumPy lets it: float32, buffers made once, complete
dies without masks. A die with a missing test makes the score NaN by itself; only then is the batch
scored again with masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Answer = tuple[Float32, NDArray[np.int8]]
"""Scores float32 and verdicts int8, ``(n_dies,)`` each."""
Judge = Callable[[Float32], Answer]
"""Raw values ``(n_dies, n_tests)`` to an answer, whose arrays the next call may use again."""
UNSCORED, PASS, REJECT = 0, 1, 2
MAX_STANDARDISED = np.float32(2.0**30)
NEGLIGIBLE = 1e-6
"""Part of a sigma that may be left out of a centre."""
SUSPICIOUS = 1e6
"""Scores are 0 or more; those of dies out of range, or with infinite values, are far above."""


class Bound(Protocol):
    """A network made ready for some number of dies.

    Attributes:
        x: float32 ``(n_dies, n_in)``, to be filled before each run.
    """

    x: Float32

    def run(self) -> Float32:
        """What the network makes of ``x``; the next run may use the array again."""
        ...


Bind = Callable[[int], Bound]


@dataclass(frozen=True, eq=False)
class Job:
    """What scaler and head hold, as `benchmarks.speed._files` writes it; arrays are per test.

    Attributes:
        high, low: the centre in two float32 parts.
        expected_square: E[z²]; present_gain, present_offset: by number of tests present.
        is_topk: the sum of the ``k`` largest |z|; else the mean of z².
    """

    high: Float32
    low: Float32
    inv_scale: Float32
    residual_weight: Float32
    expected_square: Float32
    present_gain: Float32
    present_offset: Float32
    is_topk: bool
    k: int
    min_present: int
    threshold: np.float32

    @classmethod
    def read(cls, path: Path) -> Job:
        """What was written with ``np.savez``."""
        with np.load(path) as arrays:
            fields: dict[str, Any] = {
                name: arrays[name] if arrays[name].ndim else arrays[name].item()
                for name in cls.__dataclass_fields__
            }
        return cls(**{**fields, "threshold": np.float32(fields["threshold"])})


def around(job: Job, bind: Bind, n_dies: int) -> Judge:
    """The whole job with a network that takes standardised values and gives a reconstruction."""
    network = bind(n_dies)
    u, z = network.x, np.empty_like(network.x)
    scores, verdicts = np.empty(n_dies, np.float32), np.empty(n_dies, np.int8)
    answer = scores, verdicts
    has_low = bool((np.abs(job.low * job.inv_scale) > NEGLIGIBLE).any())
    scored = _head_of(job, z, scores)
    settle = _verdicts_of(job, scores, verdicts)

    def judge(values: Float32) -> Answer:
        np.subtract(values, job.high, out=u)
        if has_low:
            np.subtract(u, job.low, out=u)
        np.multiply(u, job.inv_scale, out=u)
        y = network.run()
        np.subtract(u, y, out=z)
        np.multiply(z, job.residual_weight, out=z)
        scored()
        if not settle():
            score_with_masks(job, network, values, scores, verdicts)
        return answer

    return judge


def after(job: Job, bind: Bind, bind_bare: Bind, n_dies: int) -> Judge:
    """The job with a graph that takes raw values and gives the scores of complete dies.

    ``bind_bare`` is the network alone, which is used once a die is not complete.
    """
    graph = bind(n_dies)
    x = graph.x
    bare: list[Bound] = []
    scores, verdicts = np.empty(n_dies, np.float32), np.empty(n_dies, np.int8)
    answer = scores, verdicts
    settle = _verdicts_of(job, scores, verdicts)

    def judge(values: Float32) -> Answer:
        np.copyto(x, values)
        np.copyto(scores, graph.run())
        if not settle():
            if not bare:
                bare.append(bind_bare(n_dies))
            score_with_masks(job, bare[0], values, scores, verdicts)
        return answer

    return judge


def in_blocks(make: Callable[[int], Judge], n_dies: int, n_block: int) -> Judge:
    """A large batch some dies at a time, so that what lies between layers stays in the cache."""
    judge_block = make(n_block)
    scores, verdicts = np.empty(n_dies, np.float32), np.empty(n_dies, np.int8)
    answer = scores, verdicts
    rows = [slice(start, start + n_block) for start in range(0, n_dies, n_block)]

    def judge(values: Float32) -> Answer:
        for block in rows:
            scores[block], verdicts[block] = judge_block(values[block])
        return answer

    return judge


def _head_of(job: Job, z: Float32, scores: Float32) -> Callable[[], object]:
    """Scores of complete dies."""
    if job.is_topk:
        top, gain = z[:, -job.k :], job.present_gain[-1]

        def topk() -> None:
            np.abs(z, out=z)
            z.partition(z.shape[1] - job.k, axis=1)
            np.sum(top, axis=1, out=scores)
            np.multiply(scores, gain, out=scores)

        return topk
    share = np.float32(1 / z.shape[1])
    sum_squares = getattr(np, "vecdot", None)  # NumPy 2

    def mean_square() -> None:
        if sum_squares is not None:
            sum_squares(z, z, out=scores)
        else:
            np.einsum("ij,ij->i", z, z, out=scores)
        np.multiply(scores, share, out=scores)

    return mean_square


def _verdicts_of(job: Job, scores: Float32, verdicts: NDArray[np.int8]) -> Callable[[], bool]:
    """Sets the verdicts; False if some score is none, or so large that it may be none."""
    threshold = job.threshold
    if len(scores) == 1:
        limit = float(threshold)

        def one() -> bool:
            score = scores.item()
            verdicts[0] = PASS if score <= limit else REJECT
            return bool(score < SUSPICIOUS)

        return one
    is_above = np.empty(len(scores), np.bool_)
    as_integer = is_above.view(np.int8)

    def many() -> bool:
        np.less_equal(scores, threshold, out=is_above)
        np.logical_not(is_above, out=is_above)
        np.add(as_integer, PASS, out=verdicts)
        return bool(np.add.reduce(scores) < SUSPICIOUS)

    return many


def score_with_masks(
    job: Job, network: Bound, values: Float32, scores: Float32, verdicts: NDArray[np.int8]
) -> None:
    """A batch in which tests are missing."""
    u = (values - job.high - job.low) * job.inv_scale
    present = ~np.isnan(u)
    network.x[...] = u = np.where(present, u, np.float32(0))
    with np.errstate(all="ignore"):
        z = np.where(present, (u - network.run()) * job.residual_weight, np.float32(0))
        n_present = present.sum(axis=1)
        if job.is_topk:
            largest = np.partition(np.abs(z), z.shape[1] - job.k, axis=1)[:, -job.k :]
            found = largest.sum(axis=1) * job.present_gain[n_present]
            found += job.present_offset[n_present]
        else:
            expected = present @ job.expected_square
            found = (z * z).sum(axis=1) * (job.expected_square.mean() / expected)
    is_scored = np.isfinite(found) & (n_present >= job.min_present)
    is_scored &= (np.abs(u) <= MAX_STANDARDISED).all(axis=1)
    scores[...] = np.where(is_scored, found, np.float32(np.nan))
    verdicts[...] = np.where(scores <= job.threshold, PASS, np.where(is_scored, REJECT, UNSCORED))
