# Everything a developer does with Promint; `make` alone lists it.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Tests run side by side, as long ones wait more than they compute; WORKERS=0 runs one at a time.
WORKERS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Locks hold for every supported Python and name no package index.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command 'make lock' pyproject.toml

.PHONY: help
help: ## List every target with its sentence.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(INSTALLED) ## Create .venv with the locked packages and Promint itself in it.

$(INSTALLED): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo 'Promint needs Python 3.11 or newer; name one with: make setup PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo 'This Python cannot make virtual environments; on Debian and Ubuntu run: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --require-hashes -r requirements/dev.txt
	$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: run
run: setup ## Start the demo and print its address.
	$(BIN)/promint demo

.PHONY: test
test: setup ## Run every test, two at a time (WORKERS=… for more or fewer).
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

# TIER=night and TIER=release go on in the background; ROW=1 is one promise, SEED= repeats a run.
.PHONY: prove
prove: setup ## Prove the promises and write docs/promises.md; TIER=quick, night or release.
	$(BIN)/python -m tests.promises $(TIER) $(if $(ROW),--row $(ROW)) $(if $(SEED),--seed $(SEED)) \
	$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),,$(if $(filter night release,$(TIER)),--background))

# It goes on where it stopped; `.venv/bin/mutmut results` and `show NAME` say what is left.
.PHONY: mutate
mutate: setup ## Change the core in a thousand places, one by one, and see whether tests notice.
	nice -n 15 $(BIN)/mutmut run

.PHONY: check
check: setup ## Check format, style, types and the direction of imports.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: setup ## Format the code and mend what can be mended safely.
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: lock
lock: setup ## Take the newest versions of all packages into requirements/.
	$(LOCK) --upgrade --output-file requirements/runtime.txt >/dev/null
	$(LOCK) --upgrade --group dev --constraints requirements/runtime.txt --output-file requirements/dev.txt >/dev/null

.PHONY: audit
audit: setup ## Ask an advisory service about every locked package (needs the internet).
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements/dev.txt

.PHONY: sbom
sbom: setup ## Write build/sbom.json, a CycloneDX list of everything that is installed.
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	--output-file build/sbom.json $(BIN)/python

.PHONY: system
system: ## Install the system's PostgreSQL, SQLite and wrk for tests and benchmarks (root, Debian or Ubuntu).
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || { \
	echo 'make system needs root and apt-get; elsewhere install PostgreSQL 15 or newer with contrib, sqlite3 and wrk by hand.' >&2; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
	postgresql postgresql-contrib postgresql-client sqlite3 wrk

.PHONY: clean
clean: ## Remove .venv and everything that was built or remembered.
	rm -rf .venv build dist mutants src/*.egg-info .hypothesis .import_linter_cache .mypy_cache .promises .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
