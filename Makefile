# `make demo` and `make test` set everything up themselves, on a bare Debian machine with Python 3.11.
# PYTHON=/path/to/python3.12 picks the interpreter; ARGS="..." goes to pytest or the benchmarks.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check format format-check lint types contracts bench clean

BIN := .venv/bin
DEMO := out/demo
ARGS ?=
export PYTHON
export PYTHONUNBUFFERED := 1

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## .venv/, system libraries, packages, models: only what is missing or has changed
	@tools/setup.sh

demo: setup ## the main job on a simulated recording, with its accuracy against truth
	$(BIN)/mien simulate $(DEMO)/recording --preset desk --frames 30 --noise kinect
	$(BIN)/mien run $(DEMO)/recording $(DEMO)
	$(BIN)/mien evaluate $(DEMO)/take.zarr

test: setup ## all tests
	$(BIN)/python -m pytest $(ARGS)

check: format-check lint types contracts test ## everything that CI checks

format: setup ## rewrite the code in the project's format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix-only --exit-zero

format-check: setup ## is the code in the project's format?
	$(BIN)/ruff format --check

lint: setup ## ruff's rules (pyproject.toml says which and why)
	$(BIN)/ruff check

types: setup ## static types
	$(BIN)/basedpyright

contracts: setup ## the arrows between the folders, and one home for each heavy library
	$(BIN)/lint-imports

bench: setup ## our benchmarks beside the peers
	$(BIN)/mien bench $(ARGS)

clean: ## remove what was made, except recordings and results in out/
	rm -rf .venv node_modules build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
