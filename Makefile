# Every target sets up what it needs. Bare `make` says what there is.
# PYTHON=...: another than the system's (tests/venv.sh says why that one).
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.ready-dev
DRAW := $(VENV)/.ready-bench

.PHONY: help run test test-long sim mutants chaos check certs format clean
.PHONY: compose-up compose-test compose-down
.PHONY: bindings
.PHONY: bench bench-check bench-scale bench-tail bench-plots wheel

FROM ?= 1
SEEDS ?= 300

help:  ## Show this.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(READY)  ## Start a secured three-node cluster on this machine (Ctrl-C stops it).
	@$(BIN)/dkv local

test: $(DEV)  ## Run every test that takes no longer than 15 minutes together.
	@sh tests/run.sh

test-long: $(DEV)  ## Run the tests that take longer: many more seeds, images and kills.
	@sh tests/run.sh long

mutants: $(DEV)  ## Put seeded bugs into the tests' world, one by one, and look for each (long).
	@nice $(BIN)/python -m tests.mutants $(NAMES)

sim: $(DEV)  ## Play SEEDS simulated clusters, from seed FROM on, on all cores.
	@nice $(BIN)/python -m tests.sim --seeds $(SEEDS) --from $(FROM)

RUNS ?= 5
SECONDS ?= 30
chaos: $(DEV)  ## Harm real processes: RUNS=5 SECONDS=30 SEED=… KIND=… (needs root).
	@$(BIN)/python -m tests.chaos --runs $(RUNS) --seconds $(SECONDS) \
		$(if $(SEED),--seed $(SEED)) $(if $(KIND),--kind $(KIND))

bench: $(READY)  ## Beside etcd and ZooKeeper, where installed: ROUNDS=5 BENCH="--seconds 5 …".
	@$(BIN)/python -m tests.bench.compare --rounds $(ROUNDS) $(BENCH)

ROUNDS ?= 5
bench-check: $(READY)  ## CPU an operation against the commit BASE=…; fails beyond 10 % worse.
	@test -n "$(BASE)" || { echo "say against which commit: make bench-check BASE=…"; exit 2; }
	@$(BIN)/python -m tests.bench.check --rounds $(ROUNDS) $(BENCH) "$(BASE)"

bench-scale: $(READY)  ## dkv against keys, value size, nodes, connections (BENCH="--most-keys …").
	@$(BIN)/python -m tests.bench.scale $(BENCH)

bench-tail: $(READY)  ## Longest stall of a steady load; small puts beside large ones.
	@$(BIN)/python -m tests.bench.tail $(BENCH)

bench-plots: $(DRAW)  ## Draw build/bench*.json into docs/plots/.
	@$(BIN)/python -m tests.bench.plots $(FILES)

COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

compose-up:  ## Three secured nodes in containers; all knobs are in compose/.env (BASE_IMAGE=…).
	@base=$$(sh compose/base.sh "$(BASE_IMAGE)") && cd compose \
		&& DKV_BASE_IMAGE=$$base $(COMPOSE) up --detach --build

compose-test: $(DEV)  ## Abuse such a cluster, of its own, step by step (needs a Docker engine).
	@BASE_IMAGE="$(BASE_IMAGE)" $(BIN)/python -m pytest tests/compose -s -rs

compose-down:  ## Remove the containers of compose-up; VOLUMES=1 its data and certificates, too.
	@cd compose && $(COMPOSE) down --remove-orphans $(if $(VOLUMES),--volumes)

check: $(DEV)  ## Format, lint, types, import directions.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit/test_imports.py

bindings: $(READY)  ## Build and test the clients in other languages: NAMES="cpp ruby rust".
	@nice sh bindings/run.sh $(NAMES)

certs: $(READY)  ## Make an authority and certificates for n1, n2, n3 and an admin in certs/.
	@test -e certs/trust || $(BIN)/dkvctl certs init
	@test -e certs/server.cert || $(BIN)/dkvctl certs server
	@for n in n1 n2 n3; do test -e certs/$$n.cert || $(BIN)/dkvctl certs node $$n || exit 1; done
	@test -e certs/admin.cert || $(BIN)/dkvctl certs client admin --role admin
	@$(BIN)/dkvctl certs verify certs/*.cert

wheel: $(READY)  ## Build dist/*.whl: dkv and all it needs, for machines without an index.
	@rm -rf dist build/lib
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --use-pep517 --wheel-dir dist .
	@rm -rf build/lib
	@ls dist

format: $(DEV)  ## Rewrite the code in its one format.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove what was built; data of `make run` (.local) and certs/ stay.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@sh tests/venv.sh "$(PYTHON)" "$(VENV)"

$(READY): pyproject.toml | $(VENV)/bin/pip
	@$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[dashboard]'
	@touch $@

$(DEV): pyproject.toml | $(VENV)/bin/pip
	@$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[dev]'
	@touch $@ $(READY)

$(DRAW): pyproject.toml | $(VENV)/bin/pip
	@$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[bench]'
	@touch $@ $(READY)
