SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.bootstrapped
# For two cores: a test waits for servers and disks a third of its time.
WORKERS ?= 3
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# The universal lock serves every Python from 3.11 on; the lowest one decides what it may contain.
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"

.PHONY: help demo test lint format types contracts docs dist deb lock pictures bench chaos fuzz clean

help: ## Show the targets
	@sed -n "s/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p" Makefile | expand -t 20

demo: $(STAMP) ## Tell the story of two laptops and a server, on PostgreSQL of its own
	@$(BIN)/dbsync demo

test: $(STAMP) ## Run the whole test suite (ARGS="-k name" for a part)
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(STAMP) ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP) ## Mend style and formatting
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(STAMP) ## Check types, strictly
	@$(BIN)/mypy

contracts: $(STAMP) ## Check who may import whom
	@$(BIN)/lint-imports

docs: $(STAMP) ## Make the manual in build/docs, warnings as errors, and follow its links, but for those to other sites
	@rm -rf build/docs
	@$(BIN)/sphinx-build -q -E -W --keep-going -b html -d build/doctrees docs build/docs
	@$(BIN)/python -m tests.docs.site build/docs

dist: $(STAMP) ## Make what is released: sdist, wheel, parts list and hashes, in dist/
	@rm -rf dist
	@$(BIN)/python packaging/dist.py

deb: $(STAMP) ## Make a Debian package for the Python of .venv, in build/deb
	@$(BIN)/python packaging/deb.py

lock: $(BIN)/uv ## Write requirements.lock anew from pyproject.toml, and its part that dbsync itself needs
	@$(BIN)/uv pip compile pyproject.toml $(LOCK_FLAGS) --extra dev $(ARGS) -o requirements.lock > /dev/null
	@$(BIN)/uv pip compile pyproject.toml $(LOCK_FLAGS) --constraint requirements.lock -o requirements-runtime.lock > /dev/null

pictures: $(STAMP) ## Take the manual's pictures of the dashboard anew, in chromium
	@$(BIN)/python -m tests.docs.pictures

bench: $(STAMP) ## Measure speed and memory beside the alternatives
	@$(BIN)/python -m tests.benchmarks $(ARGS)

chaos: $(STAMP) ## Break everything at once for minutes, from a seed (ARGS="--seed 7"), and compare
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(STAMP) ## Make up schemas and statements, from seeds (ARGS="--seed 7 --stories 20 --tiers 2"), and compare
	@$(BIN)/python -m tests.fuzz $(ARGS)

clean: ## Remove what the other targets made
	@rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find dbsync tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@echo "preparing $(VENV) from requirements.lock ..." >&2
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "dbsync needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make a virtual environment: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q dbsync tests  # an editable install leaves it to the first start, and that may not write
	@touch $@

# Its own rule, since the environment cannot be made while the lock is behind pyproject.toml.
$(BIN)/uv:
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install uv
