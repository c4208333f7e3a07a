# The developer's interface. `make` lists the targets; the first one used makes .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
CACHE := $(if $(GENAI_CACHE),$(GENAI_CACHE),$(HOME)/.cache/genai-spine)
export GENAI_CACHE := $(CACHE)
# The tests start hundreds of processes, which would each compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help all serve check test test-clients test-servers test-slow soak resilience bench docs catalog cards reference format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: check test test-clients test-servers test-slow docs ## check, the tests but the soak, and the pages

serve: $(VENV)/.installed ## run the gateway on 127.0.0.1:8100
	$(BIN)/spine serve

check: $(VENV)/.developer ## ruff, mypy, pyright, import-linter, the house's rules, drift of the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(PYTEST) tests/test_house.py
	$(BIN)/python scripts/generate_docs.py --check

test: $(VENV)/.developer ## the everyday suite, by three processes: its tests wait as long as they work
	$(PYTEST) -n 3 --dist worksteal --ignore=tests/test_house.py --ignore=tests/servers -m "not servers and not clients and not slow and not soak"

test-clients: $(VENV)/.developer ## real client SDKs against the gateway
	$(PYTEST) -m clients

test-servers: $(VENV)/.developer ## a real llama.cpp server, built once into the cache folder
	PYTHON=$(abspath $(BIN))/python scripts/build-llama-server >/dev/null
	$(PYTEST) -m servers

test-slow: $(VENV)/.developer ## what takes longer than the everyday suite may
	$(PYTEST) -m "slow and not servers and not clients"

soak: $(VENV)/.developer ## 20 minutes (GENAI_SOAK_MINUTES) of traffic with faults: does anything leak?
	$(PYTEST) -m soak

resilience: $(VENV)/.developer ## simulate outages; writes docs/resilience.md's figures anew
	$(BIN)/python scripts/resilience_report.py

bench: $(VENV)/.developer ## cost beside nginx, LiteLLM and Portkey; writes bench/RESULTS.md
	$(BIN)/python bench/run.py

docs: $(VENV)/.developer ## the pages, strictly, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

catalog: ## the price lists anew, from the package that scripts/make_catalog.py pins
	$(PYTHON) -m venv $(CACHE)/prices
	$(CACHE)/prices/bin/python -m pip install --quiet genai-prices==$$(sed -n 's/^VERSION = "\(.*\)"/\1/p' scripts/make_catalog.py)
	$(CACHE)/prices/bin/python scripts/make_catalog.py

cards: ## compile catalog/models.toml
	$(PYTHON) scripts/make_catalog.py --cards

reference: $(VENV)/.developer ## write the generated parts of README.md and docs/
	$(BIN)/python scripts/generate_docs.py

format: $(VENV)/.developer ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## what the targets above have made, .venv included
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The package alone, and with everything a developer needs. Groups need pip 25.1.

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.developer: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[aiohttp,compression]" --group dev
	touch $@ $(VENV)/.installed
