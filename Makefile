# One verb per task, the same here and in continuous integration. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPO ?= .
STAMP := $(VENV)/.installed
FOLDER ?= $(HOME)/.cache/starling-base
MINUTES ?= 0
WORKERS ?= 2
# Large tensors on large pages, kept between steps: a third faster on a CPU (docs/experiments.md).
MALLOC := glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592

.DEFAULT_GOAL := help
.PHONY: page vsix help setup ggml demo tiny-base real-bases test check fmt

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## create .venv with everything in it (torch first, versions pinned)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Starling needs Python 3.11 to 3.13: name one with 'make setup PYTHON=/path/to/python3.12'."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

ggml: setup ## build llama.cpp's Python package, which the tests of GGUF files run them in (six minutes on two cores, once)
	$(BIN)/python -c 'import llama_cpp' 2>/dev/null || CMAKE_BUILD_PARALLEL_LEVEL=$$(nproc) \
	  $(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,ggml]'

demo: setup ## train on a repository (REPO=path, this one by default) and ask three completions
	$(BIN)/python -m starling_training.demo --repo "$(REPO)"

tiny-base: setup ## make the bundled base anew, or go on with it (FOLDER=where MINUTES=at most FLAGS=others)
	GLIBC_TUNABLES=$(MALLOC) $(BIN)/python -m starling_training.base all \
	  --folder "$(FOLDER)" --minutes $(MINUTES) $(FLAGS)

real-bases: ## fetch real weights and vocabularies (0.6 GB) for the tests marked `real` (FLAGS=--all: 1.7 GB)
	$(PYTHON) tests/real_bases.py $(FLAGS)

test: setup ## run every test, WORKERS=2 at a time (editors too, where they can be installed)
	tests/editors/install_neovim.sh || test -z "$$STARLING_REQUIRE_EDITORS"
	{ tests/editors/install_vscode.sh && $(MAKE) vsix; } || test -z "$$STARLING_REQUIRE_EDITORS"
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: setup ## lint, format, types, import contracts, Lua
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	tests/editors/check_lua.sh

fmt: setup ## format and fix what can be fixed by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	tests/editors/check_lua.sh --fix

vsix: ## package the VS Code extension (needs Node.js): editor-configs/vscode/starling.vsix
	cd editor-configs/vscode && npm ci --no-audit --no-fund --loglevel=error && npm run --silent package

page: ## bundle the page that serve-copilot answers at / (needs Node.js): server/starling_server/page
	cd server/page && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
