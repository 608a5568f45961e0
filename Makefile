# Everything below needs Python 3.10 or newer and make; all dependencies are wheels, so no compiler is needed.
# Another interpreter: make test PYTHON=python3.12. More processes: make test JOBS=8.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' constraints.txt)
INSTALLED := $(VENV)/.installed
APART := $(VENV)/apart
LINTERS := $(VENV)/.linters

.DEFAULT_GOAL := help
.PHONY: help install demo test test-full lint format check clean

help: ## show this help
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(INSTALLED) ## create .venv and install forge with everything it trains, draws and tests with

# torch comes first and alone: what is installed after it then finds it there and does not choose another one. torchao stands apart:
# where it is found, every process that imports transformers imports it, and the tests start hundreds of those.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,draw,serve,test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade --target $(APART) torchao
	touch $@

$(LINTERS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lint]'
	touch $@

demo: $(INSTALLED) ## draw the tiny model that needs no download, and train it; leaves demo/graph.svg and demo/model
	mkdir -p demo
	$(BIN)/forge -p projects/pydoc -t pretrain/tiny graph
	$(BIN)/forge -p projects/pydoc -t pretrain/tiny graph --format svg -o demo/graph.svg
	$(BIN)/forge -p projects/pydoc -t pretrain/tiny graph --format python -o demo/graph.py
	$(BIN)/forge -p projects/pydoc -t pretrain/tiny train --output-dir demo/model --overwrite-output-dir
	@echo 'The graph: demo/graph.svg. The same objects as Python: demo/graph.py. The model: demo/model.'

# The quick tests come first, so that most mistakes show within seconds. Several processes with several threads each would wait for
# one another most of the time. Some tests wait for what they start, and of the slow ones some for clusters of their own, so there is a
# process more, and with those two. What Python compiles is kept, whatever the machine says: the tests start hundreds of processes.
test: export OMP_NUM_THREADS = 1
test: export PYTHONDONTWRITEBYTECODE =
test: export FORGE_TEST_APART = $(CURDIR)/$(APART)
test: $(INSTALLED) ## run all tests
	$(BIN)/python -m pytest -q -n $$(($(JOBS) + 1)) --dist worksteal -m 'not slow and not torch and not wheel and not browser'
	$(BIN)/python -m pytest -q -n $$(($(JOBS) + 2)) --dist worksteal -m 'slow or torch or wheel or browser'

test-full: export FORGE_FULL = 1
test-full: test ## run all tests, the property tests and corpora at full size

lint: $(LINTERS) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(LINTERS) ## format the code and repair what can be repaired by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test ## lint, then test

clean: ## remove what make has made
	rm -rf $(VENV) demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
