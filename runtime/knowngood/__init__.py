"""knowngood: screens dies that pass every limit and yet are unlike good ones.

    import knowngood

    scorer = knowngood.load("model.kgd")           # in microseconds; .onnx and .tflite too
    lot = knowngood.read_lot("lot7.stdf.gz")       # values, schema, and one row per die attempt
    result = scorer.score_lot(lot)                 # aligned by test; the model only downgrades
    result.write("verdicts.csv")                   # with scores, reasons and contributing tests

``Scorer.score`` takes bare arrays, once a touchdown. Nothing heavier than NumPy is imported before
it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._errors import (
    GateError,
    InputError,
    KnowngoodError,
    MissingExtraError,
    ModelFileError,
    NotEnoughDataError,
    OperatingPointError,
    SchemaMismatchError,
    UsageError,
)

if TYPE_CHECKING:
    from ._contributions import Contribution
    from ._judge import LotResult
    from ._lot import Dies, Lot
    from ._opening import load
    from ._read_lot import merge_lots, read_lot
    from ._schema import Purpose, Schema, Test
    from ._score_result import ScoreResult
    from ._scorer import Scorer
    from ._verdict_table import VerdictTable, read_verdicts
    from ._verdicts import Disposition, Reason, Verdict
    from .engines import cpu_paths

__version__ = "0.1.0"

__all__ = [
    "Contribution",
    "Dies",
    "Disposition",
    "GateError",
    "InputError",
    "KnowngoodError",
    "Lot",
    "LotResult",
    "MissingExtraError",
    "ModelFileError",
    "NotEnoughDataError",
    "OperatingPointError",
    "Purpose",
    "Reason",
    "Schema",
    "SchemaMismatchError",
    "ScoreResult",
    "Scorer",
    "Test",
    "UsageError",
    "Verdict",
    "VerdictTable",
    "__version__",
    "cpu_paths",
    "load",
    "merge_lots",
    "read_lot",
    "read_verdicts",
]

_MODULE_OF = {
    "Contribution": "_contributions",
    "Dies": "_lot",
    "Disposition": "_verdicts",
    "Lot": "_lot",
    "LotResult": "_judge",
    "Purpose": "_schema",
    "Reason": "_verdicts",
    "Schema": "_schema",
    "ScoreResult": "_score_result",
    "Scorer": "_scorer",
    "Test": "_schema",
    "Verdict": "_verdicts",
    "VerdictTable": "_verdict_table",
    "cpu_paths": "engines",
    "load": "_opening",
    "merge_lots": "_read_lot",
    "read_lot": "_read_lot",
    "read_verdicts": "_verdict_table",
}


if not TYPE_CHECKING:  # a type checker that saw this would take any name for a public one

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
