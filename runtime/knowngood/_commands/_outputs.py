"""Where a verb may write: checked before its work, so that nothing is lost and nothing waits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from knowngood._errors import UsageError


def check_output(output: str | Path, sources: Iterable[str | Path] = ()) -> Path:
    """The path to write.

    Args:
        output: as the user gave it.
        sources: what is read: never overwritten, under any of its names.

    Raises:
        UsageError: the folder does not exist, ``output`` is a folder, or one of ``sources``.
    """
    output = Path(output)
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: the folder {output.parent} does not exist")
    if output.is_dir():
        raise UsageError(f"cannot write {output}: it is a folder; name a file")
    if output.resolve() in {Path(source).resolve() for source in sources}:
        raise UsageError(f"{output} is also what is read: choose another name for the output")
    return output
