# What can be done here, each a target; `make help` lists them. Nothing needs to be installed first:
# a target installs what it needs and this machine lacks (Debian or Ubuntu, as root or through sudo).
#
#   DATABASE_URL   a server of your own, in the environment or in .env; otherwise a private one under .pg/
#   PYTHON         the interpreter for .venv/, 3.11 or newer
#   PG_MAJOR       which of several installed PostgreSQL versions the private server is

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help

python := .venv/bin/python
pytest := $(python) -m pytest -c tests/pytest.ini
tools := python/tools
supply := python.tools.supply

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---------------------------------------------------------------- setting up

.PHONY: setup
setup: .venv/.installed server-installed ## Install what is missing; every target does so itself

# The environment is as the lock says; the stamp is newer than both files it is made from.
.venv/.installed: python/requirements.lock python/pyproject.toml
	@$(tools)/setup.sh venv .venv
	@touch $@

# Looking costs less than keeping a stamp true that a removed package would make false.
.PHONY: server-installed
server-installed: | .venv/.installed
	@$(tools)/setup.sh server
	@$(tools)/setup.sh re2 build/re2

uv_compile := build/tools/bin/uv pip compile --upgrade --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command 'make lock' --quiet

.PHONY: lock
lock: tools-installed ## Renew what is pinned, in python/ and python/tools/, install it, and list its licences
	@$(uv_compile) --all-extras --output-file python/requirements.lock python/pyproject.toml > /dev/null
	@$(uv_compile) --output-file $(tools)/requirements.lock $(tools)/requirements.in > /dev/null
	@$(MAKE) licences

# What renews and audits what is pinned is pinned too, in an environment of its own.
.PHONY: tools-installed
tools-installed:
	@$(tools)/setup.sh tools build/tools

# ---------------------------------------------------------------- the server

.PHONY: up
up: server-installed ## Start the private server if it does not run, and deploy
	@$(tools)/server.sh up

.PHONY: dsn
dsn: server-installed ## Print the superuser URI of a server that is deployed and ready
	@$(tools)/server.sh dsn

.PHONY: reset
reset: server-installed ## Revert everything, with its data, and deploy anew
	@$(tools)/server.sh reset

.PHONY: down
down: ## Stop the private server
	@$(tools)/server.sh down

.PHONY: clean
clean: ## Stop the private server; remove it and all that was built or installed here
	@$(tools)/server.sh clean
	@$(tools)/containers.sh clean
	@rm -rf build .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- tests

.PHONY: test
test: server-installed ## All tests: unit, conformance, pgTAP, migration, integration, security, faults
	@$(tools)/setup.sh pgbouncer
	@$(tools)/test.sh

.PHONY: test-soak
test-soak: server-installed ## What takes minutes, ten at the most: hostile input, cancelling, two tenants, kills
	@timeout --signal=INT 600 $(pytest) -m soak tests/soak

.PHONY: test-mutations
test-mutations: server-installed ## Break one guard after another, for its tests to notice; MUTATIONS='name ...' for some
	@$(python) -m tests.mutations.run $(MUTATIONS)

.PHONY: test-unit
test-unit: .venv/.installed ## The tests that need no server
	@$(pytest) -m 'not integration' tests/unit tests/conformance

.PHONY: pgtap
pgtap: server-installed ## pgTAP in a fresh database; TESTS='tests/pgtap/x.sql' for some
	@$(tools)/pgtap.sh $(TESTS)

.PHONY: conformance
conformance: .venv/.installed ## CEL conformance cases: make conformance SUITE=folder of *.jsonl
	@test -n '$(SUITE)' || { echo 'usage: make conformance SUITE=folder' >&2; exit 2; }
	@$(python) tests/conformance/run.py '$(SUITE)'

.PHONY: coverage
coverage: server-installed ## Lines and branches of the package that tests do not reach; COVERAGE='tests/unit' for some
	@$(tools)/setup.sh pgbouncer
	@$(tools)/coverage.sh $(COVERAGE)

.PHONY: bench
bench: server-installed peers-installed ## Medians and ratios beside other engines; BENCH='many_rules --rounds=20' for some
	@$(python) -m tests.benchmarks.bench $(BENCH)

.PHONY: peers-installed
peers-installed: | .venv/.installed
	@$(tools)/setup.sh node build/peers

.PHONY: demo
demo: up ## Two tenants' rules over a year of flights; DEMO='--flights=10000' for less
	@DATABASE_URL="$$($(tools)/server.sh start)" PYTHONPATH=python $(python) -m demo $(DEMO)

# ---------------------------------------------------------------- what is checked without running

.PHONY: bundle
bundle: .venv/.installed ## Write pgrules.cel into the Sqitch change that carries it
	@$(python) $(tools)/bundle.py

.PHONY: audit
audit: .venv/.installed tools-installed ## Is what is installed what is pinned; AUDIT_ADVISORIES=folder of OSV's, or none
	@$(python) -m $(supply) audit

.PHONY: licences
licences: .venv/.installed tools-installed ## Write the tables of docs/licences.md
	@$(python) -m $(supply) licences

.PHONY: lint
lint: .venv/.installed ## Style, types, SQL, shell, what is installed, and whether the bundle is fresh
	@$(tools)/lint.sh
