"""Golden dies: a few raw dies in a sealed file, with the bits that every exact engine gives them.

An engine scores and reconstructs them when it loads a file, so that another machine, compiler or
version that computes anything else is found before it judges a die. Scores alone would not do:
the head ``topk`` leaves most outputs of the last layer out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._errors import ModelFileError
from ._network import MAX_STANDARDISED, POOLED_GROUP, Screen
from ._sealed import Golden, LayerPrecision, Precision, SealedModel

if TYPE_CHECKING:
    from ._model_file import ModelFile
    from .engines import Engine
    from .engines._reference import Result

EXACT_ENGINES = ("reference", "native")
"""Engines that promise the bits of docs/arithmetic.md."""
WILD_SIGMAS = 1000.0
"""Far out, and yet in the range that is scored."""
N_TYPICAL = 2
N_CONSIDERED = 4096
"""Typical dies are looked for among as many good ones."""


@dataclass(frozen=True)
class GoldenScore:
    """What one golden die got.

    Attributes:
        expected_bits: of the scores that are right; "verified" may give that of either precision.
        found_bits: of the score that the engine gave.
    """

    precision: Precision
    die: int
    expected_bits: tuple[int, ...]
    found_bits: int

    @property
    def is_equal(self) -> bool:
        """Whether the engine gave the right bits."""
        return self.found_bits in self.expected_bits

    @property
    def expected(self) -> tuple[float, ...]:
        """The scores that are right, NaN for none."""
        return tuple(_as_score(bits) for bits in self.expected_bits)

    @property
    def found(self) -> float:
        """The score that the engine gave."""
        return _as_score(self.found_bits)


@dataclass(frozen=True)
class GoldenReconstruction:
    """What the golden dies were reconstructed as, all together.

    Attributes:
        precision: of the layers; the reconstructions of "verified" are those of either.
        expected, found: digests, see `reconstruction_digest`.
    """

    precision: LayerPrecision
    expected: bytes
    found: bytes

    @property
    def is_equal(self) -> bool:
        """Whether the engine gave the right bits."""
        return self.found == self.expected


@dataclass(frozen=True)
class GoldenReport:
    """What one engine gave the golden dies.

    Attributes:
        scores: of every precision that the file offers.
        reconstructions: of every precision whose layers the file holds.
    """

    engine: str
    scores: tuple[GoldenScore, ...]
    reconstructions: tuple[GoldenReconstruction, ...]

    @property
    def different(self) -> tuple[GoldenScore, ...]:
        """The scores that are not what the file says."""
        return tuple(score for score in self.scores if not score.is_equal)

    @property
    def reconstructed_otherwise(self) -> tuple[GoldenReconstruction, ...]:
        """The reconstructions that are not what the file says."""
        return tuple(found for found in self.reconstructions if not found.is_equal)

    @property
    def is_equal(self) -> bool:
        """Whether every bit is what the file says."""
        return not self.different and not self.reconstructed_otherwise


def golden_dies(
    screen: Screen, good_values: NDArray[np.float32], good_group: NDArray[np.int32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Six dies that try what an engine can get wrong, made from good ones.

    Two typical dies, of two groups if there are two; one with as many tests missing as are
    allowed; one with a wild result; one with too few tests; one with an infinite result. A typical
    die is a good one with most tests present, its missing tests at their centre if too few are.

    Args:
        screen: the model's.
        good_values: float32 ``(n_good, n_tests)``, raw; may be empty.
        good_group: int32 ``(n_good,)``.

    Returns:
        values float32 ``(6, n_tests)`` and group int32 ``(6,)``.
    """
    typical, group = _typical_dies(screen, good_values, good_group)
    values = np.concatenate([typical, np.repeat(typical[:1], 4, axis=0)])
    n_tests, middle = screen.schema.n_tests, screen.schema.n_tests // 2
    scaler = screen.scaler
    row = scaler.rows(group[:1], 1)[0]
    missing, wild, few, infinite = range(N_TYPICAL, N_TYPICAL + 4)
    values[missing, _left_out(values[missing], screen.head.min_present)] = np.nan
    values[wild, middle] = scaler.centre[row, middle] + WILD_SIGMAS / scaler.inv_scale[row, middle]
    values[few, _left_out(values[few], screen.head.min_present - 1)] = np.nan
    values[infinite, n_tests - 1] = np.inf
    return values, np.concatenate([group, np.repeat(group[:1], 4)])


def _typical_dies(
    screen: Screen, good_values: NDArray[np.float32], good_group: NDArray[np.int32] | None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    good_values = good_values[:N_CONSIDERED]
    group = np.full(len(good_values), POOLED_GROUP, np.int32) if good_group is None else good_group
    group = group[:N_CONSIDERED]
    values = np.full((N_TYPICAL, screen.schema.n_tests), np.nan, np.float32)
    groups = np.full(N_TYPICAL, POOLED_GROUP, np.int32)
    usable = _usable(screen, good_values, group)
    for i, die in enumerate(_fullest(usable, group)):
        values[i, usable[die]] = good_values[die, usable[die]]
        groups[i] = group[die]
    centre = screen.scaler.centre[screen.scaler.rows(groups, N_TYPICAL)].astype(np.float32)
    present = ~np.isnan(values)
    too_few = present.sum(axis=1) < screen.head.min_present
    return np.where(too_few[:, None] & ~present, centre, values), groups


def _usable(
    screen: Screen, values: NDArray[np.float32], group: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which results are there, and in the range that is scored."""
    u = screen.scaler.standardise(values, screen.scaler.rows(group, len(values)))
    with np.errstate(invalid="ignore"):
        in_range: NDArray[np.bool_] = np.abs(u) <= MAX_STANDARDISED
    return in_range


def _fullest(usable: NDArray[np.bool_], group: NDArray[np.int32]) -> list[int]:
    """The two dies with the most results, the second of another group if there is one."""
    if len(usable) < N_TYPICAL:
        return list(range(len(usable)))
    n_usable = usable.sum(axis=1)
    first = int(np.argmax(n_usable))
    others = np.flatnonzero(group != group[first])
    if not len(others):
        others = np.delete(np.arange(len(usable)), first)
    return [first, int(others[np.argmax(n_usable[others])])]


def _left_out(die: NDArray[np.float32], n_left: int) -> NDArray[np.intp]:
    """Columns to empty, spread over the die, so that ``n_left`` results are left."""
    present = np.flatnonzero(~np.isnan(die))
    kept = present[(np.arange(n_left) * len(present)) // max(n_left, 1)]
    return np.setdiff1d(np.arange(len(die)), kept)


def with_golden(model: SealedModel) -> SealedModel:
    """The model with the bits of its golden dies, as the reference engine gives them."""
    from .engines._reference import score_sealed

    golden = model.golden
    rows = model.screen.scaler.rows(golden.group, len(golden.values))
    done: dict[LayerPrecision, Result] = {
        precision: score_sealed(model, precision, golden.values, rows)
        for precision in model.layer_precisions
    }
    bits = {p: result.scores.view(np.uint32) for p, result in done.items()}
    digests = {p: reconstruction_digest(result.reconstruction) for p, result in done.items()}
    return replace(model, golden=Golden(golden.values, golden.group, bits, digests))


def reconstruction_digest(reconstruction: NDArray[np.float32]) -> bytes:
    """SHA-256 over the bits as they are, float32 little-endian, die by die; 32 bytes.

    An exact engine gives every NaN the bits 0x7FC00000, so no bit needs to be made equal first.
    """
    return hashlib.sha256(reconstruction.astype("<f4", order="C", copy=False).tobytes()).digest()


def check_golden(model: ModelFile, engine: Engine) -> GoldenReport:
    """Score and reconstruct the golden dies of a ``.kgd`` in every precision that it offers.

    Args:
        model: the file.
        engine: an engine that has it open; the other precisions are opened by its name.

    Raises:
        ModelFileError: the file has no golden dies.
    """
    sealed = model.sealed
    if sealed is None:
        raise ModelFileError(f"{model.path} has no golden dies: only .kgd files carry them")
    opened = {p: _opened(model, sealed, engine, p) for p in sealed.precisions}
    return GoldenReport(
        engine=f"{engine.name} {engine.version}",
        scores=tuple(score for p in opened for score in _scores(sealed, opened[p], p)),
        reconstructions=tuple(
            _reconstruction(sealed, opened[p], p) for p in sealed.layer_precisions
        ),
    )


def _opened(model: ModelFile, sealed: SealedModel, engine: Engine, precision: Precision) -> Engine:
    from .engines import open_engine

    if precision != model.manifest.precision:
        pinned = getattr(engine, "pinned_path", None)
        engine = open_engine(model.in_precision(precision), engine.name, cpu_path=pinned)
    return engine.at(sealed.screen.default_fpr)


def _rows(sealed: SealedModel) -> NDArray[np.int32] | None:
    golden, scaler = sealed.golden, sealed.screen.scaler
    return scaler.rows(golden.group, len(golden.values)) if len(scaler.groups) > 1 else None


def _scores(sealed: SealedModel, engine: Engine, precision: Precision) -> Iterator[GoldenScore]:
    scores = engine.score(sealed.golden.values, _rows(sealed))
    found = np.asarray(scores, np.float32).view(np.uint32)
    for die, bits in enumerate(found.tolist()):
        yield GoldenScore(precision, die, _expected_bits(sealed, precision, die), bits)


def _reconstruction(
    sealed: SealedModel, engine: Engine, precision: LayerPrecision
) -> GoldenReconstruction:
    found = engine.reconstruct(sealed.golden.values, _rows(sealed))
    expected = sealed.golden.reconstruction_digest[precision]
    digest = reconstruction_digest(np.asarray(found, np.float32))
    return GoldenReconstruction(precision, expected, digest)


def _expected_bits(sealed: SealedModel, precision: Precision, die: int) -> tuple[int, ...]:
    """One score, or both that "verified" may give to a die outside the band."""
    bits = sealed.golden.score_bits
    if precision != "verified":
        return (int(bits[precision][die]),)
    int8, fp32 = int(bits["int8"][die]), int(bits["fp32"][die])
    band, score = sealed.band(sealed.screen.default_fpr), _as_score(int8)
    if np.isnan(score) or band.lo <= score <= band.hi or int8 == fp32:
        return (fp32,)
    return int8, fp32


def require_golden(model: ModelFile, engine: Engine) -> None:
    """Refuse an exact engine that gives a golden die another score or reconstruction.

    Raises:
        ModelFileError: a bit differs in one of the precisions; the message has the first.
    """
    if engine.name not in EXACT_ENGINES:
        return
    report = check_golden(model, engine)
    if not report.is_equal:
        difference = _different_scores(report) or _different_reconstruction(report)
        raise ModelFileError(
            f"{model.path}: {report.engine} gives {difference}. Either the file "
            "was changed or this engine does not compute what the specification says: run "
            "'knowngood selftest', and do not use them together."
        )


def _different_scores(report: GoldenReport) -> str:
    different = report.different
    if not different:
        return ""
    first = different[0]
    expected = " or ".join(f"{s:.9g} (0x{b:08X})" for s, b in _pairs(first))
    many = "scores that are" if len(different) > 1 else "score that is"
    return (
        f"{len(different)} golden {many} not the file's: die {first.die} in "
        f"{first.precision} is {first.found:.9g} (0x{first.found_bits:08X}), expected {expected}"
    )


def _different_reconstruction(report: GoldenReport) -> str:
    first = report.reconstructed_otherwise[0]
    return (
        f"the golden scores, but golden reconstructions in {first.precision} that are not the "
        f"file's: their SHA-256 is {first.found.hex()}, expected {first.expected.hex()}"
    )


def _pairs(score: GoldenScore) -> Iterator[tuple[float, int]]:
    return zip(score.expected, score.expected_bits, strict=True)


def _as_score(bits: int) -> float:
    return float(np.uint32(bits).view(np.float32))
