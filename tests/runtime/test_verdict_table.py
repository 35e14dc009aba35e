from __future__ import annotations

import csv
import errno
import hashlib
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from knowngood import _atomic
from knowngood._errors import InputError, MissingExtraError, UsageError
from knowngood._judge import LotResult
from knowngood._model_file import parse_model
from knowngood._opening import open_scorer
from knowngood._verdict_table import COLUMN_NAMES, VerdictTable, read_verdicts, write_verdicts
from knowngood._verdicts import Disposition, Reason, Verdict
from tiny_lots import tiny_lot
from tiny_models import tiny_network, tiny_onnx

NETWORK = tiny_network(threshold=2.5)
SCORER = open_scorer(parse_model(tiny_onnx(NETWORK), "tiny.onnx"))
DESIGNED = (
    "lot wafer x y head site part_id hard_bin soft_bin tester_pass n_missing score threshold "
    "verdict reason disposition top_tests"
)


@pytest.fixture(scope="module")
def result() -> LotResult:
    return SCORER.score_lot(tiny_lot(NETWORK))


def assert_same(table: VerdictTable, result: LotResult) -> None:
    dies = result.lot.dies
    for name in COLUMN_NAMES[:10]:
        found, expected = getattr(table, name), getattr(dies, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=name)
    np.testing.assert_array_equal(table.score, result.scores)
    np.testing.assert_array_equal(table.threshold, np.float32(2.5))
    np.testing.assert_array_equal(table.verdict, result.verdicts)
    np.testing.assert_array_equal(table.reason, result.reasons)
    np.testing.assert_array_equal(table.disposition, result.dispositions)
    assert all(isinstance(d, Disposition) for d in table.disposition)
    np.testing.assert_array_equal(table.top_tests, result.top_texts())
    np.testing.assert_array_equal(table.n_missing, result.n_missing)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_read_back_equal(tmp_path, result, suffix):
    path = tmp_path / f"verdicts{suffix}"
    result.write(path)
    assert_same(read_verdicts(path), result)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}.run.json"]


def test_the_csv_as_the_csv_module_reads_it(tmp_path, result):
    result.write(tmp_path / "v.csv")
    data = (tmp_path / "v.csv").read_bytes()
    assert b"\r" not in data
    rows = list(csv.DictReader(data.decode().splitlines()))
    assert list(rows[0]) == DESIGNED.split()
    assert len(rows) == 40
    assert rows[0]["tester_pass"] == "false"
    assert (rows[0]["verdict"], rows[0]["reason"], rows[0]["score"]) == (
        "UNSCORED", "tester fail", "",
    )  # fmt: skip
    assert (rows[1]["disposition"], rows[1]["reason"]) == ("outlier", "")
    assert rows[1]["top_tests"].startswith("1030 T3=+")
    assert np.float32(rows[1]["score"]) == result.scores[1]
    assert (rows[4]["x"], rows[4]["hard_bin"]) == ("", "")
    assert rows[5]["tester_pass"] == ""
    assert (rows[6]["x"], rows[6]["y"], rows[6]["site"]) == ("6", "0", "0")


def test_the_parquet_as_pyarrow_reads_it(tmp_path, result):
    import pyarrow as pa
    import pyarrow.parquet as pq

    result.write(tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == DESIGNED.split()
    types = {f.name: f.type for f in table.schema}
    assert (types["score"], types["x"], types["tester_pass"], types["lot"]) == (
        pa.float32(), pa.int32(), pa.bool_(), pa.string(),
    )  # fmt: skip
    assert table.column("score").null_count == 3
    assert table.column("tester_pass").to_pylist()[:6] == [False, True, True, True, True, None]


def test_several_lots_in_order(tmp_path, result):
    other = SCORER.score_lot(tiny_lot(NETWORK, n_dies=9, lot="L2"))
    write_verdicts(tmp_path / "v.csv", [result, other])
    table = read_verdicts(tmp_path / "v.csv")
    assert table.lot.tolist() == ["L1"] * 40 + ["L2"] * 9
    assert len(table.run["inputs"]) == 2


def test_run_record(tmp_path, result):
    lot_file = tmp_path / "lot.stdf"
    lot_file.write_bytes(b"some lot")
    written = write_verdicts(
        tmp_path / "v.csv", [result], inputs=[lot_file], good_if="hard_bin == 1"
    )
    record = json.loads((tmp_path / "v.csv.run.json").read_text())
    assert record == written == read_verdicts(tmp_path / "v.csv").run
    assert record["knowngood_run"] == 1
    assert record["model"] == {
        "path": "tiny.onnx",
        "sha256": SCORER.model_digest,
        "model_id": SCORER.model_id,
        "format": "onnx",
        "detector": "autoencoder",
        "precision": "fp32",
        "engine": "onnxruntime",
        "engine_version": SCORER.engine_version,
        "cpu_path": None,
    }
    assert record["inputs"] == [
        {
            "name": "lot.stdf",
            "sha256": hashlib.sha256(b"some lot").hexdigest(),
            "n_dies": 40,
            "path": str(lot_file),
        }
    ]
    assert (record["fpr"], record["threshold"], record["supported"]) == (0.005, 2.5, True)
    assert record["options"] == {
        "score_fails": False, "strict": False, "allow_absent": False, "good_if": "hard_bin == 1",
    }  # fmt: skip
    assert record["counts"]["dispositions"]["outlier"] == 1
    assert record["created"].endswith("+00:00")


def test_a_table_without_its_record_can_be_read(tmp_path, result):
    result.write(tmp_path / "v.csv")
    (tmp_path / "v.csv.run.json").unlink()
    table = read_verdicts(tmp_path / "v.csv")
    assert table.run is None
    assert len(table) == 40


@pytest.mark.parametrize("text", ["{", "[]", '{"knowngood_run": 2}'])
def test_a_damaged_record_is_an_error(tmp_path, result, text):
    result.write(tmp_path / "v.csv")
    (tmp_path / "v.csv.run.json").write_text(text)
    with pytest.raises(InputError, match=r"v\.csv\.run\.json"):
        read_verdicts(tmp_path / "v.csv")


def test_other_suffixes_are_refused(tmp_path, result):
    with pytest.raises(UsageError, match=r"v\.xlsx.*\.csv or \.parquet"):
        result.write(tmp_path / "v.xlsx")
    with pytest.raises(InputError, match="no verdict table"):
        read_verdicts(tmp_path / "v.xlsx")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch, result):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"knowngood\[parquet\]"):
        result.write(tmp_path / "v.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_older_files(tmp_path, monkeypatch, result):
    result.write(tmp_path / "v.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    n_synced = 0

    def fills_up(descriptor):
        nonlocal n_synced
        n_synced += 1
        if n_synced == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_atomic.os, "fsync", fills_up)
    with pytest.raises(UsageError, match="No space left"):
        result.write(tmp_path / "v.csv")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_missing_folder_is_refused(tmp_path, result):
    with pytest.raises(UsageError, match="cannot write"):
        result.write(tmp_path / "nowhere" / "v.csv")


HEADER = ",".join(COLUMN_NAMES)
ROW = "L,W,1,2,1,0,p,1,1,true,0,1.5,2.5,PASS,,keep,"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column lot"),
        ("lot,wafer\na,b\n", "no column x"),
        (f"{HEADER}\nL,W,1\n", "row 2: 3 cells, the header has 17"),
        (f"{HEADER}\n{ROW}\n{ROW.replace(',1.5,', ',high,')}\n", "row 3, column score: 'high'"),
        (f"{HEADER}\n{ROW.replace('true', 'maybe')}\n", "row 2, column tester_pass"),
        (f"{HEADER}\n{ROW.replace('PASS', 'GOOD')}\n", "column verdict"),
        (f"{HEADER}\n{ROW.replace('keep', 'scrap')}\n", "column disposition"),
        (f"{HEADER}\n{ROW.replace(',1,2,', ',99999999999,2,')}\n", "column x"),
        (f"{HEADER}\n{ROW.replace('W,1,2,1,', 'W,1,2,,')}\n", "column head"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, says):
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_verdicts(tmp_path / "v.csv")
    assert "v.csv" in str(caught.value)


def test_missing_and_binary_tables(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_verdicts(tmp_path / "v.csv")
    (tmp_path / "v.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no verdict table"):
        read_verdicts(tmp_path / "v.csv")
    (tmp_path / "v.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="no Parquet file"):
        read_verdicts(tmp_path / "v.parquet")


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@given(
    scores=hnp.arrays(
        np.float32, 8, elements=st.floats(width=32, allow_nan=True, allow_infinity=False)
    ),
    names=st.lists(texts, min_size=8, max_size=8),
    suffix=st.sampled_from([".csv", ".parquet"]),
)
@settings(max_examples=40, deadline=None)
def test_any_score_and_any_name_come_back(tmp_path_factory, scores, names, suffix):
    lot = tiny_lot(NETWORK, n_dies=8)
    named = np.array([*names, None], dtype=object)[:8]
    dies = replace(lot.dies, lot=named, part_id=named)
    verdicts = np.where(np.isnan(scores), Verdict.UNSCORED, Verdict.PASS).astype(np.int8)
    base = SCORER.score_lot(lot)
    result = replace(
        base,
        lot=replace(base.lot, dies=dies),
        scores=scores,
        verdicts=verdicts,
        reasons=np.where(np.isnan(scores), Reason.NO_DATA, Reason.NONE).astype(np.int8),
        dispositions=np.full(8, Disposition.KEEP, dtype=object),
    )
    path = tmp_path_factory.mktemp("table") / f"v{suffix}"
    result.write(path)
    table = read_verdicts(path)
    np.testing.assert_array_equal(table.score, scores)
    assert table.lot.tolist() == table.part_id.tolist() == names


def test_the_table_has_a_field_for_every_column():
    assert tuple(f.name for f in fields(VerdictTable))[:-1] == COLUMN_NAMES
