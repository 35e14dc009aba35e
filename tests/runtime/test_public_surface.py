"""What people import is a promise; this test is where it changes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property

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
    "cpu_paths",
    "load",
    "merge_lots",
    "read_lot",
    "read_verdicts",
]
SIGNATURES = {
    "Dies.anonymous": "(cls, n_dies, *, lot='', tester_pass=-1)",
    "Dies.concatenate": "(cls, parts)",
    "Dies.select": "(self, rows)",
    "Lot.select": "(self, rows)",
    "LotResult.counts": "(self)",
    "LotResult.top_tests": "(self, row, k=5)",
    "LotResult.top_texts": "(self, k=5)",
    "LotResult.write": "(self, path)",
    "Schema.align": "(self, data, *, strict=False, allow_absent=False)",
    "Schema.anonymous": "(cls, n_tests)",
    "Schema.from_json": "(cls, data)",
    "Schema.select": "(self, columns)",
    "Schema.to_json": "(self)",
    "ScoreResult.top_tests": "(self, die, k=5)",
    "Scorer.at": "(self, fpr, *, extrapolate=False)",
    "Scorer.encode": "(self, values, group=None)",
    "Scorer.explain": "(self, values, group=None, k=5)",
    "Scorer.reconstruct": "(self, values, group=None)",
    "Scorer.rescoring_rate": "(self, values, group=None)",
    "Scorer.residuals": "(self, values, group=None)",
    "Scorer.score": "(self, values, group=None)",
    "Scorer.score_into": "(self, values, scores, verdicts, reasons, group=None)",
    "Scorer.score_lot": "(self, lot, *, score_fails=False, strict=False, allow_absent=False)",
    "cpu_paths": "()",
    "load": (
        "(path, *, engine=None, precision=None, fpr=None, extrapolate=False, check=True, "
        "cpu_path=None)"
    ),
    "merge_lots": "(lots)",
    "read_lot": "(path, *, schema=None, good_if=None)",
    "read_verdicts": "(path)",
}
PROPERTIES = [
    "Lot.group",
    "LotResult.fpr",
    "LotResult.threshold",
    "Reason.text",
    "Schema.digest",
    "Schema.n_tests",
    "ScoreResult.n_unknown_groups",
    "Scorer.cpu_path",
    "Scorer.engine_name",
    "Scorer.engine_version",
    "Scorer.format",
    "Scorer.fpr",
    "Scorer.manifest",
    "Scorer.model_digest",
    "Scorer.model_id",
    "Scorer.operating_point",
    "Scorer.path",
    "Scorer.precision",
    "Scorer.precisions",
    "Scorer.schema",
    "Scorer.screen",
    "Scorer.threshold",
    "Test.key",
    "Test.label",
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


def signatures() -> dict[str, str]:
    """Every public function and method of a public class, without its annotations."""
    found = {}
    for name in PUBLIC:
        public = getattr(knowngood, name)
        if not inspect.isclass(public):
            members = {name: public} if callable(public) else {}
        else:
            names = [n for n in vars(public) if not n.startswith("_")]
            members = {f"{name}.{n}": inspect.getattr_static(public, n) for n in names}
        for member, value in members.items():
            function = getattr(value, "__func__", value)
            if inspect.isfunction(function):
                found[member] = _without_annotations(function)
    return found


def _without_annotations(function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def test_signatures() -> None:
    assert signatures() == SIGNATURES


def test_properties() -> None:
    """A property that becomes a method breaks its callers, and the other way round."""
    found = {
        f"{name}.{n}"
        for name in PUBLIC
        if inspect.isclass(public := getattr(knowngood, name))
        for n in vars(public)
        if not n.startswith("_")
        and isinstance(inspect.getattr_static(public, n), (property, cached_property))
    }
    assert found == set(PROPERTIES)


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
    assert knowngood.load.__module__ == "knowngood._opening"
    assert knowngood.__version__[0].isdigit()
