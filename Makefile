# Every target sets up what it needs; on a new machine `make demo` and `make test` are enough.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PYTHONPATH := dev

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

# -- set-up ------------------------------------------------------------------------------------------------------------

.PHONY: setup
setup: .venv/.ready ## Make .venv with the pinned dependencies

.venv/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(PYTHON) -m localcluster install python3-venv
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.PHONY: packages
packages: ## Install redis-server, for the tests
	@command -v redis-server >/dev/null || $(PYTHON) -m localcluster install redis-server

.PHONY: redis-servers
redis-servers: setup ## Fetch other versions of Redis and Valkey for the tests, where they are to be had
	$(BIN)/python dev/redis_servers.py

.PHONY: lock
lock: setup ## Pin the dependencies of pyproject.toml anew
	dev/lock.sh

include $(wildcard dev/cluster.mk dev/demo.mk)

# -- checks ------------------------------------------------------------------------------------------------------------

.PHONY: lint
lint: setup ## Style, types and the layers between modules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Most tests wait for something most of the time, so more of them run at once than there are cores.
JOBS ?= 4
PARALLEL = -n $(JOBS) --dist worksteal

# Compiled before the tests, whose time limits are not made for the first compile of a new machine.
.PHONY: go-peers
go-peers:
	@if command -v go >/dev/null; then for peer in tests/interop/peer tests/interop/asynqmon tests/interop/cron tests/interop/exporter tests/cluster/kindconfig \
		examples/shop/producer examples/go-worker; do \
		echo "compiling $$peer" && go -C $$peer build -o /dev/null . || exit 1; done; fi

.PHONY: test-unit
test-unit: setup packages go-peers ## Everything that needs no Kubernetes
	$(BIN)/pytest -m "not cluster and not node" $(PARALLEL)

# The other tests run on the Redis that is installed.
REDIS_KINDS ?= redis-6.2 valkey-9.1 sentinel cluster
.PHONY: test-redis
test-redis: setup packages go-peers redis-servers ## All that speaks to Redis, on its other versions, Sentinel and Cluster
	for kind in $(REDIS_KINDS); do $(BIN)/pytest --redis $$kind $(PARALLEL) \
		tests/scripts tests/inspector tests/client tests/interop tests/periodic/test_tick_script.py || exit 1; done

# Seconds. A failure names its seed; LONGSHORE_FAULT_SEED=… lets the same faults happen again.
SOAK ?= 300
.PHONY: test-soak
test-soak: setup packages ## Everything fails all the time, for SOAK seconds, and nothing is lost
	LONGSHORE_SOAK=$(SOAK) $(BIN)/pytest tests/faults/test_soak.py

.PHONY: test-cluster
test-cluster: setup packages cluster-build ## The operator and the API on a real control plane
	@rights=$$(mktemp -d) && trap 'rm -rf "$$rights"' EXIT && export LONGSHORE_RIGHTS_DIR="$$rights" && \
		$(BIN)/pytest -m "cluster and not node" $(PARALLEL) && $(BIN)/python dev/rights.py "$$rights"

.PHONY: test-node
test-node: setup packages cluster-build ## The journeys on a real node, of which there is one
	$(BIN)/pytest -m node

.PHONY: test
test: ## Everything: lint, unit tests, the real control plane, the journeys on a node
	dev/test.sh

.PHONY: bench
bench: setup packages ## Every figure of the runtime, written to docs/performance.md (some fifteen minutes)
	$(BIN)/python benchmarks/performance.py

.PHONY: bench-faults
bench-faults: setup packages ## Tasks of a killed worker, and cron ticks across kills of schedulers
	$(BIN)/python benchmarks/kill_recovery.py
	$(BIN)/python benchmarks/cron_kills.py

.PHONY: simulation
simulation: setup ## The scaling decision beside KEDA's rules, on the same load: table and picture for docs/performance.md
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/pictures.txt
	$(BIN)/python benchmarks/simulation

.PHONY: bench-operator
bench-operator: setup packages cluster-build ## Every figure of the operator, written to docs/performance.md
	$(BIN)/python benchmarks/operator_figures.py

.PHONY: bench-node
bench-node: setup packages cluster ## Every figure that needs a node: workers killed by scale-in
	$(BIN)/python benchmarks/scale_in.py

.PHONY: fmt
fmt: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
