"""Attacks by what lies at the path, or by what the words in a file do where they are shown."""

from __future__ import annotations

import csv
import io
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forged_files import DATA, FILES, fields, named_like_another
from forged_files import edited as forge

import knowngood
from knowngood._commands import main
from knowngood._errors import ModelFileError
from knowngood._kgd import MAX_FILE_BYTES, decode, encode
from knowngood._manifest import Provenance
from knowngood._model_file import read_model
from knowngood._schema import Schema
from tiny_models import tiny_network, tiny_onnx
from traced_memory import MEBIBYTE, peak_bytes

MODEL = decode(DATA, "base").model
POSIX = pytest.mark.skipif(os.name != "posix", reason="pipes and devices are files on POSIX alone")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.kgd"
    path.write_bytes(DATA)
    return path


def named(name: str, pin: str = "", units: str = "V") -> bytes:
    """The file with a test called so."""
    tests = list(MODEL.screen.schema.tests)
    tests[0] = replace(tests[0], name=name, pin=pin, units=units)
    screen = replace(MODEL.screen, schema=replace(MODEL.screen.schema, tests=tuple(tests)))
    return encode(replace(MODEL, screen=screen))


def test_a97_the_file_is_replaced_while_its_scorer_is_used(path):
    scorer = knowngood.load(path)
    values = np.repeat(MODEL.golden.values, 40, axis=0)
    before = scorer.score(values).scores
    path.write_bytes(bytes(len(DATA)))
    np.testing.assert_array_equal(scorer.score(values).scores, before)
    path.unlink()
    assert scorer.at(0.02).score(values).scores.shape == before.shape
    assert scorer.model_digest == DATA[32:64].hex()


def test_a98_the_file_grows_while_it_is_read(path, monkeypatch):
    short = os.stat_result((0o100644, 0, 0, 1, 0, 0, len(DATA), 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _: short)
    assert read_model(path).data == DATA
    path.write_bytes(DATA + bytes(1 << 22))
    with pytest.raises(ModelFileError, match="longer than it was written"):
        read_model(path)


def test_a99_a_symlink(path, tmp_path):
    link = tmp_path / "link.kgd"
    link.symlink_to(path)
    assert read_model(link).digest == DATA[32:64].hex()


@pytest.mark.parametrize("target", ["absent.kgd", "link.kgd"])
def test_a100_a_symlink_to_nothing_or_to_itself(tmp_path, target):
    (tmp_path / "link.kgd").symlink_to(tmp_path / target)
    with pytest.raises(ModelFileError, match=r"cannot read the model .*link\.kgd"):
        read_model(tmp_path / "link.kgd")


@POSIX
def test_a101_a_pipe_that_nobody_writes_to(tmp_path):
    os.mkfifo(tmp_path / "m.kgd")
    errors: list[Exception] = []

    def read() -> None:
        try:
            read_model(tmp_path / "m.kgd")
        except ModelFileError as error:
            errors.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert "m.kgd is a pipe or a device" in str(errors[0])


@POSIX
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a102_a_device_without_an_end(device):
    with pytest.raises(ModelFileError, match="is a pipe or a device"):
        read_model(device)


def test_a103_a_folder(tmp_path):
    (tmp_path / "m.kgd").mkdir()
    with pytest.raises(ModelFileError, match=r"cannot read the model .*m\.kgd"):
        read_model(tmp_path / "m.kgd")


def test_a104_a_file_larger_than_any_model(tmp_path):
    path = tmp_path / "m.kgd"
    with path.open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ModelFileError, match="larger than"):
        read_model(path)
    assert peak_bytes(lambda: read_model(path)) < MEBIBYTE


def test_a105_reading_takes_no_more_memory_than_the_format_promises(path):
    assert peak_bytes(lambda: read_model(path)) < 2 * len(DATA) + MEBIBYTE


def test_a106_a_kgd_named_onnx_and_an_onnx_named_kgd(tmp_path):
    (tmp_path / "m.onnx").write_bytes(DATA)
    with pytest.raises(ModelFileError, match=r"rename it to \.kgd"):
        read_model(tmp_path / "m.onnx")
    (tmp_path / "m.kgd").write_bytes(tiny_onnx(tiny_network()))
    with pytest.raises(ModelFileError, match=r"m\.kgd .*rename it to \.onnx"):
        read_model(tmp_path / "m.kgd")


def test_a107_names_of_tests_that_are_paths(path, tmp_path):
    path.write_bytes(named("../../evil", pin="/etc/passwd"))
    assert main(["unpack", str(path), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.kgd", "out"]
    found = [p.name for p in (tmp_path / "out").rglob("*")]
    assert not [name for name in found if "evil" in name or "passwd" in name]


def test_a108_html_in_the_name_of_a_test(path):
    """The report's own test is ``test_a_hostile_test_name_stays_text``."""
    path.write_bytes(named("</td><script>alert(1)</script>", units="<img src=x>"))
    scorer = knowngood.load(path)
    for page in (scorer._repr_html_(), scorer.schema._repr_html_()):
        assert "<script" not in page
        assert "<img" not in page
    assert "&lt;script&gt;" in scorer.schema._repr_html_()


def test_a109_columns_and_formulas_in_the_name_of_a_test(path, tmp_path):
    hostile = '=cmd|" /C calc"!A1,0,\n"'
    path.write_bytes(named(hostile))
    assert main(["unpack", str(path), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    with (tmp_path / "out" / "golden.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert len(header) == len(rows[0])
    assert f"test 1000 {hostile}" in header
    assert not [cell for cell in header if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


CODES = "\x1b[2J\x1b]0;gone\x07 \u202eevil\r"


@pytest.mark.parametrize("verb", ["inspect", "selftest"])
def test_a110_control_codes_on_a_terminal(path, capsys, verb):
    purpose = replace(MODEL.screen.schema.purpose, part_type=CODES)
    screen = replace(MODEL.screen, schema=Schema(MODEL.screen.schema.tests, purpose))
    notes = Provenance(created=CODES, notes=(CODES,))
    path.write_bytes(encode(replace(MODEL, screen=screen, provenance=notes)))
    assert main([verb, str(path)]) == 0
    shown = capsys.readouterr()
    assert not set("\x1b\x07\u202e\r") & set(shown.out + shown.err)


def test_a111_control_codes_in_a_refusal(path, capsys):
    path.write_bytes(
        forge(named_like_another, fields(schema__1__name=b"\x1b[", schema__4__name=b"\x1b["))
    )
    assert main(["inspect", str(path)]) == 3
    said = capsys.readouterr().err
    assert r"\x1b[" in said
    assert "\x1b" not in said


def test_a112_a_host_that_reads_integers_of_any_length(monkeypatch):
    if hasattr(sys, "set_int_max_str_digits"):
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
    try:
        with pytest.raises(ModelFileError, match=r"manifest: .*rule 25 "):
            decode(FILES["A75"](), "m.kgd")
    finally:
        if hasattr(sys, "set_int_max_str_digits"):
            sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a116_letters_that_the_output_does_not_have(path, monkeypatch, encoding):
    path.write_bytes(named("Größe Ω"))
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(["inspect", str(path)]) == 0
    shown = raw.getvalue().decode(encoding)
    assert r"score \u2264 2 passes" in shown
