"""Lots made dies to certify on: aligned to the model, the good ones chosen, defects beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knowngood._errors import NotEnoughDataError
from knowngood._good_dies import select_good_dies
from knowngood._judge import LotOptions, align_lot
from knowngood._lot import Lot, source_name
from knowngood._read_lot import merge_lots, read_lot
from knowngood._schema import Schema
from knowngood_quantize.injection import limits_of, standard_defects
from knowngood_quantize.sampling import evenly_spaced

from ._dies import CertificationDies, DieValues

MAX_INJECTED = 4000
"""Dies of each class: enough for a share to within a per cent, made in seconds."""
MAX_REFERENCE_DIES = 8192
"""Good dies that correlated blocks are looked for in."""


def dies_from_lots(
    schema: Schema,
    good: Sequence[str],
    defects: Sequence[str] = (),
    *,
    good_if: str | None = None,
    seed: int = 0,
) -> tuple[CertificationDies, tuple[str, ...]]:
    """Read lots for a certificate.

    Good dies are those of training (`select_good_dies`), gross outliers among them: a certificate
    trims nothing. Of ``defects`` each file is a class of its own, named like it: every final
    attempt with results. Without them the standard defects are injected into the good dies.

    Args:
        schema: the model's tests, which the lots are aligned to.
        good, defects: files, as `read_lot` takes them.
        good_if: which dies of ``good`` the tester called good.
        seed: of injected defects.

    Returns:
        the dies, and what the user has to know of them.

    Raises:
        InputError: a file cannot be read, or is not what the model was made for.
        NotEnoughDataError: no good die.
    """
    notes: list[str] = []
    dies = _good_dies(schema, good, good_if, notes)
    names = ", ".join(source_name(path) for path in good)
    if defects:
        classes = _defective(schema, defects, notes)
        told = f"good dies of {names}; defective dies as given"
    else:
        classes = _injected(dies, schema, seed, notes)
        told = f"good dies of {names}, and some of these with injected defects"
    return CertificationDies(dies, classes, told), tuple(dict.fromkeys(notes))


def _good_dies(
    schema: Schema, paths: Sequence[str], good_if: str | None, notes: list[str]
) -> DieValues:
    """Of all files together: a die tested again in a later one counts once."""
    lot = merge_lots([_aligned(schema, read_lot(p, good_if=good_if), notes) for p in paths])
    chosen = select_good_dies(lot, trim=False)
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in chosen.dropped.items())
    if not chosen.rows.any():
        raise NotEnoughDataError(f"no good die in {', '.join(paths)}: {dropped}")
    notes.extend((*lot.facts.odd, *chosen.notes))
    if dropped:
        notes.append(f"{np.count_nonzero(chosen.rows):,} good dies; left out: {dropped}")
    return DieValues(lot.values[chosen.rows], lot.group[chosen.rows])


def _defective(schema: Schema, paths: Sequence[str], notes: list[str]) -> dict[str, DieValues]:
    classes: dict[str, list[DieValues]] = {}
    for path in paths:
        lot = _aligned(schema, read_lot(path), notes)
        rows = lot.dies.is_final & ~np.isnan(lot.values).all(axis=1)
        n_left_out = int(np.count_nonzero(~rows))
        if n_left_out:
            notes.append(f"{source_name(path)}: {n_left_out:,} without results or tested again")
        dies = DieValues(lot.values[rows], lot.group[rows])
        classes.setdefault(source_name(path), []).append(dies)
    return {name: _joined(parts) for name, parts in classes.items()}


def _aligned(schema: Schema, lot: Lot, notes: list[str]) -> Lot:
    """The lot with the model's tests, and what alignment warns of."""
    aligned, warnings = align_lot(schema, lot, LotOptions())
    notes.extend(f"{source_name(lot.facts.source)}: {warning}" for warning in warnings)
    return aligned


def _joined(parts: Sequence[DieValues]) -> DieValues:
    groups = [part.group for part in parts if part.group is not None]
    return DieValues(np.concatenate([part.values for part in parts]), np.concatenate(groups))


def _injected(good: DieValues, schema: Schema, seed: int, notes: list[str]) -> dict[str, DieValues]:
    learnt_from = good.values[evenly_spaced(len(good), MAX_REFERENCE_DIES)]
    sets = standard_defects(
        good.values,
        limits=limits_of(schema),
        groups=good.group,
        reference=learnt_from,
        n_dies=MAX_INJECTED,
        seed=seed,
    )
    notes.extend(f"no {s.name.replace('_', ' ')} defects: {s.note}" for s in sets if s.note)
    assert good.group is not None  # every lot has head and site
    return {s.name: DieValues(s.values, good.group[s.source_rows]) for s in sets if len(s)}
