"""The autoencoder as a scikit-learn outlier detector."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._lot import Dies
from knowngood._manifest import Evaluation, Provenance
from knowngood._network import DEFAULT_FPR, MIN_EXCEEDANCES
from knowngood._schema import Schema
from knowngood_quantize.heads import MIN_HELD_OUT
from knowngood_quantize.hold_out import FEWEST_GOOD_DIES, split_hold_out
from knowngood_quantize.scaling import unusable_tests

from ._corruption import Noise
from ._fit import AutoencoderConfig, Part, Parts, fit_autoencoder, inject_defects, score_dies
from ._group_numbers import group_numbers
from ._trained import CalibrationSet, Int8Dies, TrainedModel
from ._training import TrainingRecipe
from ._versions import versions

Float64 = NDArray[np.float64]


class FewDiesWarning(UserWarning):
    """The dies given do not support what was asked for; the message says what they do support."""


class AutoencoderDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Autoencoder outlier detector with scikit-learn conventions.

    It learns what good dies look like. A die's score is the residual of its reconstruction, seen
    through the head; the threshold is the quantile of held-out good dies at the yield loss ``fpr``.

    Args:
        hidden: encoder widths before the code; None takes them from the number of tests, (256,
            128) for 512.
        latent: width of the code; None takes √(2·n_tests), 32 for 512.
        activation: ``relu``, ``leaky_relu``, ``elu``, ``sigmoid`` or ``tanh``.
        dropout: share of hidden activations set to 0 in training.
        l2: decoupled weight decay.
        head: ``topk``, ``mahalanobis``, ``normalized``, ``mse``, or ``auto``: the one that detects
            most defects injected into validation dies.
        k: residuals that the topk head takes.
        noise: None, ``gaussian``, ``salt_and_pepper`` or ``masking``, for denoising training.
        noise_level: in sigma for Gaussian noise, else the share of tests hit.
        epochs: None chooses by the number of dies.
        batch_size, learning_rate, patience: see ``TrainingRecipe``.
        hold_out: share of the dies held out for early stopping, head and thresholds.
        fpr: yield loss of the threshold: the share of good dies rejected.
        random_state: None, int or RandomState; an int gives the same bits again on one machine
            with one number of threads.
        n_threads: of torch; None leaves torch's own number, see ``TrainingRecipe``.
        verbose: show a progress bar where standard error is a terminal.

    Attributes:
        network_: the fitted ``knowngood`` network, over the tests that could be used.
        used_tests_: int64, columns of X that the network sees.
        dropped_tests_: reason by column, for constant and empty tests.
        learning_curve_: (epoch, training loss, held-out loss).
        head_choice_: how the head came to be; with ``auto``, the heads compared.
        operating_point_: threshold at ``fpr`` with its uncertainty and support.
        offset_: −threshold, so that ``decision_function = score_samples − offset_``.
        hold_out_: in words, what was held out and what that can show.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    def __init__(
        self,
        hidden: Sequence[int] | None = None,
        latent: int | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
        l2: float = 0.0,
        head: str = "topk",
        k: int = 5,
        noise: str | None = None,
        noise_level: float = 0.1,
        epochs: int | None = None,
        batch_size: int = 256,
        learning_rate: float | None = None,
        patience: int | None = None,
        hold_out: float = 0.3,
        fpr: float = DEFAULT_FPR,
        random_state: Any = None,
        n_threads: int | None = 1,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.latent = latent
        self.activation = activation
        self.dropout = dropout
        self.l2 = l2
        self.head = head
        self.k = k
        self.noise = noise
        self.noise_level = noise_level
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.hold_out = hold_out
        self.fpr = fpr
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        schema: Schema | None = None,
        groups: ArrayLike | None = None,
        sites: ArrayLike | None = None,
        patterns: NDArray[np.bool_] | None = None,
    ) -> AutoencoderDetector:
        """Learn from good dies.

        Args:
            X: ``(n_dies, n_tests)`` of good dies in raw units, NaN where a test is missing.
            y: ignored, as in scikit-learn's outlier detectors.
            schema: the tests; None names them after their columns.
            groups: ``(n_dies,)``, lot of each die: whole lots are held out where there are three
                or more, else the last dies.
            sites: int ``(n_dies,)``; given, each site gets a scaler of its own. A die scored
                without one, or with one unknown here, is scaled by all sites together.
            patterns: bool ``(n_patterns, n_tests)``, True where a test is missing on some die,
                good or not; None takes the patterns in X.

        Raises:
            NotEnoughDataError: fewer than 20 dies, or no test that varies.
            UsageError: a parameter or a shape makes no sense.
        """
        values = validate_data(
            self, X, dtype=np.float32, ensure_all_finite="allow-nan", ensure_min_features=2
        )
        config = self._config(sites is not None)
        schema = self._schema_of(values, schema)
        lot = None if groups is None else _lot_numbers(groups, len(values))
        good = Part(values, group_numbers("sites", sites, len(values)), lot)
        parts, self.hold_out_ = self._split(good, groups)
        self.dropped_tests_ = self._unusable(parts.train.values)
        used = [c for c in range(values.shape[1]) if c not in self.dropped_tests_]
        self.used_tests_ = np.array(used, dtype=np.int64)
        train, validation, calibration = (
            part.of_tests(self.used_tests_)
            for part in (parts.train, parts.validation, parts.calibration)
        )
        seen = _patterns(values, patterns)[:, self.used_tests_]
        parts = Parts(train, validation, calibration, seen)
        fitted = fit_autoencoder(
            parts, schema.select(self.used_tests_), config, progress=bool(self.verbose)
        )
        self.network_, self.learning_curve_, self.head_choice_ = fitted
        self._remember(parts, config)
        return self

    def _config(self, site_groups: bool) -> AutoencoderConfig:
        recipe = TrainingRecipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.l2,
            patience=self.patience,
            noise=None if self.noise is None else Noise(self.noise, self.noise_level),  # type: ignore[arg-type]  # Noise checks it
            seed=_seed(self.random_state),
            n_threads=self.n_threads,
        )
        return AutoencoderConfig(
            hidden=None if self.hidden is None else tuple(self.hidden),
            latent=self.latent,
            activation=self.activation,  # type: ignore[arg-type]  # Architecture checks it
            dropout=self.dropout,
            head=self.head,  # type: ignore[arg-type]  # AutoencoderConfig checks it
            k=self.k,
            site_groups=site_groups,
            fpr=self.fpr,
            recipe=recipe,
        )

    def _schema_of(self, values: NDArray[np.float32], schema: Schema | None) -> Schema:
        if schema is None:
            return Schema.anonymous(values.shape[1])
        if schema.n_tests != values.shape[1]:
            raise UsageError(f"the schema has {schema.n_tests} tests, X has {values.shape[1]}")
        return schema

    @staticmethod
    def _unusable(values: NDArray[np.float32]) -> dict[int, str]:
        reasons = unusable_tests(values)
        if len(reasons) == values.shape[1]:
            first = next(iter(reasons.values()))
            raise NotEnoughDataError(
                f"none of the {values.shape[1]} tests can be learnt from: the first is {first}"
            )
        return reasons

    def _split(self, good: Part, groups: ArrayLike | None) -> tuple[Parts, str]:
        if len(good) < MIN_HELD_OUT:
            raise NotEnoughDataError(
                f"n_samples={len(good)} dies are too few to learn from; at least {MIN_HELD_OUT} "
                "are needed, and thousands give thresholds worth having"
            )
        dies = Dies.anonymous(len(good))
        if groups is not None:
            dies.lot[:] = _lot_names(groups, len(good))
        if len(good) >= FEWEST_GOOD_DIES:
            held = split_hold_out(
                dies, np.ones(len(good), dtype=np.bool_), share=self.hold_out, seed=0
            )
            parts = Parts(
                good.select(held.train), good.select(held.validation), good.select(held.calibration)
            )
            if min(len(parts.validation), len(parts.calibration)) >= MIN_HELD_OUT:
                return parts, held.how
        how = (
            f"Nothing was held out: {len(good)} dies are too few. Head and thresholds are fitted "
            "on the training dies, and good dies will be rejected more often than asked for."
        )
        warnings.warn(how, FewDiesWarning, stacklevel=3)
        return Parts(good, good, good), how

    def _remember(self, parts: Parts, config: AutoencoderConfig) -> None:
        point = self.network_.screen.operating_point(config.fpr, extrapolate=True)
        self.operating_point_, self.offset_ = point, -point.threshold
        self._calibration, self._n_train = parts.calibration, len(parts.train)
        self._reference, self._validation = parts.train, parts.validation
        self._seed = config.recipe.seed
        if not point.supported:
            warnings.warn(
                f"the threshold at a yield loss of {point.fpr:.2%} rests on {point.n_dies} "
                f"held-out dies, with fewer than {MIN_EXCEEDANCES} expected above it. "
                "Give more dies or a larger fpr.",
                FewDiesWarning,
                stacklevel=3,
            )

    def score_samples(self, X: ArrayLike, sites: ArrayLike | None = None) -> Float64:
        """−score, float64 ``(n_dies,)``: higher is more normal; NaN where a die is unscored."""
        check_is_fitted(self, "network_")
        values = validate_data(
            self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False
        )
        part = Part(values[:, self.used_tests_], group_numbers("sites", sites, len(values)))
        return -score_dies(self.network_, part).astype(np.float64)

    def decision_function(self, X: ArrayLike, sites: ArrayLike | None = None) -> Float64:
        """Threshold − score: negative for outliers, NaN where a die cannot be scored."""
        samples = self.score_samples(X, sites)
        return samples - self.offset_

    def predict(self, X: ArrayLike, sites: ArrayLike | None = None) -> NDArray[np.int64]:
        """+1 for inliers, −1 for outliers and for dies that cannot be scored."""
        return np.where(self.decision_function(X, sites) >= 0, 1, -1).astype(np.int64)

    def to_trained_model(self) -> TrainedModel:
        """What ``export`` starts from; defects are injected into the calibration dies."""
        check_is_fitted(self, "network_")
        good, schema = self._calibration, self.network_.screen.schema
        injected = inject_defects(good, schema, reference=self._reference)
        provenance = Provenance(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions=versions(),
            seed=self._seed,
            n_train=self._n_train,
            n_held_out=len(good),
            hold_out=self.hold_out_,
            learning_curve=self.learning_curve_,
            notes=tuple(f"column {c} dropped: {why}" for c, why in self.dropped_tests_.items()),
        )
        calibration = CalibrationSet.of(good, injected)
        int8_dies = Int8Dies.of(self._reference, self._validation)
        evaluation = Evaluation(head_choice=self.head_choice_)
        return TrainedModel(self.network_, (), calibration, int8_dies, provenance, evaluation)

    def export(
        self,
        out_dir: str | Path,
        formats: Sequence[str] = ("kgd", "onnx", "tflite"),
        precision: Sequence[str] = ("fp32", "int8"),
        fpr: float | None = None,
    ) -> Any:
        """Write model files, each compared with this network first; see ``export_trained``."""
        from .export import export_trained

        return export_trained(
            self.to_trained_model(), out_dir, formats, precision, self.fpr if fpr is None else fpr
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _seed(random_state: Any) -> int:
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _lot_names(groups: ArrayLike, n_dies: int) -> list[str]:
    names = np.asarray(groups)
    if names.shape != (n_dies,):
        raise UsageError(f"groups must have shape ({n_dies},), one per die, found {names.shape}")
    return [str(name) for name in names]


def _lot_numbers(groups: ArrayLike, n_dies: int) -> NDArray[np.int32]:
    return np.unique(_lot_names(groups, n_dies), return_inverse=True)[1].astype(np.int32)


def _patterns(values: NDArray[np.float32], patterns: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The distinct patterns given, or those of ``values``; none that misses nothing or all."""
    missing = np.isnan(values) if patterns is None else np.asarray(patterns)
    if missing.dtype != np.bool_ or missing.ndim != 2 or missing.shape[1] != values.shape[1]:
        raise UsageError(
            f"patterns must be bool (n_patterns, {values.shape[1]}), True where a test is missing, "
            f"found {missing.dtype} {missing.shape}"
        )
    partly = missing[missing.any(axis=1) & ~missing.all(axis=1)]
    return np.unique(partly, axis=0)
