"""Arrays of an HDF5 file that nobody vouches for: they lie in the file itself, and are small."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._extras import require

from ._chain import MOST_OPERATORS, RefusedError

_MOST_AXES = 2
_NUMBERS = "fiu"
Hold = Callable[[str, int], None]


class Stored:
    """A group of an open file.

    Links and storage that lead out of the file are refused: through them a file could name any
    other on the machine, whose bytes would become weights.
    """

    def __init__(self, group: Any, hold: Hold) -> None:
        """Wrap a group; ``hold`` is told how many values are about to be read, and may refuse."""
        self._group, self._hold = group, hold

    def has(self, name: str) -> bool:
        """Whether there is something of that name."""
        try:
            self._follow(name)
        except KeyError:
            return False
        return True

    def group(self, name: str) -> Stored:
        """A group inside this one."""
        return Stored(self._follow(name), self._hold)

    def names(self, attribute: str) -> list[Any]:
        """A list of names in an attribute."""
        found = self._group.attrs[attribute]
        if len(found) > MOST_OPERATORS:
            raise RefusedError(f"{self._group.name} names {len(found):,} weights")
        return list(found)

    def array(self, name: str) -> NDArray[Any]:
        """Numbers with up to two axes.

        Raises:
            RefusedError: something else, outside the file, or more than the file's size explains.
        """
        dataset = self._follow(name)
        self._require_plain(dataset)
        self._hold(dataset.name, dataset.size)
        if dataset.chunks is not None:  # one is read whole, however little of it is in use
            self._hold(dataset.name, math.prod(dataset.chunks))
        return np.asarray(dataset)

    def _require_plain(self, dataset: Any) -> None:
        h5py = require("h5py", extra="export", needed_for="importing Keras HDF5 files")
        if not isinstance(dataset, h5py.Dataset):
            raise RefusedError(f"{dataset.name} holds no weights")
        if dataset.external or dataset.is_virtual:
            raise RefusedError(
                f"the weights {dataset.name} lie in another file, which is not read: save the "
                "model again as one file"
            )
        if dataset.dtype.kind not in _NUMBERS or len(dataset.shape) > _MOST_AXES:
            raise RefusedError(
                f"the weights {dataset.name} are {dataset.dtype} of shape {dataset.shape}: "
                f"expected numbers with at most {_MOST_AXES} axes"
            )

    def _follow(self, path: str) -> Any:
        """What lies at a path, step by step, over hard links alone."""
        h5py = require("h5py", extra="export", needed_for="importing Keras HDF5 files")
        found = self._group
        for name in path.split("/"):
            link = found.get(name, getlink=True)
            if link is not None and not isinstance(link, h5py.HardLink):
                raise RefusedError(
                    f"{found.name.rstrip('/')}/{name} is a link to something else, which is not "
                    "followed: save the model again as one file"
                )
            found = found[name]
        return found
