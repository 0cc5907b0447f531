# Everything a person or CI runs. `make help` lists it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-swarm lint types contracts unit live run bench chart lock-image clean

help:            ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip uv
	$(BIN)/uv pip install -q --python $(BIN)/python -e '.[test]'
	@touch $@

# Only made with the environment of the tests, not for it: the clients install for whatever Python they are told.
.clients/stamp: tests/clients/requirements.txt tests/clients/install.sh | $(VENV)/stamp
	sh tests/clients/install.sh $(BIN)/uv $(BIN)/python
	@touch $@

# Helm and what checks the chart.
.chart/stamp: tests/chart/install.sh tests/chart/unpack_helm.py tests/chart/operator_schemas.py | $(VENV)/stamp
	sh tests/chart/install.sh $(BIN)/uv $(BIN)/python
	@touch $@

# What the Dockerfile installs, by its own script; anew with each change of the code.
.chart/image/stamp: pyproject.toml $(wildcard deploy/image/*) $(shell find proxy agent -name '*.py') | $(VENV)/stamp
	rm -rf .chart/image
	$(PYTHON) -m venv .chart/image
	sh deploy/image/install.sh .chart/image
	@touch $@

demo: $(VENV)/stamp  ## install through a proxy, cut the upstream, install again; lock, materialize, share in a swarm
	$(BIN)/python examples/demo.py

test: lint types contracts unit  ## lint, types, import contracts and the whole suite

lint: $(VENV)/stamp  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/stamp  ## mypy, strict
	$(BIN)/mypy

contracts: $(VENV)/stamp  ## import-linter: who may import whom
	$(BIN)/lint-imports

unit: $(VENV)/stamp .clients/stamp .chart/stamp .chart/image/stamp  ## the test suite, with the real clients
	sh tests/setup.sh
	$(BIN)/python -m pytest -n auto

test-swarm: $(VENV)/stamp  ## the long scenarios of the swarm, in network namespaces (as root)
	sh tests/setup.sh
	$(BIN)/python -m pytest -m swarm -n 0 tests/swarm

run: $(VENV)/stamp  ## the proxy in the foreground, on the embedded default
	$(BIN)/envproxy serve

bench: $(VENV)/stamp  ## the benchmarks (docs/benchmarks.md says what each prints)
	$(BIN)/python -m bench

chart: $(VENV)/stamp  ## write the chart's README, schema of settings and copies of grafana/
	$(BIN)/python deploy/helm/reference.py

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock-image: $(VENV)/stamp  ## lock what the image installs anew
	$(LOCK) pyproject.toml -o deploy/image/requirements.txt
	$(LOCK) deploy/image/build.in -o deploy/image/build.txt

clean:           ## remove what make made
	rm -rf $(VENV) .clients .chart .mypy_cache .ruff_cache .hypothesis envmesh-data
