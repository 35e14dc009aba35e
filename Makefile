# Everything a newcomer needs: `make demo` shows the whole job, `make test` is the gate.
# Both set up .venv by themselves; they need Python 3.11 and a C compiler.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What the compiled engine is made of, folders too, which are newer once a file of theirs is gone: an
# editable install does not build it again by itself, so every target that runs it does, by
# .venv/.engine.
ENGINE := $(wildcard $(addprefix runtime/engine/, CMakeLists.txt cmake cmake/* include include/* \
	src src/* src/*/*.[ch] python/CMakeLists.txt python/_native.c))

.NOTPARALLEL: # installs into one environment
.PHONY: demo test engine-checks lint bench bench-quick wheel clean

demo: .venv/.demo .venv/.engine
	$(BIN)/knowngood demo -o out/demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# What of `test` concerns the C engine: every path and compiler, the library installed, sanitizers, a
# minute of fuzzing.
engine-checks: .venv/.dev .venv/.engine
	$(BIN)/python -m pytest tests/engine -n 2 --dist loadfile

lint: .venv/.dev .venv/.engine
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
# on PATH, as --verifytypes asks the first `python` there where knowngood lies: where another
# Python comes first, the package is not found and counts as 0 % complete
	PATH="$(CURDIR)/$(BIN):$$PATH" basedpyright --verifytypes knowngood --ignoreexternal
	$(BIN)/lint-imports

bench: .venv/.dev .venv/.engine
	$(BIN)/python -m benchmarks

bench-quick: .venv/.dev .venv/.engine
	$(BIN)/python -m benchmarks --quick

wheel: .venv/.dev
	$(BIN)/python -m build

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[export,report]'
	touch $@ .venv/.engine

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	touch $@ .venv/.demo .venv/.engine

.venv/.engine: $(ENGINE)
	$(INSTALL) --no-deps -e .
	touch $@

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "knowngood trains on Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .venvs build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	git clean -fdXq runtime/engine/python runtime/knowngood
