# Everything runs in a virtual environment that is made on first use: python3 and make are all you need.
#
#   make demo     kill -9 a process that waits, start another, see the order complete
#   make test     the test suite                       make test ARGS="tests/storage -x"
#   make lint     style (code and English), types and layers
#   make flights  a year of real flights, compared     make flights ARGS="--kill"
#   make bench    a quick round of every benchmark     make bench ARGS="counter --callers 64"
#   make docs     the documentation as a site, in build/site
#   make format   let ruff rewrite what it can
#   make clean    remove the environments and what tools left behind
#
# Another interpreter:  make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Test processes: two for each core, at most eight, because many tests wait for a process that they have started.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(max(os.cpu_count() or 1, min(8, 2 * (os.cpu_count() or 1))))' 2>/dev/null || echo auto)

# Many tests start processes and four workers read all test files: without caches each of them compiles everything anew.
export PYTHONDONTWRITEBYTECODE :=

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
BIN := $(VENV)/bin
# One stamp for each extra and interpreter version: it is renewed when what it was made from changes.
INSTALLED := $(VENV)/.installed-$(VERSION)
# Tests that run type checkers: they belong to `make types`.
CHECKED := tests/typing tests/docs/test_types.py
TEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help demo flights test test-quick lint style types mypy pyright scripts checked layers bench docs format clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(INSTALLED)-cli
	$(BIN)/python -m actors demo $(ARGS)

flights: $(INSTALLED)-examples
	$(BIN)/python -m examples.flights $(ARGS)

test: $(INSTALLED)-dev
	$(TEST) $(if $(filter $(addsuffix %,$(CHECKED)),$(ARGS)),,$(addprefix --ignore=,$(CHECKED))) $(ARGS)

# What a second interpreter has to prove: everything but the long runs, the files and the tools, which are the same on each.
test-quick: $(INSTALLED)-tests
	SIMULATIONS=$${SIMULATIONS:-15} $(TEST) --ignore=tests/crash --ignore=tests/typing --ignore=tests/conformance \
		--ignore=tests/user_bugs --ignore=tests/worlds/test_pytest_plugin.py \
		--ignore=tests/packaging --ignore=tests/benchmarks --ignore=tests/restate_servers --ignore=tests/docs \
		--ignore=tests/http/test_schemathesis.py --ignore=tests/cli --ignore=tests/acceptance --ignore=tests/storage \
		--ignore=tests/serving --ignore=tests/console $(ARGS)

lint: style types layers

style: $(INSTALLED)-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m pytest -q tests/packaging/test_language.py

types: mypy pyright scripts checked

mypy: $(INSTALLED)-dev
	$(BIN)/mypy

pyright: $(INSTALLED)-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

scripts: $(INSTALLED)-dev
	$(BIN)/python -m tools.scripts

checked: $(INSTALLED)-dev
	$(BIN)/python -m pytest -q $(CHECKED)

layers: $(INSTALLED)-dev
	$(BIN)/lint-imports --no-cache

bench: $(INSTALLED)-bench
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(INSTALLED)-docs
	$(BIN)/python -m tools.site

format: $(INSTALLED)-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED)-%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -e $(VENV)/.python-$(VERSION) || { \
	  $(PYTHON) -m venv --clear $(VENV) && touch $(VENV)/.python-$(VERSION); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[$*]'
	@touch $@
