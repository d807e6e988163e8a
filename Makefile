# One-line wrappers of the recambio command. The environment is made on first use.
#
#   make train EXP=tiny ARGS="training.max_steps=100"
#   make setup PYTHON=python3.12 TORCH_INDEX=<index of the torch build you need>

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
EXP ?= tiny
RUN ?= newest
FILE ?=
ARGS ?=
SHARD ?=
SET ?= test
COMET_MODEL ?= Unbabel/wmt22-comet-da

BIN := $(VENV)/bin
# Two processes of one thread each do twice as much as one of two threads. ARGS="-n 0" for one. In the order of the folders long modules
# come first; by number of tests, which is the default, the longest would be the last.
PARALLEL := -n 2 --dist loadscope --no-loadscope-reorder
READY := $(VENV)/.ready
RECAMBIO := $(BIN)/recambio
# Beside the environment, because JoeyNMT's own requirements contradict it; what is not in there is read from $(VENV).
JOEYNMT := .cache/joeynmt
COMET := .cache/comet
SITE := -c 'import site; print(site.getsitepackages()[0])'

# Make takes any NAME=value, and a misspelt one would start the default job.
KNOWN := PYTHON VENV TORCH_INDEX EXP RUN FILE ARGS SHARD SET COMET_MODEL PARALLEL
UNKNOWN := $(filter-out $(KNOWN),$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
ifneq ($(UNKNOWN),)
$(error $(UNKNOWN): no such variable; those of this Makefile are $(KNOWN))
endif

.DEFAULT_GOAL := help
.PHONY: help setup train eval translate test test-all lint docs bench bench-joeynmt bench-parts comet comet-set clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make the environment in .venv

$(READY): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" > /dev/null || { echo "error: PYTHON: there is no $(PYTHON); install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: PYTHON: recambio needs Python 3.11 or newer, but $(PYTHON) is $$("$(PYTHON)" -V 2>&1); name another: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x "$(BIN)/python" || "$(PYTHON)" -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet -c constraints.txt torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	"$(BIN)/python" -m pip install --quiet -c constraints.txt -e ".[dev,wandb]"
	@touch "$@"

train: $(READY) ## train experiments/EXP.yaml (EXP=tiny), with ARGS="key=value ..."
	@$(RECAMBIO) train $(EXP) $(ARGS)

eval: $(READY) ## score RUN (the newest by default), with ARGS="--set NAME ..."
	@$(RECAMBIO) eval $(RUN) $(ARGS)

translate: $(READY) ## translate FILE or standard input with RUN (the newest by default)
	@$(RECAMBIO) translate $(RUN) $(FILE) $(ARGS)

test: $(READY) ## run the fast tests, a module at a time in each of two processes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-all: $(READY) ## run every test; SHARD=2/4 runs the second quarter
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(if $(SHARD),--shard $(SHARD)) $(PARALLEL) $(ARGS)

lint: $(READY) ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(READY) ## write docs/parts.md from the parts' cards
	@$(RECAMBIO) components --markdown > docs/parts.md.new
	@mv docs/parts.md.new docs/parts.md

bench-parts: $(READY) ## measure every part: time, memory, decoding step (ARGS="losses" for what each learns)
	@$(BIN)/python -m benchmarks.parts $(if $(ARGS),$(ARGS),cost)

bench: $(READY) ## run the project's benchmarks
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[bench]"
	@$(BIN)/python -m benchmarks $(ARGS)

bench-joeynmt: $(JOEYNMT)/.ready ## like bench, with JoeyNMT among the peers
	@$(JOEYNMT)/bin/python -m benchmarks $(ARGS)

$(JOEYNMT)/.ready: $(READY)
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[bench]"
	@$(BIN)/python -m venv $(JOEYNMT)
	@{ $(BIN)/python $(SITE); echo "$(CURDIR)/src"; } > "$$($(JOEYNMT)/bin/python $(SITE))/recambio.pth"
	$(JOEYNMT)/bin/python -m pip install --quiet --no-deps joeynmt==2.3.0
	$(JOEYNMT)/bin/python -m pip install --quiet -c constraints.txt tensorboard matplotlib sacremoses subword-nmt importlib-metadata
	@touch "$@"

comet: comet-set $(COMET)/.ready ## COMET of the evaluation of SET (test) in RUN, a run folder; fetches a model of 2.3 GB the first time
	@$(COMET)/bin/comet-score -s "$(RUN)/eval/$(SET).src" -t "$(RUN)/eval/$(SET).hyp" -r "$(RUN)/eval/$(SET).ref" --model $(COMET_MODEL) --only_system $(ARGS)

# Before an environment is made for nothing.
comet-set:
	@test -f "$(RUN)/eval/$(SET).src" || { echo "error: $(RUN)/eval/$(SET).src: no such file; score the set first: make eval RUN=$(RUN) ARGS=\"--set $(SET)\"" >&2; exit 2; }

# An environment of its own: COMET's requirements contradict ours.
$(COMET)/.ready: constraints.txt
	@"$(PYTHON)" -m venv $(COMET)
	@$(COMET)/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)" $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@$(COMET)/bin/python -m pip install --quiet "unbabel-comet==2.2.7" "setuptools<81"
	@touch "$@"

clean: ## remove caches and build products; runs/ and .venv stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks plugins -name __pycache__ -type d -prune -exec rm -rf {} + 2> /dev/null || true
