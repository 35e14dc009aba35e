"""``Scorer``: raw values in; scores, verdicts and reasons out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._blocks import BlockwiseEngine, dies_per_block
from ._contributions import Contribution, Ranking, Residuals, explain, n_ranked
from ._errors import UsageError
from ._inputs import as_rows, as_values, check_buffers, clear_verdicts
from ._manifest import Manifest
from ._model_file import ModelFile
from ._network import OperatingPoint, Screen
from ._schema import Schema
from ._score_result import ScoreResult
from .engines import Engine, JudgingEngine

if TYPE_CHECKING:
    from ._judge import LotResult
    from ._lot import Lot

_FLOAT32, _INT8 = np.dtype(np.float32), np.dtype(np.int8)
_Array, _empty = np.ndarray, np.empty  # found at once: each look-up is a part of a touchdown


class Scorer:
    """A loaded model at one operating point; immutable, and safe to use from several threads."""

    def __init__(self, model: ModelFile, engine: Engine, point: OperatingPoint) -> None:
        self._model = model
        self._engine = engine
        self._point = point
        self._threshold = np.array(point.threshold, dtype=np.float32)
        self._n_tests = model.manifest.screen.schema.n_tests
        self._blocks = BlockwiseEngine(
            engine,
            model.manifest.screen,
            self._threshold,
            n_dies=dies_per_block(max(self._n_tests, *model.manifest.widths)),
            is_exact=model.sealed is not None,
        )
        self._has_groups = len(model.manifest.screen.scaler.groups) > 1
        self._judging = engine if isinstance(engine, JudgingEngine) else None
        self._judge_arrays = None if self._judging is None else self._judging.judge_arrays
        self._judge_and_keep = None if self._judging is None else self._judging.judge_and_keep

    def __repr__(self) -> str:
        return (
            f"<Scorer {self.manifest.detector} {self.precision}, {self._n_tests} tests, "
            f"score ≤ {self.threshold:.6g} passes (yield loss {self.fpr:.2%}), "
            f"{self.engine_name} {self.engine_version}>"
        )

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        from ._opening import reopen

        model = self._model
        path = str(model.path)  # a Path of one system cannot be unpickled on another
        pinned = None if self._judging is None else self._judging.pinned_path
        return reopen, (model.data, path, self.engine_name, self.precision, self.fpr, pinned)

    def _repr_html_(self) -> str:
        from ._notebook import scorer_html

        return scorer_html(self)

    @property
    def manifest(self) -> Manifest:
        """What the model file says of itself."""
        return self._model.manifest

    @property
    def screen(self) -> Screen:
        """Schema, scaler, head and operating points."""
        return self._model.manifest.screen

    @property
    def schema(self) -> Schema:
        """The tests, in the order of the columns of ``values``."""
        return self._model.manifest.screen.schema

    @property
    def path(self) -> Path:
        """The file that the model was read from."""
        return self._model.path

    @property
    def model_digest(self) -> str:
        """SHA-256 sealed into the model file, 64 hexadecimal digits."""
        return self._model.digest

    @property
    def model_id(self) -> str:
        """SHA-256 over what decides verdicts, 64 hexadecimal digits; verdicts cite it."""
        return self._model.model_id

    @property
    def format(self) -> str:
        """The kind of file and the version of its format, such as "kgd 1.0"."""
        return self._model.format

    @property
    def precision(self) -> str:
        """Of the layers: "fp32", "int8", or "verified" (int8, and fp32 near the threshold)."""
        return self._model.manifest.precision

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the file can be scored in, the default first."""
        return self._model.precisions

    @property
    def engine_name(self) -> str:
        """The engine that runs the graph."""
        return self._engine.name

    @property
    def engine_version(self) -> str:
        """Version of the engine's package."""
        return self._engine.version

    @property
    def cpu_path(self) -> str | None:
        """The kernels of engine "native", one of ``knowngood.cpu_paths()``; None for others."""
        return None if self._judging is None else self._judging.cpu_path

    @property
    def operating_point(self) -> OperatingPoint:
        """Threshold, its sampling interval and its support."""
        return self._point

    @property
    def fpr(self) -> float:
        """Nominal yield loss on good dies."""
        return self._point.fpr

    @property
    def threshold(self) -> float:
        """A die passes if its score is ≤ this, a float32."""
        return float(self._threshold)

    def at(self, fpr: float, *, extrapolate: bool = False) -> Scorer:
        """The same model and engine at another operating point.

        Raises:
            OperatingPointError: not in the file, or unsupported and not ``extrapolate``.
        """
        point = self._model.operating_point(fpr, extrapolate=extrapolate)
        return Scorer(self._model, self._engine.at(point.fpr), point)

    def score(
        self, values: NDArray[Any], group: NDArray[np.integer[Any]] | None = None
    ) -> ScoreResult:
        """Score dies.

        Args:
            values: ``(n_dies, n_tests)`` in raw engineering units, columns in the schema's order,
                NaN where a test is missing; float32 is taken as it is, other real numbers are
                rounded to it.
            group: int32 ``(n_dies,)``, for models with one scaler per site or tester.

        Raises:
            UsageError: the arrays are not what they must be.
        """
        judge = self._judge_and_keep
        if judge is not None and type(values) is _Array and values.ndim:
            n_dies = len(values)
            result = ScoreResult()
            result.scores = scores = _empty(n_dies, _FLOAT32)
            result.verdicts = verdicts = _empty(n_dies, _INT8)
            result.reasons = reasons = _empty(n_dies, _INT8)
            kept = judge(values, group, scores, verdicts, reasons)  # the caller reuses buffers
            if kept is not None:
                result._scorer = self
                result._values = kept
                result._group = None if group is None else group.copy()
                return result
        accepted = self._accept(values)
        rows, _ = self._rows(group, len(accepted))
        result = ScoreResult._empty(self, accepted, group)
        self._blocks.judge(accepted, rows, result.scores, result.verdicts, result.reasons)
        return result

    def score_into(
        self,
        values: NDArray[Any],
        scores: NDArray[np.float32],
        verdicts: NDArray[np.int8],
        reasons: NDArray[np.int8],
        group: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Score dies into arrays of the caller, each ``(n_dies,)``; see ``score``.

        Nothing is kept of ``values``. If an error is raised, every verdict is UNSCORED.

        Raises:
            UsageError: the arrays are not what they must be.
        """
        judge = self._judge_arrays
        if judge is not None and judge(values, group, scores, verdicts, reasons) is not None:
            return
        clear_verdicts(verdicts)
        accepted = self._accept(values)
        check_buffers(values, group, scores, verdicts, reasons, len(accepted))
        rows, _ = self._rows(group, len(accepted))
        try:
            self._blocks.judge(accepted, rows, scores, verdicts, reasons)
        except BaseException:
            clear_verdicts(verdicts)
            raise

    def reconstruct(
        self, values: NDArray[Any], group: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.float32]:
        """What the model expects, standardised: float32 ``(n_dies, n_tests)``."""
        accepted = self._accept(values)
        rows, _ = self._rows(group, len(accepted))
        return self._blocks.reconstruct(accepted, rows)

    def rescoring_rate(
        self, values: NDArray[Any], group: NDArray[np.integer[Any]] | None = None
    ) -> float:
        """Share of dies that "verified" scores again in fp32, 0 to 1, at this operating point.

        It is the monitor of verified verdicts: docs/verified.md says which rate is alarming. NumPy
        finds it, in some tens of microseconds a die. NaN for no dies at all.

        Args:
            values, group: as ``score`` takes them.

        Raises:
            UsageError: the arrays are not what they must be, or the scorer's precision is another.
        """
        sealed = self._model.sealed
        if sealed is None or self.precision != "verified":
            raise UsageError(
                f"only precision 'verified' scores dies again; this is {self.precision!r}: load a "
                ".kgd with calibrated bands (precision=)"
            )
        from .engines._reference import rescored_dies

        accepted = self._accept(values)
        rows, _ = self._rows(group, len(accepted))
        n_rescored = sum(
            int(np.count_nonzero(rescored_dies(sealed, accepted[part], of_part, fpr=self.fpr)))
            for part, of_part in self._blocks.parts(len(accepted), rows)
        )
        return n_rescored / len(accepted) if len(accepted) else float("nan")

    def encode(
        self, values: NDArray[Any], group: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.float32]:
        """The latent code of dies, as ``score`` takes them: float32 ``(n_dies, n_latent)``.

        NaN throughout for a die with an infinite value or one out of range; missing tests are taken
        to lie at their centre.

        Raises:
            UsageError: the arrays are not what they must be, or the model gives no latent code.
        """
        layer = self.manifest.latent_layer
        if layer is None:
            raise UsageError(
                f"{self.path} has no latent layer, so there is nothing to encode to: "
                f"its detector is {self.manifest.detector!r}"
            )
        accepted = self._accept(values)
        rows, _ = self._rows(group, len(accepted))
        return self._blocks.encode(accepted, rows, self.manifest.widths[layer + 1])

    def score_lot(
        self,
        lot: Lot,
        *,
        score_fails: bool = False,
        strict: bool = False,
        allow_absent: bool = False,
    ) -> LotResult:
        """Align a lot by test, score it, and say what is to be done with each die.

        Args:
            lot: as ``read_lot`` gives it.
            score_fails: score the dies that failed at the tester too; they stay ``tester_fail``.
            strict: refuse differences that are otherwise warned about.
            allow_absent: let a test that the lot lacks count as missing on every die.

        Raises:
            SchemaMismatchError: the lot is not what the model was made for.
            UsageError: ``lot`` is a path, an array or a table.
        """
        from ._judge import LotOptions, score_lot

        return score_lot(self, lot, LotOptions(score_fails, strict, allow_absent))

    def residuals(
        self, values: NDArray[np.float32], group: NDArray[np.integer[Any]] | None = None
    ) -> Residuals:
        """Weighted residuals of some dies, from which contributions are told."""
        accepted = self._accept(values)
        rows, _ = self._rows(group, len(accepted))
        known = np.zeros(len(accepted), dtype=np.int32) if rows is None else rows
        reconstruction = self._blocks.reconstruct(accepted, rows)
        return Residuals.of(self.screen, accepted, known, reconstruction)

    def explain(
        self,
        values: NDArray[Any],
        group: NDArray[np.integer[Any]] | None = None,
        k: int = 5,
    ) -> tuple[Contribution, ...]:
        """The ``k`` tests that make the score of one die, ``(1, n_tests)``, largest first.

        Also of a die with too few tests for a score; none without data, out of range or not finite.

        Raises:
            UsageError: the arrays are not what they must be, or not of one die, or ``k`` < 0.
        """
        accepted = self._accept(values)
        if len(accepted) != 1:
            raise UsageError(f"explain takes one die, (1, {self._n_tests}), found {values.shape}")
        _require_count(k)
        n = n_ranked(self.screen.head, k, self._n_tests)
        (ranking,) = self._rankings(accepted, group, n)
        return explain(self.screen, accepted[0], ranking, k)

    def _rankings(
        self, values: NDArray[Any], group: NDArray[np.integer[Any]] | None, k: int
    ) -> Iterator[Ranking]:
        """Of each die the ``k`` tests with the largest weighted residuals, largest first."""
        _require_count(k)
        accepted, k = self._accept(values), min(k, self._n_tests)
        if self._judging is None:
            residuals = self.residuals(accepted, group)
            for die in range(len(accepted)):
                yield residuals.ranking(self.screen, die, k)
            return
        rows, _ = self._rows(group, len(accepted))
        for die in range(len(accepted)):
            row = 0 if rows is None else int(rows[die])
            yield Ranking(*self._judging.contributions(accepted[die : die + 1], row, k))

    def _accept(self, values: NDArray[Any]) -> NDArray[np.float32]:
        if (
            type(values) is np.ndarray
            and values.dtype is _FLOAT32
            and values.ndim == 2
            and values.shape[1] == self._n_tests
            and values.flags.c_contiguous
            and values.flags.aligned
        ):
            return values
        return as_values(values, self._n_tests)

    def _rows(self, group: object, n_dies: int) -> tuple[NDArray[np.int32] | None, int]:
        if self._has_groups:
            return as_rows(group, self.screen.scaler, n_dies)
        if group is not None:
            as_rows(group, self.screen.scaler, n_dies)
        return None, 0


def _require_count(k: int) -> None:
    if k < 0:
        raise UsageError(f"k is how many tests to tell, 0 or more, found {k}")
