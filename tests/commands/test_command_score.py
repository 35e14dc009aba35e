from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from knowngood._commands import main
from knowngood._opening import load
from knowngood._verdict_table import read_verdicts
from knowngood.stdf import write_lot
from tiny_lots import tiny_lot
from tiny_models import tiny_network, tiny_onnx

NETWORK = tiny_network(threshold=2.5)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(NETWORK))
    write_lot(tmp_path / "lot.stdf", finite_lot())
    write_lot(tmp_path / "lot2.stdf.gz", finite_lot("L2", 12))
    return tmp_path


def finite_lot(name: str = "L1", n_dies: int = 40):
    lot = tiny_lot(NETWORK, n_dies, lot=name)
    values = np.where(np.isinf(lot.values), np.float32(1), lot.values)
    return replace(lot, values=values)


def run(folder, *arguments: str) -> int:
    return main(["score", str(folder / "model.onnx"), *arguments])


def test_scores_a_lot_as_python_does(folder, capsys):
    out = folder / "verdicts.csv"
    assert run(folder, str(folder / "lot.stdf"), "-o", str(out)) == 0
    import knowngood

    lot = knowngood.read_lot(folder / "lot.stdf")
    expected = load(folder / "model.onnx").score_lot(lot)
    table = read_verdicts(out)
    np.testing.assert_array_equal(table.score, expected.scores)
    np.testing.assert_array_equal(table.verdict, expected.verdicts)
    text = capsys.readouterr().out
    assert "40 in 1 lot: 1 hold" in text
    assert "1 outlier, 1 tester fail" in text
    assert "1 no data, 1 tester fail" in text
    assert "nominal yield loss 0.50%" in text


def test_several_lots_become_one_table(folder, capsys):
    out = folder / "verdicts.parquet"
    inputs = [str(folder / "lot.stdf"), str(folder / "lot2.stdf.gz")]
    assert run(folder, *inputs, "-o", str(out), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    table = read_verdicts(out)
    assert table.lot.tolist() == ["L1"] * 40 + ["L2"] * 12
    assert answer["output"] == str(out)
    assert answer["counts"]["dies"] == 52
    assert [source["path"] for source in answer["inputs"]] == inputs
    assert all(len(source["sha256"]) == 64 for source in answer["inputs"])
    assert answer == {"output": str(out), **table.run}


def test_what_was_odd_in_a_file_is_told(folder, capsys):
    data = (folder / "lot.stdf").read_bytes()
    (folder / "cut.stdf").write_bytes(data[: len(data) * 3 // 4 + 1])
    inputs = [str(folder / "lot.stdf"), str(folder / "cut.stdf")]
    assert run(folder, *inputs, "-o", str(folder / "v.csv")) == 0
    odd = [line for line in capsys.readouterr().out.splitlines() if line.startswith("odd ")]
    assert any("cut.stdf: the file breaks off" in line for line in odd)
    assert not any("lot.stdf" in line for line in odd)


def test_a_warning_names_its_lot(folder, capsys):
    bad = finite_lot("L3")
    write_lot(folder / "bad.stdf", replace(bad, values=bad.values * np.float32(1.5)))
    inputs = [str(folder / "lot2.stdf.gz"), str(folder / "bad.stdf")]
    assert run(folder, *inputs, "-o", str(folder / "v.csv")) == 0
    assert "warning   bad.stdf: " in capsys.readouterr().out


def test_quiet_prints_nothing(folder, capfd):
    assert run(folder, str(folder / "lot.stdf"), "-o", str(folder / "v.csv"), "--quiet") == 0
    assert capfd.readouterr() == ("", "")


def test_operating_point_and_score_fails(folder):
    out = str(folder / "v.csv")
    assert run(folder, str(folder / "lot.stdf"), "-o", out, "--fpr", "0.02", "--score-fails") == 0
    table = read_verdicts(out)
    assert set(table.threshold.tolist()) == {1.5}
    assert np.isfinite(table.score[0])
    assert str(table.disposition[0]) == "tester_fail"
    assert table.run["options"]["score_fails"] is True


def test_an_unsupported_point_says_what_to_ask_for(folder, capsys):
    out = folder / "v.csv"
    arguments = [str(folder / "lot.stdf"), "-o", str(out), "--fpr", "0.001"]
    assert run(folder, *arguments) == 2
    err = capsys.readouterr().err
    assert "--extrapolate" in err
    assert "--fpr): 0.005, 0.02" in err
    assert not out.exists()
    assert run(folder, *arguments, "--extrapolate") == 0
    assert "extrapolated" in capsys.readouterr().out


def test_good_if(folder):
    table = folder / "lot.csv"
    header = ",".join(f"{t.number} {t.name} [{t.units}]" for t in NETWORK.screen.schema.tests)
    row = ",".join(str(v) for v in NETWORK.screen.scaler.centre[0])
    table.write_text(f"result,{header}\npass,{row}\nfail,{row}\n")
    out = folder / "v.csv"
    assert run(folder, str(table), "-o", str(out), "--good-if", 'result == "pass"') == 0
    verdicts = read_verdicts(out)
    assert [str(d) for d in verdicts.disposition] == ["keep", "tester_fail"]
    assert verdicts.run["options"]["good_if"] == 'result == "pass"'


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["lot.stdf", "-o", "v.txt"], 2, ".csv or .parquet"),
        (["lot.stdf", "-o", "nowhere/v.csv"], 2, "nowhere"),
        (["nothing.stdf", "-o", "v.csv"], 3, "nothing.stdf"),
        (["model.onnx", "-o", "v.csv"], 3, "model.onnx"),
        (["lot.stdf", "-o", "v.csv", "--engine", "native"], 2, "does not run .onnx"),
        (["lot.stdf", "-o", "v.csv", "--engine", "litert"], 2, "does not run .onnx"),
        (["lot.stdf", "-o", "v.csv", "--fpr", "0.3"], 2, "no operating point"),
        (["lot.stdf", "-o", "v.csv", "--fpr", "high"], 2, "invalid float value"),
        (["lot.stdf"], 2, "-o/--output"),
    ],
)
def test_wrong_use_and_bad_files(folder, monkeypatch, capsys, arguments, code, says):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert main(["score", "model.onnx", *arguments]) == code
    assert says in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_an_input_is_never_overwritten(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "lot.csv").write_text("T0\n1\n")
    assert main(["score", "model.onnx", "lot.csv", "-o", str(folder / "lot.csv")]) == 2
    assert "also what is read" in capsys.readouterr().err
    assert (folder / "lot.csv").read_text() == "T0\n1\n"


def test_a_bad_model(folder, capsys):
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert run(folder, str(folder / "lot.stdf"), "-o", str(folder / "v.csv")) == 3
    assert "model.onnx is damaged" in capsys.readouterr().err


def test_a_lot_of_other_tests_is_refused_by_name(folder, capsys):
    lot = finite_lot()
    tests = (replace(lot.schema.tests[0], units="mV"), *lot.schema.tests[1:])
    other = replace(lot, schema=replace(lot.schema, tests=tests))
    write_lot(folder / "other.stdf", other)
    out = folder / "v.csv"
    assert run(folder, str(folder / "lot.stdf"), str(folder / "other.stdf"), "-o", str(out)) == 3
    err = capsys.readouterr().err
    assert "other.stdf" in err
    assert "1000 T0" in err
    assert not out.exists()


def test_strict_and_allow_absent(folder, capsys):
    lot = finite_lot()
    tests = (replace(lot.schema.tests[0], high=99.0), *lot.schema.tests[1:])
    write_lot(folder / "limits.stdf", replace(lot, schema=replace(lot.schema, tests=tests)))
    out = ["-o", str(folder / "v.csv")]
    assert run(folder, str(folder / "limits.stdf"), *out) == 0
    assert "warning   test '1000 T0': limits" in capsys.readouterr().out
    assert run(folder, str(folder / "limits.stdf"), *out, "--strict") == 3

    fewer = replace(lot, values=lot.values[:, 1:], schema=lot.schema.select(range(1, 6)))
    write_lot(folder / "fewer.stdf", fewer)
    assert run(folder, str(folder / "fewer.stdf"), *out) == 3
    assert run(folder, str(folder / "fewer.stdf"), *out, "--allow-absent") == 0
    assert read_verdicts(folder / "v.csv").n_missing.min() == 1
