# make profile   set up, then measure the quick set with torch on the cpu
# make test      set up what is missing, then run the tests (FRAMEWORKS="torch": torch's alone)
# make check     what CI runs: format, lint, types, tests
PYTHON ?= python3
FRAMEWORKS ?=
TORCH_INDEX ?=
PYTEST_ARGS ?= -n 2

BIN := .venv/bin
PROFILED := $(or $(FRAMEWORKS),torch)
SET_UP = $(PYTHON) tools/setup_environment.py --torch-index "$(TORCH_INDEX)" --frameworks
RUN_TESTS = $(BIN)/python tools/run_tests.py --frameworks "$(FRAMEWORKS)" $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help python setup profile test test-all check format wheels clean

help:
	@echo "make setup | profile | test | test-all | check | format | wheels | clean"
	@echo "  FRAMEWORKS=\"torch\"   which frameworks to install and test (all; profile: torch)"
	@echo "  TORCH_INDEX=URL      package index to take torch from, e.g. one with cpu builds"
	@echo "  PYTHON=python3.12    interpreter to make .venv with (3.11 or newer)"

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "error: fwprof needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1); choose another: make PYTHON=python3.12" >&2; exit 2; }

setup: python
	@$(SET_UP) "$(FRAMEWORKS)" --development

profile: python
	@$(SET_UP) "$(PROFILED)"
	$(BIN)/fwprof profile $(PROFILED:%=--plugin %) --device cpu --quick

test: setup
	$(RUN_TESTS) -m "not sweep"

test-all: setup
	$(RUN_TESTS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(RUN_TESTS) -m "not sweep"

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheels: setup
	for package in . plugins/* examples/third_party/*; do $(BIN)/python -m build --no-isolation --wheel --outdir dist $$package || exit; done

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find fwprof plugins tests examples benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +
