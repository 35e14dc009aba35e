"""What ``Scorer.score`` accepts: arrays that can mean one thing only, or a clear refusal."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import UsageError
from ._network import POOLED_GROUP, Scaler
from ._verdicts import Verdict


def as_values(values: object, n_tests: int) -> NDArray[np.float32]:
    """``values`` as native, aligned, C-contiguous float32 ``(n_dies, n_tests)``.

    What is so already is returned as it is, anything else as a copy.

    Real numbers of any width, byte order and strides are taken. Those wider than float32 are
    rounded to it, the precision of STDF results; what exceeds its range becomes infinite, which
    leaves the die unscored.

    Raises:
        UsageError: not a NumPy array, masked, not real numbers, or not ``(n_dies, n_tests)``.
    """
    if not isinstance(values, np.ndarray):
        raise UsageError(
            f"values must be a NumPy array of float32 (n_dies, {n_tests}), found "
            f"{type(values).__name__}: its columns must be the model's tests in order "
            "(scorer.schema.tests); knowngood.read_lot and score_lot align named tables"
        )
    if isinstance(values, np.ma.MaskedArray):
        raise UsageError(
            "values is a masked array; say that masked means missing: values.filled(np.nan)"
        )
    if values.dtype.kind not in "fiu":
        raise UsageError(f"values must be real numbers, float32 at best, found {values.dtype}")
    _check_shape(values, n_tests)
    with np.errstate(over="ignore"):
        taken = np.require(values, np.float32, ["C_CONTIGUOUS", "ALIGNED"])
    return taken.view(np.float32)  # an equal dtype of another object, as pickles have, is replaced


def _check_shape(values: NDArray[Any], n_tests: int) -> None:
    if values.ndim == 1 and len(values) == n_tests:
        raise UsageError(f"values has shape ({n_tests},): one die is values[np.newaxis, :]")
    if values.ndim != 2:
        raise UsageError(f"values must have shape (n_dies, {n_tests}), found {values.shape}")
    if values.shape[1] != n_tests:
        raise UsageError(
            f"values has {values.shape[1]} tests, the model has {n_tests}: "
            "give the model's tests in its order (scorer.schema.tests), NaN where one is missing"
        )


def as_rows(group: object, scaler: Scaler, n_dies: int) -> tuple[NDArray[np.int32], int]:
    """Each die's row of the scaler, int32 ``(n_dies,)``, and how many groups were unknown.

    A die without a group, or with one that the model was not trained for, is scaled by the pooled
    row and counted; ``POOLED_GROUP`` asks for that row and is not counted.

    Raises:
        UsageError: ``group`` is not an integer array ``(n_dies,)``.
    """
    if group is None:
        return np.zeros(n_dies, dtype=np.int32), n_dies
    if not isinstance(group, np.ndarray) or group.dtype.kind not in "iu":
        found = group.dtype if isinstance(group, np.ndarray) else type(group).__name__
        raise UsageError(f"group must be an int32 array ({n_dies},), found {found}")
    if group.shape != (n_dies,):
        raise UsageError(f"group must have one entry per die, ({n_dies},), found {group.shape}")
    rows = scaler.rows(group, n_dies)
    return rows, int(np.count_nonzero((rows == 0) & (group != POOLED_GROUP)))


def clear_verdicts(verdicts: object) -> None:
    """Set every verdict to UNSCORED where that can be done, so that no error leaves an old one."""
    if isinstance(verdicts, np.ndarray) and verdicts.dtype == np.int8 and verdicts.flags.writeable:
        verdicts.fill(Verdict.UNSCORED)


def check_buffers(
    values: object, group: object, scores: object, verdicts: object, reasons: object, n_dies: int
) -> None:
    """Refuse output arrays that ``score_into`` cannot fill in place.

    Raises:
        UsageError: not writable native arrays ``(n_dies,)`` of their dtype, or one shares memory
            with another or with an input: a reason would be read as a verdict, a score as a value.
    """
    wanted = (("scores", scores, np.float32), ("verdicts", verdicts, np.int8))
    for name, array, dtype in (*wanted, ("reasons", reasons, np.int8)):
        _check_buffer(name, array, dtype, n_dies)
    outputs = {"verdicts": verdicts, "scores": scores, "reasons": reasons}
    arrays = outputs | {"values": values, "group": group}
    for first, second in combinations(arrays, 2):
        if first in outputs and _share_memory(arrays[first], arrays[second]):
            raise UsageError(f"{first} and {second} share memory; give each an array of its own")


def _share_memory(a: object, b: object) -> bool:
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return False
    return np.may_share_memory(a, b) and np.shares_memory(a, b)


def _check_buffer(name: str, array: object, dtype: type[np.generic], n_dies: int) -> None:
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != dtype
        or array.shape != (n_dies,)
        or not array.flags.writeable
    ):
        raise UsageError(
            f"{name} must be a writable {np.dtype(dtype).name} array of shape ({n_dies},), "
            f"found {_describe_found(array, dtype, n_dies)}"
        )


def _describe_found(array: object, dtype: type[np.generic], n_dies: int) -> str:
    if not isinstance(array, np.ndarray):
        return type(array).__name__
    if array.dtype == dtype and array.shape == (n_dies,):
        return "a read-only array"
    return f"{array.dtype} {array.shape}"
