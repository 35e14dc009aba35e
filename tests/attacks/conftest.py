"""The attacks take sealed files apart with ``kgd_by_hand``, which lies with the tests of `_kgd`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "kgd"))
