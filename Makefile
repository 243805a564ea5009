# make demo       learn the neutrino posterior: out/neutrinos/{report.html, neutrinos.posterion, ...}
# make test       all checks: format, lint, types, floors, tests, doctests, the pages' code
# make test-slow  the tests of minutes rather than seconds
# make bench      the stress targets and the figures of benchmarks/RESULTS.md
# make peers      .venv-peers, with what benchmarks/flows compares with
# make docs       docs/reference.md anew, from the docstrings
# make format     let ruff mend what it can
# make clean      remove what the other targets made; `make distclean` the environment too
#
# Another interpreter: make test PYTHON=python3.12
# With XLA's optimiser, which the tests leave out to compile faster: XLA_FLAGS= make test

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Stamps: the environment is brought up to date when the declared dependencies change.
BASE := $(BIN)/.posterion-nufit
DEV := $(BIN)/.posterion-dev
PEERS := .venv-peers

.PHONY: demo test lint test-slow bench peers docs format clean distclean

demo: $(BASE)
	$(BIN)/posterion run neutrinos --out out/neutrinos

test: lint
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: $(DEV)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

test-slow: $(DEV)
	XLA_FLAGS= $(BIN)/pytest -m slow

bench: $(DEV)
	$(BIN)/python -m benchmarks

peers: $(PEERS)/.posterion-peers

docs: $(DEV)
	$(BIN)/python docs/make_reference.py

format: $(DEV)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Posterion needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[nufit]'
	touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[nufit,dev]'
	touch $(BASE) $@

# PyTorch first, so that nothing that needs it brings another one.
$(PEERS)/.posterion-peers: benchmarks/flows/requirements.txt constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --constraint constraints.txt $$(grep '^torch==' $<)
	$(PEERS)/bin/python -m pip install --constraint constraints.txt --requirement $<
	touch $@

clean:
	rm -rf out/neutrinos dist .cache .pytest_cache .ruff_cache .import_linter_cache
	find . -path ./$(VENV) -prune -o -path ./$(PEERS) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(PEERS)
