"""The examples of docs/runtime.md run from top to bottom, and do what the page says of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import knowngood
from knowngood._kgd import encode
from knowngood.stdf import write_lot
from sealed_models import seal_up
from tiny_lots import tiny_lot
from tiny_models import tiny_network

PAGE = Path(__file__).resolve().parents[2] / "docs" / "runtime.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of two sites and a lot with an outlier, an empty die and a tester fail."""
    network = tiny_network(groups=(-1, 65536, 65537))
    lot = tiny_lot(network)
    values = np.where(np.isinf(lot.values), np.float32(1), lot.values)  # no STDF holds infinities
    (tmp_path / "model.kgd").write_bytes(encode(seal_up(network)))
    write_lot(tmp_path / "lot7.stdf", replace(lot, values=values))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run_in_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/runtime.md, example {number}", "exec"), names)
    out = capsys.readouterr().out
    scorer, lot = names["scorer"], names["lot"]
    assert isinstance(scorer, knowngood.Scorer)
    assert isinstance(lot, knowngood.Lot)
    assert out.startswith("native verified 2.0 " + scorer.model_id)
    assert re.search(r"^nan UNSCORED no data$", out, re.M)
    assert re.search(r"^[0-9.]+ REJECT $", out, re.M)
    assert re.search(r"^1030 T3 .* V ", out, re.M)
    assert "temperature: the model is for '25', the data are of '-40'" in out
    np.testing.assert_array_equal(names["verdicts"], scorer.score(lot.values[:8]).verdicts)
    assert np.shape(names["codes"]) == (40, 3)
    assert getattr(names["copy"], "fpr", None) == 0.02
    record = json.loads((folder / "verdicts.csv.run.json").read_text())
    assert record["model"]["model_id"] == scorer.model_id


def test_the_page_has_an_example_of_every_call_of_a_scorer() -> None:
    calls = {
        name
        for name in vars(knowngood.Scorer)
        if not name.startswith("_") and callable(getattr(knowngood.Scorer, name))
    }
    plumbing = {"residuals", "explain"}  # what top_tests is made of
    code = "\n".join(BLOCKS)
    assert {name for name in calls - plumbing if f".{name}(" not in code} == set()
