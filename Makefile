# make install: set up the virtual environment.
# make demo: set up and run the whole method on a small base; no download, no GPU. BASE=unet takes the other one.
# make base RECIPE=moving_shapes_wan: train a small base or go on with it, score it, write its model card.
# make test: set up and run all checks.
# make faults: kill a training twenty times and try the fuzzed inputs.
# make coverage: run the tests and show the lines and branches that they never take.
# make mutants: put faults in on purpose, one after the other, and see that the tests notice each.
# PIP_ARGS passes options to pip, e.g. an index with CPU-only builds of torch.

VENV ?= .venv
PYTHON ?= python3
PIP_ARGS ?=
TEST_WORKERS ?= 2
RECIPE ?= moving_shapes_wan
BASE ?= transformer

BIN = $(VENV)/bin
# A worker takes what lies together in the files, so that what a module's tests share is made once, and
# in the end of what the other one has left.
WORKERS = -n $(TEST_WORKERS) --dist worksteal
INSTALL = $(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt

.PHONY: install demo base test faults coverage mutants format clean

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/python -m experiments.demo --base $(BASE)

base: $(VENV)/.installed
	$(BIN)/python -m testbed.pretrain --config testbed/$(RECIPE).yaml --resume
	$(BIN)/python -m testbed.score --base models/$(RECIPE) --json models/$(RECIPE)/scores.json \
	--sheet resources/$(RECIPE)/samples.png
	$(BIN)/python -m testbed.pretrain --config testbed/$(RECIPE).yaml --export

test: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest $(WORKERS)

faults: $(VENV)/.installed-dev
	$(BIN)/pytest tests/faults $(WORKERS) --kills 20

coverage: $(VENV)/.installed-dev
	$(BIN)/pytest $(WORKERS) --cov

mutants: $(VENV)/.installed-dev
	PYTHONPATH=tests $(BIN)/python -m mutation --workers $(TEST_WORKERS)

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage

$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -c "import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), \
	'Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ...'"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) --editable ".[dev]"
	touch $@
