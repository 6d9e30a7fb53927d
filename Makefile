# Every target sets up .venv by itself, and again only when pyproject.toml or constraints.txt changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process of tests for each core; a file's tests share what they set up.
TESTS := $(BIN)/python -m pytest -q -n auto --dist loadfile
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all check docs format bench clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

demo: $(VENV)/.demo ## a faulty training script: diagnosis, repair, proof (about a minute)
	$(BIN)/normscope demo --output out

test: check ## style, types, layers of imports, documentation, and every test that is not slow
	$(TESTS)

test-all: $(VENV)/.all check ## the same with the slow tests
	$(TESTS) -m ""

check: $(VENV)/.dev ## all but the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python scripts/build_docs.py --check

docs: $(VENV)/.dev ## write docs/rules from the rules' own docstrings, docs/failures.md from the twins
	$(BIN)/python scripts/build_docs.py

format: $(VENV)/.dev ## sort, mend and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev ## what observing costs: paired runs (about an hour)
	$(BIN)/python benchmarks/overhead.py --write

clean: ## remove the environment and what tools leave behind
	rm -rf $(VENV) out .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "normscope needs Python 3.11 or newer; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.demo $@

$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev,jax,ray,tensorflow,trainers,zoo]'
	@touch $(VENV)/.demo $(VENV)/.dev $@
