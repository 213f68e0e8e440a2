# Which language-model architecture, on my data, in my budget?

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
RESULTS ?= results/default
# one thread per process and passive waiting: two processes on two cores do not disturb each other
TEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(RUN) -m pytest -n auto --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help install bench smoke report test test-all test-cuda snapshots docs lint type clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) ## set up .venv with everything that the benchmark, its tests and the optional models need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,huggingface,tune,finetune]'
	@touch $@

bench: $(READY) ## the main job: seven architectures, three seeds, an A/A control, one report (half an hour on two cores, offline)
	$(RUN) -m bench.run suite=default

smoke: $(READY) ## the same architectures for 20 steps each: does everything run? (a minute and a half)
	$(RUN) -m bench.run suite=smoke again=all

report: $(READY) ## make a report again (RESULTS=results/default)
	$(RUN) -m bench.report $(RESULTS)

test: $(READY) ## the tests (six to eight minutes on two free cores)
	$(TEST) -m "not slow" --snapshot-warn-unused # the snapshots of slow tests are not used here

test-all: $(READY) ## all tests, the slow ones too
	$(TEST)

test-cuda: $(READY) ## the tests that need a CUDA device; skipped without one
	BENCH_TEST_CUDA=1 $(RUN) -m pytest -m cuda

snapshots: $(READY) ## renew the pinned sentences and pages (tests/**/__snapshots__)
	$(TEST) --snapshot-update $$(git grep -l SnapshotAssertion -- tests)

docs: $(READY) ## renew docs/reference.md and docs/api.md from the code, and the figures of the README
	$(RUN) -m tests.reference_docs
	$(RUN) -m tests.readme_figures

lint: $(READY) ## style, order of imports, limits of size
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) -m tests.code_metrics

type: $(READY) ## types
	$(RUN) -m mypy

clean: ## remove the environment, caches, and results other than results/reference
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find results -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} +
