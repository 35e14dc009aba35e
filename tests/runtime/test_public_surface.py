"""What people import is a promise; this test is where it changes."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import knowngood

PUBLIC = [
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
    "load",
    "merge_lots",
    "read_lot",
    "read_verdicts",
]
HEAVY = ["torch", "onnx", "onnxruntime", "pyarrow", "matplotlib", "jinja2", "ai_edge_litert"]


def test_all_is_sorted_and_complete():
    assert knowngood.__all__ == PUBLIC == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(knowngood, name) is not None
    assert set(PUBLIC) <= set(dir(knowngood))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'scorer'"):
        _ = knowngood.scorer


def test_signatures():
    assert list(inspect.signature(knowngood.load).parameters) == [
        "path", "engine", "fpr", "extrapolate", "check",
    ]  # fmt: skip
    assert list(inspect.signature(knowngood.Scorer.score).parameters) == ["self", "values", "group"]
    assert list(inspect.signature(knowngood.Scorer.score_into).parameters) == [
        "self", "values", "scores", "verdicts", "reasons", "group",
    ]  # fmt: skip
    assert list(inspect.signature(knowngood.Scorer.score_lot).parameters) == [
        "self", "lot", "score_fails", "strict", "allow_absent",
    ]  # fmt: skip


def test_codes_that_tester_software_stores():
    assert {v.name: v.value for v in knowngood.Verdict} == {"UNSCORED": 0, "PASS": 1, "REJECT": 2}
    assert [r.name for r in sorted(knowngood.Reason)] == [
        "NONE", "NO_DATA", "TOO_MANY_MISSING", "NOT_FINITE", "RANGE",
        "TESTER_FAIL", "SCHEMA", "DEADLINE", "ENGINE_FAULT",
    ]  # fmt: skip


def modules_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import knowngood",
        "import knowngood; knowngood.Scorer, knowngood.load, knowngood.read_lot",
        "import knowngood; knowngood.VerdictTable, knowngood.LotResult",
    ],
)
def test_import_brings_numpy_at_most(code):
    loaded = modules_after(code)
    assert not loaded & set(HEAVY)


def test_names_resolve_where_they_are_defined():
    assert knowngood.load.__module__ == "knowngood._scorer"
    assert knowngood.__version__[0].isdigit()
