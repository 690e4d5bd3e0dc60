# Each target is the only command needed: it creates .venv and installs everything first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers

.PHONY: demo test check bench screenshots lint types contracts clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml
	@echo "Installing agentctl and what it needs into $(VENV); this happens once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(PEERS): $(READY)
	@echo "Installing the task queues that ours is measured beside."
	$(BIN)/python -m pip install --quiet --editable '.[bench]' && touch $@ || echo "Without them: a bench is skipped."

demo: $(READY)
	$(BIN)/agentctl demo

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

check: lint types contracts

bench: $(PEERS)
	$(BIN)/python -m pytest tests/bench -p no:xdist -q -s

screenshots: $(READY)
	$(BIN)/python tests/screenshots.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
