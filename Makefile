# `make figure1` and `make test` do all the set-up that they need; a second call reinstalls nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= runs/figure1
PRESET ?= quick

.PHONY: figure1 test docs lint format clean

figure1: $(STAMP)
	$(BIN)/probe figure1 --preset $(PRESET) --out $(OUT)

# On all cores; .ci/run adds what is slow by nature.
test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m 'not slow'

# A site that asks nothing of any other; every warning is an error.
docs: $(STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet docs build/site

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Exact versions come from constraints.txt; pyproject.toml has the lower bounds.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
