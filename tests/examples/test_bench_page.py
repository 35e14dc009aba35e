"""The example of docs/bench.md runs, and its options are the command's."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from knowngood._commands.bench import configure
from knowngood._kgd import encode
from knowngood.latency import BenchResult
from sealed_models import seal_up
from tiny_models import tiny_network

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.kgd").write_bytes(encode(seal_up(tiny_network())))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/bench.md", "exec"), names)
    result = names["result"]
    assert isinstance(result, BenchResult)
    assert [row.condition for row in result.calls] == ["hot", "rescored", "idle"]
    assert "Host interrupts:" in capsys.readouterr().out


def test_every_option_is_explained_and_every_explained_option_is_there() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    configure(parser)
    options = {name for action in parser._actions for name in action.option_strings}
    table = PAGE.split("| `MODEL…`")[1].split("\n\n")[0]
    assert set(re.findall(r"--[a-z-]+", table)) == options
