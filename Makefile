# vibraloom: everything lives in ./.venv and in this folder. `make` installs, `make demo` shows, `make test` checks.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := install
.NOTPARALLEL:
.PHONY: install demo test lint resolve soak flagship bench bench-spectra docs clean help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed-all-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check
# numerical libraries that each take every core get in each other's way
export OMP_NUM_THREADS ?= 1

install: $(STAMP) ## install vibraloom and every engine into ./.venv (the default; a second time it does nothing)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: $(PYTHON) is not Python 3.11 or newer ($$($(PYTHON) --version 2>&1 | head -n 1)); say which: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "make: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing vibraloom and its engines into $(VENV): a few minutes the first time"
	$(PIP) install --quiet --editable '.[all,dev]'
	@touch $@
	@echo "done; next: make demo, or: . $(BIN)/activate && vibraloom --help"

demo: install ## from two specs to spectra, pictures and provenance in demo-output/
	$(BIN)/vibraloom init
	$(BIN)/vibraloom run examples/h2o.yaml -o demo-output/water-molecule
	$(BIN)/vibraloom run examples/au111-water.yaml -o demo-output/gold-water
	$(BIN)/vibraloom list
	@echo "pictures, tables and provenance: demo-output/"

test: lint ## every check and test but the long ones
	$(BIN)/python -m pytest tests -m "not soak and not flagship"

lint: install ## style, types and the walls between the rooms
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=.typing $(BIN)/lint-imports

resolve: install ## do the requirements resolve to wheels on the next Pythons? (asks the package index, installs nothing)
	@for version in 3.12 3.13; do \
	  $(PIP) install --dry-run --quiet --ignore-installed --only-binary=:all: --python-version $$version \
	    --target $(VENV)/resolved '.[workflows]' || { echo "make: no set of wheels for Python $$version" >&2; exit 1; }; \
	  echo "Python $$version: vibraloom[workflows] resolves"; \
	done

soak: install ## reliability runs that take long
	$(BIN)/python -m pytest tests -m soak

flagship: install ## production figures; hours
	$(BIN)/python -m pytest tests -s -m flagship

bench: install ## time the command's start and the workflow's overhead
	$(BIN)/python benchmarks/cli_start.py
	$(BIN)/python benchmarks/overhead.py

bench-spectra: install ## time the spectra engine against its peers, and write the table into docs (an hour)
	$(BIN)/python benchmarks/spectra.py --write

docs: install ## write the reference pages again
	$(BIN)/python docs/reference/generate.py

clean: ## remove the environment, caches and demo output; the profile in .vibraloom stays (vibraloom uninstall removes it)
	rm -rf $(VENV) build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18
