"""``knowngood`` itself: verbs, help, exit codes, and which errors show what."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

import knowngood
import knowngood._commands as commands
from knowngood._commands import Command, main
from knowngood._errors import (
    GateError,
    InputError,
    MissingExtraError,
    ModelFileError,
    SchemaMismatchError,
    UsageError,
)


@pytest.fixture
def verb(monkeypatch):
    """Registers a verb ``try`` that runs a function of the test."""

    def register(run, module="knowngood._commands.score"):
        command = Command("try", "a verb for tests", lambda parser: None, run)
        point = EntryPoint("try", f"{module}:command", commands.ENTRY_POINT_GROUP)
        monkeypatch.setattr(commands, "_registered_verbs", lambda: {"try": point})
        monkeypatch.setattr(commands, "_load", lambda _: command)

    return register


def raising(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GateError("too many flips"), 1),
        (UsageError("wrong use"), 2),
        (MissingExtraError("an extra"), 2),
        (InputError("a bad lot"), 3),
        (SchemaMismatchError("other units"), 3),
        (ModelFileError("a bad model"), 3),
    ],
)
def test_errors_become_exit_codes_and_one_line(verb, capsys, error, code):
    verb(raising(error))
    assert main(["try"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"knowngood: {error}\n"


def test_the_verbs_own_exit_code(verb):
    verb(lambda args: 7)
    assert main(["try"]) == 7


@pytest.mark.parametrize("arguments", [["--debug", "try"], ["try", "--debug"]])
def test_debug_shows_the_traceback(verb, arguments):
    verb(raising(UsageError("wrong use")))
    with pytest.raises(UsageError):
        main(arguments)


def test_debug_by_environment(verb, monkeypatch):
    verb(raising(UsageError("wrong use")))
    monkeypatch.setenv("KNOWNGOOD_DEBUG", "1")
    with pytest.raises(UsageError):
        main(["try"])
    monkeypatch.setenv("KNOWNGOOD_DEBUG", "0")
    assert main(["try"]) == 2


def test_a_defect_of_ours_keeps_its_traceback(verb):
    verb(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["try"])


def test_interrupt(verb, capsys):
    verb(raising(KeyboardInterrupt()))
    assert main(["try"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_argument_errors_are_2(verb, capsys):
    verb(lambda args: 0)
    assert main(["try", "--unknown"]) == 2
    assert "unrecognized arguments: --unknown" in capsys.readouterr().err
    assert main(["--unknown", "try"]) == 2


def test_unknown_verb_and_no_verb(capsys):
    assert main(["scroe"]) == 2
    err = capsys.readouterr().err
    assert "no verb 'scroe'" in err
    assert "score" in err
    assert main([]) == 2
    assert "score " in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"knowngood {knowngood.__version__}\n"


def test_a_module_missing_in_an_export_verb_names_the_extra(verb, capsys):
    verb(raising(ModuleNotFoundError("No module", name="torch")), "knowngood_export._commands.x")
    assert main(["try"]) == 2
    err = capsys.readouterr().err
    assert "'knowngood try' needs torch" in err
    assert "pip install 'knowngood[export]'" in err


def test_a_module_of_ours_that_is_missing_is_no_missing_extra(verb):
    name = "knowngood_export.nothing"
    verb(raising(ModuleNotFoundError("No module", name=name)), "knowngood_export._commands.x")
    with pytest.raises(ModuleNotFoundError):
        main(["try"])


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_help_lists_every_verb_and_imports_nothing_heavy():
    run = run_python(
        "import sys; from knowngood._commands import main; code = main(['--help']);"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'pyarrow', 'matplotlib', 'sklearn'};"
        "print('HEAVY', sorted(heavy & set(sys.modules))); sys.exit(code)"
    )
    assert run.returncode == 0, run.stderr
    for name in ("score", "inspect"):
        line = next(x for x in run.stdout.splitlines() if x.strip().startswith(name + " "))
        assert len(line.split()) > 3
    assert "HEAVY []" in run.stdout


def test_a_reader_that_goes_away_is_no_error():
    run = subprocess.run(
        f"set -o pipefail; {sys.executable} -m knowngood --help | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in run.stderr
    assert "BrokenPipe" not in run.stderr
    assert run.stdout.strip() in ("0", "141")


@pytest.mark.parametrize("name", ["score", "inspect"])
def test_verb_help(capsys, name):
    assert main([name, "--help"]) == 0
    assert f"usage: knowngood {name}" in capsys.readouterr().out
