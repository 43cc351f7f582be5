# Everything a user or a contributor types. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VA := $(BIN)/video-adapt
# Set to cpu to install torch without CUDA: make install TORCH_BACKEND=cpu
TORCH_BACKEND ?=
WORKERS ?= 2
RUNS := runs
# Four motions that visit the same places in another order: only time tells them apart.
DEMO_WORLD := --size 48 --motions "moves right" "moves left" "moves right and back" "moves left and back"
export VIDEO_ADAPT_REAL_VIDEOS ?= ../shared/data/real_videos

.DEFAULT_GOAL := help
.PHONY: help install demo demo-baselines demo-detection demo-retrieval demo-openvocab compare real-clips test test-all parity lint types format bench tiny-clip check clean

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
	$(VA) world $(RUNS)/demo/world $(DEMO_WORLD) --train 960 --val 160
	$(VA) fit -c experiments/demo/dist.yaml --overwrite=true
	$(VA) fit -c experiments/demo/linear_probe.yaml --overwrite=true
	$(VA) report $(RUNS)/demo/dist $(RUNS)/demo/linear_probe --out $(RUNS)/demo/report
	$(VA) world $(RUNS)/demo/unseen $(DEMO_WORLD) --train 4 --val 4 --seed 1
	$(VA) recognise $(RUNS)/demo/dist/checkpoints/best.ckpt $(RUNS)/demo/unseen/val --plot $(RUNS)/demo/unseen.png
	@echo "report: $(RUNS)/demo/report/report.html   recognised: $(RUNS)/demo/unseen.png"

demo-baselines: demo ## what the other baselines reach on the same data
	$(VA) validate -c experiments/demo/zero_shot.yaml
	for name in attentive_probe evl st_adapter full; do \
		$(VA) fit -c experiments/demo/$$name.yaml --overwrite=true || exit 1; done
	$(VA) report $(foreach name,dist linear_probe attentive_probe evl st_adapter full,$(RUNS)/demo/$(name)) \
		--out $(RUNS)/demo/comparison

# Eight motions and the rests between them: every frame could be of any motion, or of none.
UNTRIMMED := --layout untrimmed --size 48 --fps 4
TUNINGS := frozen side adapter full
SEEDS ?= 0

demo-detection: install ## find segments in long rendered videos, four tunings side by side (SEEDS="0 1 2")
	$(VA) world $(RUNS)/demo/untrimmed $(UNTRIMMED) --train 192 --val 48
	for seed in $(SEEDS); do for tuning in $(TUNINGS); do \
		$(VA) fit -c experiments/demo/detection.yaml --model.init_args.tuning=$$tuning \
			--seed_everything=$$seed --run_dir=$(RUNS)/demo/detection/$${tuning}_$$seed --overwrite=true \
			|| exit 1; done; done
	$(VA) report $(foreach tuning,$(TUNINGS),$(SEEDS:%=$(RUNS)/demo/detection/$(tuning)_%)) \
		--out $(RUNS)/demo/detection/report
	$(VA) world $(RUNS)/demo/untrimmed_unseen $(UNTRIMMED) --train 0 --val 4 --seed 1
	$(VA) detect $(RUNS)/demo/detection/adapter_$(firstword $(SEEDS))/checkpoints/best.ckpt \
		$(RUNS)/demo/untrimmed_unseen/videos --plot $(RUNS)/demo/detection/unseen

# Three shapes of which each is visible while it moves only; the teachers come before the taught.
CAPTIONED := --layout captioned --size 48 --fps 4 --actors 3 --in-turn
RETRIEVERS := meanp untaught xclip ts2net xpool taught_by_one taught_by_three
FOUND_BY = $(RUNS)/demo/retrieval/taught_by_three_$(firstword $(SEEDS))

demo-retrieval: install ## find videos by sentences: students, teachers, taught students (SEEDS="0 1 2")
	$(VA) world $(RUNS)/demo/captioned_in_turn $(CAPTIONED) --train 600 --val 400
	for seed in $(SEEDS); do for name in $(RETRIEVERS); do \
		SEED=$$seed $(VA) fit -c experiments/demo/retrieval_$$name.yaml --seed_everything=$$seed \
			--run_dir=$(RUNS)/demo/retrieval/$${name}_$$seed --overwrite=true || exit 1; done; done
	$(VA) report $(foreach name,$(RETRIEVERS),$(SEEDS:%=$(RUNS)/demo/retrieval/$(name)_%)) \
		--out $(RUNS)/demo/retrieval/report
	$(VA) world $(RUNS)/demo/captioned_unseen $(CAPTIONED) --train 0 --val 60 --seed 1
	rm -rf $(FOUND_BY)/index
	$(VA) search index $(FOUND_BY)/checkpoints/last.ckpt $(RUNS)/demo/captioned_unseen/videos \
		--index $(FOUND_BY)/index
	$(VA) search query --index $(FOUND_BY)/index --plot $(RUNS)/demo/retrieval/found.png \
		"a red circle turns clockwise, then a blue bar turns counterclockwise, then a cyan ring shrinks"

# A class is a colour, a shape and a motion; half of the combinations occur in no training video.
COMBINATIONS := --layout openvocab --size 48 --motions "moves right" grows "moves down" "turns clockwise"
RECOGNISERS := fine_tuned open_vclip froster adapter residual_only
NAMED_BY = $(RUNS)/demo/openvocab/adapter_$(firstword $(SEEDS))
NOVEL := "red circle grows" "red circle turns clockwise" "red square moves right" \
	"red square moves down" "red triangle grows" "red triangle turns clockwise"

demo-openvocab: install ## classes that no training video shows: zero-shot, Open-VCLIP, FROSTER (SEEDS="0 1 2")
	$(VA) world $(RUNS)/demo/combinations $(COMBINATIONS) --train 384 --val 384
	$(VA) test -c experiments/demo/openvocab_zero_shot.yaml
	for seed in $(SEEDS); do for name in $(RECOGNISERS); do \
		run=$(RUNS)/demo/openvocab/$${name}_$$seed; \
		$(VA) fit -c experiments/demo/openvocab_$$name.yaml --seed_everything=$$seed \
			--run_dir=$$run --overwrite=true || exit 1; \
		$(VA) test -c experiments/demo/openvocab_$$name.yaml --seed_everything=$$seed \
			--run_dir=$$run --ckpt_path=$$run/checkpoints/last.ckpt || exit 1; done; done
	$(VA) report $(RUNS)/demo/openvocab/zero_shot \
		$(foreach name,$(RECOGNISERS),$(SEEDS:%=$(RUNS)/demo/openvocab/$(name)_%)) \
		--out $(RUNS)/demo/openvocab/report
	$(VA) world $(RUNS)/demo/combinations_unseen $(COMBINATIONS) --train 0 --val 48 --seed 1
	$(VA) recognise $(NAMED_BY)/checkpoints/last.ckpt $(RUNS)/demo/combinations_unseen/test_novel/red_* \
		--classes $(NOVEL) --plot $(RUNS)/demo/openvocab/named.png

compare: install ## frozen against fine-tuned on the rendered world: eight regimes, one report
	$(VA) world $(RUNS)/demo/world_8fps $(DEMO_WORLD) --fps 8 --train 960 --val 160
	$(VA) compare experiments/comparisons/demo_recognition.yaml --at-once 2

real-clips: install ## train on annotated real clips (VIDEO_ADAPT_REAL_VIDEOS names their folder)
	$(VA) fit -c experiments/demo/real_clips.yaml --overwrite=true
	$(VA) report $(RUNS)/demo/real_clips
	$(VA) recognise $(RUNS)/demo/real_clips/checkpoints/best.ckpt $(VIDEO_ADAPT_REAL_VIDEOS)/clips \
		--plot $(RUNS)/demo/real_clips/recognised.png

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
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[dev,bench,index]"
	$(VA) bench --out $(RUNS)/bench

tiny-clip: install ## pre-train the shipped tiny CLIP again, on stills of the rendered world
	$(BIN)/python -m video_adapt.reports.tiny_clip

check: lint test ## exactly what CI runs

clean: ## remove the environment and every run
	rm -rf $(VENV) $(RUNS) .pytest_cache .mypy_cache .ruff_cache
