"""Every public call with its type, as the users' type checkers see it; checked, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import knowngood
from knowngood import (
    Contribution,
    Dies,
    Disposition,
    Lot,
    LotResult,
    Purpose,
    Reason,
    Schema,
    Scorer,
    ScoreResult,
    Test,
    Verdict,
    VerdictTable,
)

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]


def loading(path: Path) -> Scorer:
    assert_type(knowngood.__version__, str)
    assert_type(knowngood.load("model.kgd"), Scorer)
    return assert_type(
        knowngood.load(
            path,
            engine="native",
            precision="verified",
            fpr=0.01,
            extrapolate=True,
            check=False,
            cpu_path="scalar",
        ),
        Scorer,
    )


def scoring(scorer: Scorer, values: Floats, group: NDArray[np.int32]) -> None:
    result = assert_type(scorer.score(values, group), ScoreResult)
    assert_type(scorer.score(values.astype(np.float64)), ScoreResult)
    assert_type(result.scores, Floats)
    assert_type(result.verdicts, Codes)
    assert_type(result.reasons, Codes)
    assert_type(result.n_unknown_groups, int)
    assert_type(len(result), int)
    assert_type(result.top_tests(0, k=3), tuple[Contribution, ...])
    assert_type(scorer.score_into(values, result.scores, result.verdicts, result.reasons), None)
    assert_type(scorer.reconstruct(values, group), Floats)
    assert_type(scorer.encode(values, group), Floats)
    assert_type(scorer.rescoring_rate(values, group), float)
    assert_type(scorer.explain(values[:1], k=2), tuple[Contribution, ...])
    assert_type(scorer.at(0.001, extrapolate=True), Scorer)


def describing(scorer: Scorer, contribution: Contribution) -> None:
    assert_type(scorer.schema, Schema)
    assert_type(scorer.path, Path)
    assert_type((scorer.model_id, scorer.model_digest, scorer.format), tuple[str, str, str])
    assert_type((scorer.engine_name, scorer.engine_version), tuple[str, str])
    assert_type((scorer.cpu_path, knowngood.cpu_paths()), tuple[str | None, tuple[str, ...]])
    assert_type((scorer.precision, scorer.precisions), tuple[str, tuple[str, ...]])
    assert_type((scorer.fpr, scorer.threshold), tuple[float, float])
    assert_type(scorer.operating_point.supported, bool)
    assert_type(scorer.manifest.widths, tuple[int, ...])
    assert_type(contribution.test, Test)
    assert_type((contribution.value, contribution.expected), tuple[float, float])
    assert_type((contribution.z, contribution.share), tuple[float, float])


def lots(scorer: Scorer) -> None:
    lot = assert_type(knowngood.read_lot("lot.stdf.gz", schema=None, good_if="hard_bin == 1"), Lot)
    assert_type(knowngood.merge_lots([lot, lot]), Lot)
    assert_type((lot.values, lot.schema, lot.dies), tuple[Floats, Schema, Dies])
    assert_type(lot.group, NDArray[np.int32])
    assert_type(lot.select(lot.dies.tester_pass == 1), Lot)
    assert_type(lot.dies.wafer, NDArray[np.object_])
    assert_type(Dies.anonymous(3, lot="L1"), Dies)
    judged = assert_type(
        scorer.score_lot(lot, score_fails=True, strict=True, allow_absent=True), LotResult
    )
    assert_type((judged.scores, judged.verdicts), tuple[Floats, Codes])
    assert_type(judged.dispositions, NDArray[np.object_])
    assert_type(judged.warnings, tuple[str, ...])
    assert_type(judged.counts(), dict[str, Any])
    assert_type(judged.write("verdicts.csv"), None)
    table = assert_type(knowngood.read_verdicts("verdicts.csv"), VerdictTable)
    assert_type((table.score, table.verdict), tuple[Floats, Codes])


def schemas(schema: Schema) -> None:
    test = assert_type(Test(1020, "VDD_IDDQ", pin="A1", units="uA", low=None, high=3.5), Test)
    assert_type(Schema((test,), Purpose(part_type="KG1")), Schema)
    assert_type(Schema.anonymous(6), Schema)
    assert_type((test.key, test.label), tuple[tuple[int, str, str], str])
    assert_type((schema.n_tests, schema.digest), tuple[int, str])
    assert_type(schema.select([0, 2]), Schema)


def verdicts(code: int) -> None:
    assert_type(Verdict(code), Verdict)
    assert_type(Reason(code).text, str)
    assert_type(Disposition("keep"), Disposition)


def errors() -> None:
    try:
        knowngood.load("model.kgd")
    except (knowngood.ModelFileError, knowngood.OperatingPointError, knowngood.UsageError) as error:
        assert_type(error.exit_code, int)
    except knowngood.KnowngoodError:
        raise
