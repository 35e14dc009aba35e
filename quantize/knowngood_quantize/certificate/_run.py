"""Scorers run over dies: scores, what "verified" scored again, and whose tests made a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._forward import forward
from knowngood._network import Network
from knowngood._opening import open_scorer
from knowngood._sealed import Band, SealedModel
from knowngood_quantize.sampling import evenly_spaced

from ._dies import CertificationDies, DieValues
from ._scores import Float32, FormScores, ReferenceScores, Rescored, Scored, ScoredDies

if TYPE_CHECKING:
    from knowngood import Scorer

Rows = NDArray[np.intp]
MAX_FLOAT64_DIES = 20_000
MAX_EXPLAINED_DIES = 500
N_TOP = 5
_FLOAT64_BLOCK = 2048


def score_reference(scorer: Scorer, dies: CertificationDies) -> ReferenceScores:
    """All dies by the reference, and some good ones in float64 where its layers are known."""
    scores = _score(scorer, dies)
    name = f"{scorer.format.split()[0]} {scorer.precision}"
    points = scorer.screen.operating_points
    return ReferenceScores(_described(name, scorer), scores, points, _in_float64(scorer, dies.good))


def score_form(
    name: str, scorer: Scorer, dies: CertificationDies, rejected: RejectedDies
) -> FormScores:
    """All dies by a form, "verified" at each of its operating points."""
    rescored: dict[float, Rescored] = {}
    if scorer.precision == "verified":
        rescored = _verified(scorer, dies)
    at_default = rescored.get(scorer.fpr)
    return FormScores(
        by=_described(name, scorer),
        scores=_score(scorer, dies) if at_default is None else at_default.scores,
        thresholds={p.fpr: p.threshold for p in scorer.screen.operating_points},
        rescored=rescored,
        top5_overlap=rejected.overlap(scorer),
        n_overlap=len(rejected.dies),
    )


def _described(name: str, scorer: Scorer) -> Scored:
    return Scored(
        form=name,
        precision=scorer.precision,
        engine=scorer.engine_name,
        engine_version=scorer.engine_version,
        cpu_path=scorer.cpu_path,
        model_id=scorer.model_id if scorer._model.sealed is not None else "",
    )


def _score(scorer: Scorer, dies: CertificationDies) -> ScoredDies:
    defective = {name: _scores(scorer, some) for name, some in dies.defective.items()}
    return ScoredDies(_scores(scorer, dies.good), defective)


def _scores(scorer: Scorer, dies: DieValues) -> Float32:
    """Scores alone: `Scorer.score` would keep a copy of the values."""
    scores = np.empty(len(dies), np.float32)
    verdicts, reasons = np.empty(len(dies), np.int8), np.empty(len(dies), np.int8)
    scorer.score_into(dies.values, scores, verdicts, reasons, dies.group)
    return scores


def _in_float64(scorer: Scorer, good: DieValues) -> tuple[Rows, Float32] | None:
    """None for a graph, whose layers only its engine knows, and for other layers than fp32."""
    sealed = scorer._model.sealed
    if sealed is None or scorer.precision != "fp32":
        return None
    network, rows = network_of(sealed), evenly_spaced(len(good), MAX_FLOAT64_DIES)
    parts = [good.select(part) for part in _blocks(rows)]
    scores = [forward(network, p.values, p.group, dtype=np.float64).scores for p in parts]
    return rows, np.concatenate([np.empty(0, np.float32), *scores])


def _blocks(rows: Rows) -> list[Rows]:
    return [rows[i : i + _FLOAT64_BLOCK] for i in range(0, len(rows), _FLOAT64_BLOCK)]


def network_of(sealed: SealedModel) -> Network:
    """The fp32 layers of a sealed model, for `knowngood._forward`.

    Raises:
        UsageError: it has none.
    """
    if sealed.fp32 is None:
        raise UsageError("the file has no fp32 layers: export it with precision fp32 too")
    return Network(sealed.screen, sealed.fp32, sealed.latent_layer, sealed.detector)


def _verified(scorer: Scorer, dies: CertificationDies) -> dict[float, Rescored]:
    """By operating point: at each, other dies are scored again."""
    model = scorer._model
    assert model.sealed is not None  # no other kind of file is verified
    int8 = open_scorer(
        model, engine=scorer.engine_name, precision="int8", extrapolate=True, check=False,
        cpu_path=scorer.cpu_path,
    )  # fmt: skip
    before = _score(int8, dies)
    found = {}
    for point in scorer.screen.operating_points:
        band = model.sealed.band(point.fpr)
        after = _score(scorer.at(point.fpr, extrapolate=True), dies)
        good = _n_rescored(before.good, after.good, band)
        defective = _n_rescored(before.all_defective, after.all_defective, band)
        found[point.fpr] = Rescored(after, band, good, defective)
    return found


def _n_rescored(int8: Float32, verified: Float32, band: Band) -> int:
    """Dies with an int8 score in the band, and those whose score is another for any other reason.

    A die beyond a scale limit whose fp32 score has the very bits of int8 is not counted.
    """
    in_band = (int8 >= np.float32(band.lo)) & (int8 <= np.float32(band.hi))
    return int(np.count_nonzero(in_band | (int8.view(np.uint32) != verified.view(np.uint32))))


@dataclass(frozen=True, eq=False)
class RejectedDies:
    """Dies that the reference rejects, and the tests that made their scores.

    Attributes:
        columns: the ``N_TOP`` largest contributions of each die, fewer where fewer are present.
    """

    dies: DieValues
    columns: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, reference: Scorer, scores: ScoredDies, dies: CertificationDies) -> RejectedDies:
        """At most ``MAX_EXPLAINED_DIES``, good and defective, evenly of all that are rejected."""
        threshold = np.float32(reference.threshold)
        sets = [(dies.good, scores.good)]
        sets += [(some, scores.defective[name]) for name, some in dies.defective.items()]
        places = [
            (i, row) for i, (_, s) in enumerate(sets) for row in np.flatnonzero(s > threshold)
        ]
        chosen = [places[i] for i in evenly_spaced(len(places), MAX_EXPLAINED_DIES)]
        rows = [[row for i, row in chosen if i == index] for index in range(len(sets))]
        some = _joined(
            [d.select(np.array(r, np.intp)) for (d, _), r in zip(sets, rows, strict=True)]
        )
        return cls(some, _top_columns(reference, some))

    def overlap(self, scorer: Scorer) -> float | None:
        """Mean share of each die's columns that a form names too; None without dies."""
        found = _top_columns(scorer, self.dies)
        shares = [len(a & b) / len(a) for a, b in zip(self.columns, found, strict=True) if a]
        return float(np.mean(shares)) if shares else None


def _joined(parts: list[DieValues]) -> DieValues:
    groups = [part.group for part in parts if part.group is not None]
    group = np.concatenate(groups) if len(groups) == len(parts) else None
    return DieValues(np.concatenate([part.values for part in parts]), group)


def _top_columns(scorer: Scorer, dies: DieValues) -> tuple[frozenset[int], ...]:
    residuals = scorer.residuals(dies.values, dies.group)
    return tuple(frozenset(residuals.largest(i, N_TOP).tolist()) for i in range(len(dies)))
