# Everything a newcomer needs: `make demo` shows the whole job, `make test` is the gate.
# Both set up .venv by themselves; they need Python 3.11 and a C compiler.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint bench bench-quick wheel clean

demo: .venv/.demo
	$(BIN)/knowngood demo -o out/demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
# on PATH, as --verifytypes asks the first `python` there where knowngood lies: where another
# Python comes first, the package is not found and counts as 0 % complete
	PATH="$(CURDIR)/$(BIN):$$PATH" basedpyright --verifytypes knowngood --ignoreexternal
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python -m benchmarks

bench-quick: .venv/.dev
	$(BIN)/python -m benchmarks --quick

wheel: .venv/.dev
	$(BIN)/python -m build

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[export,report]'
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	touch $@ .venv/.demo

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "knowngood trains on Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .venvs build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis
