"""How a model's score head came to be, in lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._text_table import text_table

_CLASSICAL = {"pat": "PAT", "t2": "Hotelling T²", "pca": "PCA residual"}


def head_choice_lines(choice: Mapping[str, Any]) -> Iterator[str]:
    """What a ``HeadChoice``, as a mapping, says to people; nothing where it is not known."""
    if not choice["asked"]:
        return
    compared = bool(choice["fpr"])
    yield (
        f"{_name(choice)}, {_how(choice)}; fitted on {choice['n_held_out']:,} held-out good dies"
        + (
            f" and a sample of {choice['n_training']:,} training dies"
            if choice["n_training"]
            else ""
        )
    )
    if choice["kind"] == "mahalanobis":
        yield f"{choice['n_axes']} shared directions found in them"
    if compared:
        yield _conditions(choice)
        yield from _table(choice).splitlines()


def _how(choice: Mapping[str, Any]) -> str:
    if not choice["fpr"]:
        return "as asked for"
    if choice["too_few"]:
        return "the usual one, for these dies are too few to choose by"
    return f"best of {len(choice['trials'])}"


def _name(trial: Mapping[str, Any]) -> str:
    name = _CLASSICAL.get(trial["kind"], trial["kind"])
    return f"{name} (k = {trial['k']})" if trial["k"] else str(name)


def _conditions(choice: Mapping[str, Any]) -> str:
    fpr, asked = choice["fpr"], choice["fpr_asked"]
    why = (
        "" if fpr == asked else f", the nearest to {asked:.2%} that {choice['n_held_out']:,} allow"
    )
    return f"injected defects found on dies not fitted on, at {fpr:.2%} yield loss{why}:"


def _table(choice: Mapping[str, Any]) -> str:
    defects = list(choice["n_defective"])
    header = ["head", *(name.replace("_", " ") for name in defects), "good, missing", "merit"]
    rows = [
        [_name(t), *_shares(t, defects), f"{t['missing_loss']:.1%}", f"{t['merit']:.3f}"]
        for t in choice["trials"]
    ]
    rows += [[_name(t), *_shares(t, defects), "", ""] for t in choice["classical"]]
    if not any(t["missing_loss"] for t in choice["trials"]):  # no missing tests are known
        header, *rows = ([*row[:-2], row[-1]] for row in (header, *rows))
    return text_table(header, rows)


def _shares(trial: Mapping[str, Any], defects: list[str]) -> list[str]:
    return [f"{trial['detection'][name]:.1%}" for name in defects]
