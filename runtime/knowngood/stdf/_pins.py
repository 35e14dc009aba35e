"""Names for the pins of multi-pin results (MPR), the same on every site where the file allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_KINDS = ("LOG_NAM", "CHAN_NAM", "PHY_NAM")
_DEFAULTS = {"HEAD_NUM": 1, "SITE_NUM": 1, "LOG_NAM": "", "CHAN_NAM": "", "PHY_NAM": ""}


class PinMap:
    """Pins by the index that RTN_INDX speaks of, as the PMR records describe them.

    A pin is called by its logical, channel or physical name: of the kinds that every pin has, the
    one that tells the most pins of a site apart. (V93000 files put the pin's name into CHAN_NAM,
    and one ball number into the LOG_NAM of many.) Pins of a site that share the name are told apart
    as ``VDD``, ``VDD#2`` …. Without such a kind, or without PMR, the index is the name; without
    RTN_INDX, ``#1``, ``#2`` … by position.
    """

    def __init__(self) -> None:
        self._records: dict[int, Mapping[str, Any]] = {}
        self._names: dict[int, str] | None = None
        self._indexes: dict[tuple[int, str], Sequence[int]] = {}

    def add(self, pmr: Mapping[str, Any]) -> None:
        """Take in the fields of one PMR; a later one for the same index replaces the earlier."""
        self._records[pmr["PMR_INDX"]] = {**_DEFAULTS, **pmr}
        self._names = None

    def names(self, test: tuple[int, str], n_results: int, indexes: Sequence[int]) -> list[str]:
        """The pins of a test's results; an RTN_INDX that is left out is the first one given."""
        indexes = indexes or self._indexes.get(test, ())
        if indexes:
            self._indexes.setdefault(test, indexes)
        if len(indexes) != n_results:
            return [f"#{i + 1}" for i in range(n_results)]
        if self._names is None:
            self._names = self._name_pins()
        return _numbered([self._names.get(i, str(i)) for i in indexes])

    def _name_pins(self) -> dict[int, str]:
        complete = [kind for kind in _KINDS if all(pmr[kind] for pmr in self._records.values())]
        if not complete:
            return {}
        kind = max(complete, key=lambda kind: len(set(self._placed(kind))))
        names = _numbered(self._placed(kind))
        return dict(zip(self._records, names, strict=True))

    def _placed(self, kind: str) -> list[tuple[int, int, str]]:
        return [(r["HEAD_NUM"], r["SITE_NUM"], r[kind]) for r in self._records.values()]


def _numbered(names: Sequence[str | tuple[int, int, str]]) -> list[str]:
    """The names, or the names of (head, site, name), with ``#2`` … on the repeated ones."""
    seen: Counter[str | tuple[int, int, str]] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        plain = name if isinstance(name, str) else name[2]
        numbered.append(plain if seen[name] == 1 else f"{plain}#{seen[name]}")
    return numbered
