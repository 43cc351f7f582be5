# Everything a user or a contributor types. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Set to cpu to install torch without CUDA: make install TORCH_BACKEND=cpu
TORCH_BACKEND ?=
WORKERS ?= 2
RUNS ?= runs

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all parity lint types format bench tiny-clip real-clips check clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  \1|/' | column -t -s '|'

install: $(VENV)/.installed ## create the environment and install the package in it

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python \
		$(if $(TORCH_BACKEND),--torch-backend=$(TORCH_BACKEND)) -c constraints.txt -e ".[dev]"
	@touch $@

demo: install ## train and use the dual-encoder on a rendered world, in minutes, without a GPU
	$(BIN)/python -m video_adapt.reports.demo --out $(RUNS)/demo

real-clips: install ## the same on annotated real video (VIDEO_ADAPT_REAL_VIDEOS names the folder)
	$(BIN)/python -m video_adapt.reports.real_clips --out $(RUNS)/real_clips

test: install ## the default test suite
	$(BIN)/python -m pytest -n $(WORKERS)

test-all: install ## the slow tests too
	$(BIN)/python -m pytest -n $(WORKERS) -m "not gpu and not weights"

parity: install ## numbers recorded on the original implementations (VIDEO_ADAPT_PARITY_DIR)
	$(BIN)/python -m pytest tests/parity

lint: install ## style, formatting and types, as CI checks them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: install ## types alone
	$(BIN)/mypy

format: install ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## speed and memory, side by side, as tables and pictures
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[bench]"
	$(BIN)/video-adapt bench --out $(RUNS)/bench

tiny-clip: install ## pre-train the shipped tiny CLIP again, on stills of the rendered world
	$(BIN)/python -m video_adapt.reports.tiny_clip

check: lint test ## exactly what CI runs

clean: ## remove the environment and every run
	rm -rf $(VENV) $(RUNS) .pytest_cache .mypy_cache .ruff_cache
