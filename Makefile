# `make demo` and `make test` need Python 3.11+ and nothing else; both set up .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Pinned and installed first: anything that depends on an unpinned torch pulls gigabytes of CUDA.
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
include make/vllm.mk

.PHONY: demo test lint types tests clean help

help:
	@echo "make demo       run the whole chain on the bundled samples (no key, GPU or download)"
	@echo "make test       lint, type-check and test"
	@echo "make test-vllm  test the real vLLM engine on a CPU (an environment of 2.5 GB)"
	@echo "make clean      remove the environments (not the data)"

demo: $(VENV)/.core
	@$(BIN)/persona-assets demo

test: lint types tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

tests: $(VENV)/.dev
	$(BIN)/pytest -m "not vllm"

$(VENV)/.core: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV) || \
		{ echo "No virtual environment could be made; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing persona_assets into $(VENV) (a minute or two) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing what the tests need (torch among it, a few minutes) ..."
	@$(PIP) "$(TORCH)"
	@$(PIP) --editable '.[dev,labse]'
	@touch $@

clean:
	rm -rf .venv .venv-*
