"""The sealed file, as docs/format.md has it: ``encode`` writes it, ``decode`` reads it.

`_codec` puts the sections together; `_layout` is the shell around them with both digests. Each
section has a module; `_lowering` and `_lifting` turn layers into operations and back.
"""

from __future__ import annotations

from ._codec import Contents, decode, encode
from ._layout import MAGIC, MAX_FILE_BYTES
from ._listing import Listing, list_contents

__all__ = ["MAGIC", "MAX_FILE_BYTES", "Contents", "Listing", "decode", "encode", "list_contents"]
